from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from shop.shipping.v1 import events_pb2
from shop.shipping.v1 import shipping_pb2 as pb

from tests.mesh.services.calls import Calls, euros, outcome, refusal
from tests.mesh.services.shipping.parts import SECRETS, address
from weft.testing import STRANGER

if TYPE_CHECKING:
    from tests.mesh.services.shipping.parts import Shipping


async def test_a_scheduled_shipment_is_booked_and_told_of(shipping: Shipping) -> None:
    order_id = str(uuid4())

    shipment = await shipping.schedule(order_id)

    assert (shipment.order_id, shipment.state) == (order_id, pb.Shipment.STATE_CREATED)
    assert (shipment.destination, shipment.rate) == (address(), euros("34.90"))
    assert shipment.create_time == shipment.update_time
    assert shipping.carrier.carried == {shipment.tracking_number}
    assert await shipping.events(order_id) == [
        events_pb2.ShipmentCreated(
            order_id=order_id, user_id=shipping.user_id, tracking_number=shipment.tracking_number
        )
    ]


@pytest.mark.parametrize("request_id", ["", "first"])
async def test_scheduling_twice_books_once(shipping: Shipping, request_id: str) -> None:
    order_id = str(uuid4())

    first = await shipping.schedule(order_id, request_id=request_id)
    again = await shipping.schedule(order_id, request_id=request_id)
    later = await shipping.schedule(order_id, request_id="later")

    assert first == again == later
    assert await shipping.told(order_id) == ["ShipmentCreated"]


async def test_a_repeat_shows_the_shipment_as_it_is_now(shipping: Shipping) -> None:
    shipment = await shipping.scheduled()
    await shipping.report(shipment.tracking_number, "IN_TRANSIT")

    assert (await shipping.schedule(shipment.order_id)).state == pb.Shipment.STATE_IN_TRANSIT


async def test_a_country_that_is_not_served_is_refused_and_another_address_may_be_tried(shipping: Shipping) -> None:
    order_id = str(uuid4())

    error = await refusal(shipping.schedule(order_id, destination=address("AQ")))
    shipment = await shipping.schedule(order_id, destination=address("FR"))

    assert (error.code, error.reason) == ("FAILED_PRECONDITION", "DESTINATION_NOT_SERVED")
    assert [each.field for each in error.violations] == ["destination.countryCode"]
    assert shipment.rate == euros("14.90")


@pytest.mark.parametrize(("country", "units"), [("DE", 1), ("DE", 31), ("FR", 3), ("US", 95), ("GB", 100_000)])
async def test_what_is_quoted_is_what_is_booked(shipping: Shipping, country: str, units: int) -> None:
    quoted = await shipping.quote(country, units)

    shipment = await shipping.schedule(str(uuid4()), destination=address(country), units=units)

    assert quoted == shipment.rate
    assert quoted.units > 0


async def test_a_quote_books_nothing(shipping: Shipping) -> None:
    await shipping.quote()

    assert shipping.carrier.parcels == {}
    assert (await shipping.admin.ListShipments(pb.ListShipmentsRequest())).shipments == []


async def test_a_country_that_is_not_served_has_no_rate_and_is_refused_as_a_parcel_would_be(shipping: Shipping) -> None:
    quoted = await refusal(shipping.quote("AQ"))
    booked = await refusal(shipping.schedule(str(uuid4()), destination=address("AQ")))

    assert (quoted.code, quoted.reason) == ("FAILED_PRECONDITION", "DESTINATION_NOT_SERVED")
    assert (quoted.code, quoted.reason, quoted.violations) == (booked.code, booked.reason, booked.violations)


async def test_a_carrier_that_is_away_quotes_nothing(shipping: Shipping) -> None:
    shipping.carrier.is_away = True

    error = await refusal(shipping.quote())

    assert (error.code, error.reason, error.retry_after_s) == ("UNAVAILABLE", "CARRIER_UNAVAILABLE", 1.0)


@pytest.mark.parametrize(
    ("country", "units", "field"), [("gb", 1, "destination.countryCode"), ("GB", 0, "units"), ("GB", 100_001, "units")]
)
async def test_what_cannot_be_a_parcel_has_no_rate(shipping: Shipping, country: str, units: int, field: str) -> None:
    error = await refusal(shipping.quote(country, units))

    assert (error.code, error.reason) == ("INVALID_ARGUMENT", "INVALID_FIELDS")
    assert [each.field for each in error.violations] == [field]


async def test_a_shipment_that_has_not_left_is_cancelled_once(shipping: Shipping) -> None:
    shipment = await shipping.scheduled()

    for request_id in ("", "", "one", "one"):
        await shipping.cancel(shipment.order_id, request_id)

    assert await shipping.track(shipment.tracking_number) == "CANCELLED"
    assert shipping.carrier.carried == set()
    assert await shipping.told(shipment.order_id) == ["ShipmentCreated", "ShipmentCancelled"]
    error = await refusal(shipping.schedule(shipment.order_id))
    assert (error.code, error.reason) == ("FAILED_PRECONDITION", "SHIPMENT_CANCELLED")


@pytest.mark.parametrize("states", [["IN_TRANSIT"], ["IN_TRANSIT", "DELIVERED"], ["IN_TRANSIT", "RETURNED"]])
async def test_a_shipment_that_has_left_cannot_be_cancelled(shipping: Shipping, states: list[str]) -> None:
    shipment = await shipping.scheduled()
    for state in states:
        await shipping.report(shipment.tracking_number, state)

    error = await refusal(shipping.cancel(shipment.order_id))

    assert (error.code, error.reason) == ("FAILED_PRECONDITION", "SHIPMENT_DISPATCHED")
    assert await shipping.track(shipment.tracking_number) == states[-1]
    assert shipping.carrier.carried == {shipment.tracking_number}


@pytest.mark.parametrize("request_id", ["", "one"])
async def test_a_shipment_that_is_scheduled_after_it_was_cancelled_is_refused(
    shipping: Shipping, request_id: str
) -> None:
    order_id = str(uuid4())

    for _ in range(2):
        await shipping.cancel(order_id, request_id)
    error = await refusal(shipping.schedule(order_id))

    assert (error.code, error.reason) == ("FAILED_PRECONDITION", "SHIPMENT_CANCELLED")
    assert shipping.carrier.parcels == {}
    assert await shipping.events(order_id) == []
    assert await outcome(shipping.admin.GetShipment(pb.GetShipmentRequest(order_id=order_id))) == "SHIPMENT_NOT_FOUND"
    assert (await shipping.admin.ListShipments(pb.ListShipmentsRequest())).shipments == []


async def test_what_the_carrier_reports_is_noted_and_told_of_once(shipping: Shipping) -> None:
    shipment = await shipping.scheduled()
    number, order_id = shipment.tracking_number, shipment.order_id

    for state in ("IN_TRANSIT", "DELIVERED", "RETURNED"):
        reported = [await shipping.report(number, state) for _ in range(3)]
        assert reported[0] == reported[1] == reported[2]
        assert reported[0].state == pb.Shipment.State.Value(f"STATE_{state}")
        assert await shipping.track(number) == state

    assert await shipping.told(order_id) == [
        "ShipmentCreated",
        "ShipmentDispatched",
        "ShipmentDelivered",
        "ShipmentReturned",
    ]
    assert {(event.user_id, event.tracking_number) for event in await shipping.events(order_id)} == {  # type: ignore[attr-defined]
        (shipping.user_id, number)
    }


@pytest.mark.parametrize(
    ("history", "state"),
    [
        ([], "DELIVERED"),
        ([], "RETURNED"),
        (["IN_TRANSIT", "DELIVERED"], "IN_TRANSIT"),
        (["IN_TRANSIT", "RETURNED"], "DELIVERED"),
    ],
)
async def test_a_report_that_the_state_does_not_allow_is_refused(
    shipping: Shipping, history: list[str], state: str
) -> None:
    shipment = await shipping.scheduled()
    for each in history:
        await shipping.report(shipment.tracking_number, each)
    told = await shipping.told(shipment.order_id)

    error = await refusal(shipping.report(shipment.tracking_number, state))

    assert (error.code, error.reason) == ("FAILED_PRECONDITION", "ILLEGAL_TRANSITION")
    assert await shipping.track(shipment.tracking_number) == (history or ["CREATED"])[-1]
    assert await shipping.told(shipment.order_id) == told


async def test_nothing_is_reported_of_a_cancelled_shipment(shipping: Shipping) -> None:
    shipment = await shipping.scheduled()
    await shipping.cancel(shipment.order_id)

    assert await outcome(shipping.report(shipment.tracking_number, "IN_TRANSIT")) == "ILLEGAL_TRANSITION"


@pytest.mark.parametrize("state", ["CREATED", "CANCELLED"])
async def test_no_carrier_reports_what_is_the_shops_to_say(shipping: Shipping, state: str) -> None:
    shipment = await shipping.scheduled()

    error = await refusal(shipping.report(shipment.tracking_number, state))

    assert (error.code, error.reason) == ("INVALID_ARGUMENT", "INVALID_REPORT")
    assert [each.field for each in error.violations] == ["state"]


async def test_a_parcel_nobody_booked_is_not_found(shipping: Shipping) -> None:
    request = pb.TrackShipmentRequest(tracking_number="SIMX")

    assert await outcome(shipping.anybody.TrackShipment(request)) == "SHIPMENT_NOT_FOUND"
    assert await outcome(shipping.report("SIMX", "IN_TRANSIT")) == "SHIPMENT_NOT_FOUND"


async def test_a_shipment_is_shown_to_its_owner_and_to_administrators(shipping: Shipping) -> None:
    shipment = await shipping.scheduled()
    request = pb.GetShipmentRequest(order_id=shipment.order_id)
    stranger = Calls(shipping.owner._stub, shipping.server.token(str(uuid4())))

    assert (await shipping.owner.GetShipment(request)).shipment == shipment
    assert (await shipping.admin.GetShipment(request)).shipment == shipment
    hidden = await refusal(stranger.GetShipment(request))
    missing = await refusal(shipping.owner.GetShipment(pb.GetShipmentRequest(order_id=str(uuid4()))))

    assert (hidden.code, hidden.reason) == (missing.code, missing.reason) == ("NOT_FOUND", "SHIPMENT_NOT_FOUND")
    assert (await refusal(shipping.anybody.GetShipment(request))).code == "UNAUTHENTICATED"


async def test_who_has_the_tracking_number_sees_where_a_parcel_is_and_not_whose(shipping: Shipping) -> None:
    shipment = await shipping.scheduled()
    reported = await shipping.report(shipment.tracking_number, "IN_TRANSIT")

    response = await shipping.anybody.TrackShipment(pb.TrackShipmentRequest(tracking_number=shipment.tracking_number))

    assert response == pb.TrackShipmentResponse(state=pb.Shipment.STATE_IN_TRANSIT, update_time=reported.update_time)
    assert {field.name for field in pb.TrackShipmentResponse.DESCRIPTOR.fields} == {"state", "update_time"}


async def test_an_address_is_in_no_event_no_log_line_and_no_refusal(
    shipping: Shipping, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    told: list[str] = []
    shipment = await shipping.scheduled()
    await shipping.report(shipment.tracking_number, "IN_TRANSIT")
    shipping.carrier.is_away = True
    for call in (
        shipping.cancel(shipment.order_id),
        shipping.report(shipment.tracking_number, "CANCELLED"),
        shipping.schedule(str(uuid4())),
        shipping.schedule(str(uuid4()), destination=address("AQ")),
        shipping.schedule(str(uuid4()), destination=address("St James's Square 12")),
        shipping.schedule(str(uuid4()), units=0),
    ):
        error = await refusal(call)
        told.append(f"{error} {error.metadata} {error.violations}")

    told += [record.getMessage() + str(record.__dict__) for record in caplog.records]
    told += [str(event) for event in await shipping.events(shipment.order_id)]
    assert len(told) > 6
    assert [secret for secret in SECRETS for text in told if secret in text] == []


async def test_shipments_are_listed_newest_first_page_by_page(shipping: Shipping) -> None:
    booked = [(await shipping.scheduled()).order_id for _ in range(7)]
    await shipping.cancel(booked[3])

    seen: list[str] = []
    token = ""
    while True:
        page = await shipping.admin.ListShipments(pb.ListShipmentsRequest(page_size=3, page_token=token))
        seen += [shipment.order_id for shipment in page.shipments]
        token = page.next_page_token
        if not token:
            break

    assert seen == booked[::-1]
    error = await refusal(shipping.admin.ListShipments(pb.ListShipmentsRequest(page_token="AAAA")))
    assert (error.code, error.reason) == ("INVALID_ARGUMENT", "PAGE_TOKEN_INVALID")


ORDER_ID = "3b241101-e2bb-4255-8caf-4136c566a962"
OF_ORDERS: list[tuple[str, Any]] = [
    ("QuoteShipment", pb.QuoteShipmentRequest(destination=pb.Destination(country_code="GB"), units=1)),
    (
        "ScheduleShipment",
        pb.ScheduleShipmentRequest(order_id=ORDER_ID, user_id="ada", destination=address(), units=1),
    ),
    ("CancelShipment", pb.CancelShipmentRequest(order_id=ORDER_ID)),
]
OF_ADMINS: list[tuple[str, Any]] = [
    ("ListShipments", pb.ListShipmentsRequest()),
    ("ReportShipment", pb.ReportShipmentRequest(tracking_number="SIMX", state=pb.Shipment.STATE_DELIVERED)),
]


@pytest.mark.parametrize(("method", "request_"), OF_ORDERS, ids=[name for name, _ in OF_ORDERS])
async def test_parcels_are_booked_by_the_orders_service_only(shipping: Shipping, method: str, request_: Any) -> None:
    stranger = Calls(shipping.anybody._stub, shipping.server.service_token(STRANGER))

    codes = [
        (await refusal(getattr(calls, method)(request_))).code
        for calls in (shipping.anybody, shipping.owner, shipping.admin, stranger)
    ]

    assert codes == ["UNAUTHENTICATED", "UNAUTHENTICATED", "UNAUTHENTICATED", "PERMISSION_DENIED"]
    assert shipping.carrier.parcels == {}


@pytest.mark.parametrize(("method", "request_"), OF_ADMINS, ids=[name for name, _ in OF_ADMINS])
async def test_shipments_are_listed_and_reported_by_administrators_only(
    shipping: Shipping, method: str, request_: Any
) -> None:
    codes = [(await refusal(getattr(calls, method)(request_))).code for calls in (shipping.anybody, shipping.owner)]

    assert codes == ["UNAUTHENTICATED", "PERMISSION_DENIED"]
