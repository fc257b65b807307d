"""Orders that are called off: in every state, under every failure, and in a race with being placed."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest
from shop.orders.v1 import orders_pb2 as pb
from shop.shipping.v1 import events_pb2

from services.orders.shipments import handlers
from tests.mesh.services.calls import outcome, refusal
from tests.mesh.services.orders_parts import Shop, order_request, until
from tests.mesh.services.orders_peers import MUG, Fault
from weft.events import Received
from weft.saga import timeline

ONE_MUG = order_request((MUG, 1))


def cancel_request(order_id: str, request_id: str = "") -> pb.CancelOrderRequest:
    return pb.CancelOrderRequest(order_id=order_id, request_id=request_id)


async def told(shop: Shop, message: type[Any], order_id: str) -> None:
    """Let an event of shipping arrive."""
    event = message(order_id=order_id, user_id=shop.user_id)
    received = Received(
        id=str(uuid4()),
        type=message.DESCRIPTOR.full_name,
        source="shipping",
        subject=order_id,
        sequence=1,
        time=datetime.now(UTC),
        attempt=1,
        event=event,
    )
    async with shop.database.transaction(independent=True) as tx:
        await handlers(shop.replica.journal)[message](tx, received)


async def test_an_order_that_is_called_off_gives_everything_back(shop: Shop) -> None:
    order_id = await shop.bought()

    order = (await shop.me.CancelOrder(cancel_request(order_id))).order

    assert (order.state, order.cancel_reason) == (pb.Order.STATE_CANCELLED, "CANCELLED_BY_USER")
    assert shop.fulfilment.of(order_id) == ("returned", "refunded", "cancelled")
    assert await shop.history(order_id) == ["placed", "confirmed", "cancellation_requested", "cancelled"]
    assert await shop.published(order_id) == ["OrderPlaced", "OrderConfirmed", "OrderCancelled"]
    shop.fulfilment.require_nothing_twice()


async def test_calling_off_again_changes_nothing(shop: Shop) -> None:
    order_id = await shop.bought()
    first = (await shop.me.CancelOrder(cancel_request(order_id))).order

    second = (await shop.me.CancelOrder(cancel_request(order_id))).order

    assert second == first
    assert len(await shop.history(order_id)) == 4


async def test_the_order_of_somebody_else_is_not_there_to_be_called_off(shop: Shop) -> None:
    order_id = await shop.bought()

    error = await refusal(shop.as_user(str(uuid4())).CancelOrder(cancel_request(order_id)))
    admins = await refusal(shop.as_user(str(uuid4()), "user", "admin").CancelOrder(cancel_request(order_id)))

    assert error.reason == admins.reason == "ORDER_NOT_FOUND"
    assert await shop.standing(order_id) == ("confirmed", "")


async def test_an_order_that_has_left_stays_as_it_is(shop: Shop) -> None:
    order_id = await shop.bought()
    shop.shipping.state[order_id] = "dispatched"

    error = await refusal(shop.me.CancelOrder(cancel_request(order_id)))

    assert (error.code, error.reason) == ("FAILED_PRECONDITION", "ILLEGAL_TRANSITION")
    assert await shop.standing(order_id) == ("confirmed", "")
    assert shop.fulfilment.of(order_id) == ("sold", "captured", "dispatched")
    assert await shop.history(order_id) == ["placed", "confirmed", "cancellation_requested", "cancellation_refused"]
    assert await shop.sagas("cancel_order") == ["compensated"]


async def test_an_order_that_has_left_stays_as_it_is_though_shipping_was_not_heard_at_first(shop: Shop) -> None:
    order_id = await shop.bought()
    shop.shipping.state[order_id] = "dispatched"
    shop.shipping.fail("CancelShipment", Fault.UNAVAILABLE, times=1)

    error = await refusal(shop.me.CancelOrder(cancel_request(order_id)))

    assert (error.code, error.reason) == ("FAILED_PRECONDITION", "ILLEGAL_TRANSITION")
    assert await shop.standing(order_id) == ("confirmed", "")
    assert shop.fulfilment.of(order_id) == ("sold", "captured", "dispatched")
    assert await shop.sagas("cancel_order") == ["compensated"]


async def test_a_refused_cancellation_may_be_asked_for_again(shop: Shop) -> None:
    order_id = await shop.bought()
    shop.shipping.fail("CancelShipment", Fault.REFUSED, times=1)
    await refusal(shop.me.CancelOrder(cancel_request(order_id)))

    order = (await shop.me.CancelOrder(cancel_request(order_id))).order

    assert order.state == pb.Order.STATE_CANCELLED
    assert await shop.sagas("cancel_order") == ["compensated", "done"]


@pytest.mark.parametrize(
    ("messages", "state"),
    [
        ([events_pb2.ShipmentDispatched], "shipped"),
        ([events_pb2.ShipmentDispatched, events_pb2.ShipmentDelivered], "delivered"),
        ([events_pb2.ShipmentDispatched, events_pb2.ShipmentReturned], "returned"),
        ([events_pb2.ShipmentDelivered, events_pb2.ShipmentReturned], "returned"),
    ],
)
async def test_what_is_on_its_way_or_there_is_not_called_off(shop: Shop, messages: list[Any], state: str) -> None:
    order_id = await shop.bought()
    for message in messages:
        await told(shop, message, order_id)

    error = await refusal(shop.me.CancelOrder(cancel_request(order_id)))

    assert (error.code, error.reason) == ("FAILED_PRECONDITION", "ILLEGAL_TRANSITION")
    assert error.metadata == {"state": state, "action": "cancel"}
    assert await shop.sagas("cancel_order") == []


async def test_events_of_shipping_are_applied_once_whatever_their_order(shop: Shop) -> None:
    order_id = await shop.bought()

    for message in (
        events_pb2.ShipmentDelivered,
        events_pb2.ShipmentDispatched,
        events_pb2.ShipmentDelivered,
        events_pb2.ShipmentReturned,
        events_pb2.ShipmentDelivered,
        events_pb2.ShipmentReturned,
    ):
        await told(shop, message, order_id)

    assert await shop.history(order_id) == ["placed", "confirmed", "delivered", "returned"]
    assert await shop.published(order_id) == ["OrderPlaced", "OrderConfirmed", "OrderDelivered"]


async def test_a_parcel_that_leaves_while_its_order_is_called_off_has_won(shop: Shop) -> None:
    order_id = await shop.bought()
    shop.shipping.held.clear()
    call = asyncio.ensure_future(refusal(shop.me.CancelOrder(cancel_request(order_id))))
    await until(lambda: _asked(shop, "CancelShipment"))

    shop.shipping.state[order_id] = "dispatched"
    await told(shop, events_pb2.ShipmentDispatched, order_id)
    shop.shipping.held.set()
    error = await call
    await shop.at_rest()

    assert (error.code, error.reason) == ("FAILED_PRECONDITION", "ILLEGAL_TRANSITION")
    assert await shop.standing(order_id) == ("shipped", "")
    assert shop.fulfilment.of(order_id) == ("sold", "captured", "dispatched")
    assert await shop.published(order_id) == ["OrderPlaced", "OrderConfirmed", "OrderShipped"]


@pytest.mark.parametrize("method", ["CancelShipment", "RefundPayment", "ReleaseStock"])
@pytest.mark.parametrize("fault", [Fault.UNAVAILABLE, Fault.LOST])
async def test_trouble_that_passes_while_calling_off_is_not_noticed(shop: Shop, method: str, fault: Fault) -> None:
    order_id = await shop.bought()
    _peer(shop, method).fail(method, fault, times=2)

    order = (await shop.me.CancelOrder(cancel_request(order_id))).order

    assert order.state == pb.Order.STATE_CANCELLED
    assert shop.fulfilment.of(order_id) == ("returned", "refunded", "cancelled")
    shop.fulfilment.require_nothing_twice()


@pytest.mark.parametrize("method", ["CancelShipment", "RefundPayment", "ReleaseStock"])
async def test_a_step_of_calling_off_that_is_too_slow_is_done_once(hasty_shop: Shop, method: str) -> None:
    shop = hasty_shop
    order_id = await shop.bought()
    _peer(shop, method).fail(method, Fault.LATE, times=1)

    order = (await shop.me.CancelOrder(cancel_request(order_id))).order
    shop.fulfilment.arrive()

    assert order.state == pb.Order.STATE_CANCELLED
    assert shop.fulfilment.of(order_id) == ("returned", "refunded", "cancelled")
    shop.fulfilment.require_nothing_twice()


@pytest.mark.parametrize(
    ("method", "left"),
    [
        ("CancelShipment", ("sold", "captured", "created")),
        ("RefundPayment", ("sold", "captured", "cancelled")),
        ("ReleaseStock", ("sold", "refunded", "cancelled")),
    ],
)
async def test_what_can_not_be_called_off_for_good_waits_for_a_person(
    hasty_shop: Shop, method: str, left: tuple[str, str, str]
) -> None:
    shop = hasty_shop
    order_id = await shop.bought()
    _peer(shop, method).fail(method, Fault.UNAVAILABLE)

    order = (await shop.me.CancelOrder(cancel_request(order_id), timeout=2)).order
    await shop.at_rest()

    assert order.state == pb.Order.STATE_CANCELLING
    assert await shop.sagas("cancel_order") == ["stuck"]
    assert shop.fulfilment.of(order_id) == left

    shop.fulfilment.heal()
    (saga_id,) = [row[0] for row in await shop.rows("select saga_id from sagas where definition = 'cancel_order'")]
    assert await timeline.resume(shop.database, saga_id, who="a person")
    await until(lambda: _stands(shop, order_id, "cancelled"))

    assert shop.fulfilment.of(order_id) == ("returned", "refunded", "cancelled")


async def test_an_answer_that_is_not_final_is_not_kept(shop: Shop) -> None:
    order_id = await shop.bought()
    shop.payments.held.clear()

    first = (await shop.me.CancelOrder(cancel_request(order_id, "cancel-1"), timeout=1)).order
    shop.payments.held.set()
    second = (await shop.me.CancelOrder(cancel_request(order_id, "cancel-1"))).order

    assert (first.state, second.state) == (pb.Order.STATE_CANCELLING, pb.Order.STATE_CANCELLED)
    assert (await shop.me.CancelOrder(cancel_request(order_id, "cancel-1"))).order == second


async def test_an_order_may_be_called_off_before_it_is_certain(shop: Shop) -> None:
    shop.payments.held.clear()
    placing = asyncio.ensure_future(refusal(shop.me.PlaceOrder(order_request((MUG, 1), request_id="basket-1"))))
    await until(lambda: _asked(shop, "AuthorizePayment"))
    order_id = await shop.only_id()

    cancelling = asyncio.ensure_future(shop.me.CancelOrder(cancel_request(order_id)))
    await until(lambda: _stands(shop, order_id, "cancelling"))
    shop.payments.held.set()
    order, error = (await cancelling).order, await placing

    assert (order.state, order.cancel_reason) == (pb.Order.STATE_CANCELLED, "CANCELLED_BY_USER")
    assert (error.code, error.reason, error.metadata) == (
        "FAILED_PRECONDITION", "CANCELLED_BY_USER", {"order_id": order_id},
    )  # fmt: skip
    assert shop.fulfilment.of(order_id) == ("released", "voided", None)
    assert await shop.published(order_id) == ["OrderPlaced", "OrderCancelled"]
    assert await shop.sagas("cancel_order") == []


async def test_a_request_whose_order_was_called_off_does_not_place_another(shop: Shop) -> None:
    await test_an_order_may_be_called_off_before_it_is_certain(shop)

    error = await refusal(shop.me.PlaceOrder(order_request((MUG, 1), request_id="basket-1")))

    assert (error.code, error.reason) == ("FAILED_PRECONDITION", "CANCELLED_BY_USER")
    assert len(await shop.ids_of_all()) == 1


async def test_who_calls_off_what_fails_anyway_is_told_that_it_is_off(shop: Shop) -> None:
    shop.payments.held.clear()
    shop.payments.fail("AuthorizePayment", Fault.REFUSED)
    placing = asyncio.ensure_future(refusal(shop.me.PlaceOrder(ONE_MUG)))
    await until(lambda: _asked(shop, "AuthorizePayment"))
    order_id = await shop.only_id()

    cancelling = asyncio.ensure_future(shop.me.CancelOrder(cancel_request(order_id)))
    await until(lambda: _stands(shop, order_id, "cancelling"))
    shop.payments.held.set()

    assert (await cancelling).order.cancel_reason == "CANCELLED_BY_USER"
    assert (await placing).reason == "CANCELLED_BY_USER"
    assert shop.fulfilment.of(order_id) == ("released", None, None)


@pytest.mark.parametrize("method", ["CommitStock", "CapturePayment", "ScheduleShipment"])
async def test_calling_off_waits_until_the_order_is_placed_as_a_whole(shop: Shop, method: str) -> None:
    peer = _peer(shop, method)
    if method == "CapturePayment":
        peer.fail("CapturePayment", Fault.UNAVAILABLE, times=1)
    peer.fail(method, Fault.UNAVAILABLE, times=1)
    order_id = (await shop.me.PlaceOrder(ONE_MUG)).order.order_id

    order = (await shop.me.CancelOrder(cancel_request(order_id))).order
    await shop.at_rest()

    assert order.state == pb.Order.STATE_CANCELLED
    assert (await shop.sagas(), await shop.sagas("cancel_order")) == (["done"], ["done"])
    assert shop.fulfilment.of(order_id) == ("returned", "refunded", "cancelled")
    placed = [called for called, _, _ in shop.shipping.calls]
    assert placed.index("ScheduleShipment") < placed.index("CancelShipment")


@pytest.mark.parametrize(
    ("method", "left"),
    [
        ("CommitStock", ("released", "voided", "cancelled")),
        ("CapturePayment", ("returned", "voided", "cancelled")),
        ("ScheduleShipment", ("returned", "refunded", "cancelled")),
    ],
)
async def test_an_order_whose_placement_is_stuck_may_be_called_off_and_stays_off(
    shop: Shop, method: str, left: tuple[str, str, str]
) -> None:
    _peer(shop, method).fail(method, Fault.UNAVAILABLE)
    order_id = (await shop.me.PlaceOrder(ONE_MUG)).order.order_id
    await shop.at_rest()
    shop.fulfilment.heal()

    order = (await shop.me.CancelOrder(cancel_request(order_id))).order
    assert await timeline.resume(shop.database, UUID(order_id), who="a person")
    await until(lambda: _is(shop, "done"))

    assert order.state == pb.Order.STATE_CANCELLED
    assert shop.fulfilment.of(order_id) == left
    assert await shop.standing(order_id) == ("cancelled", "CANCELLED_BY_USER")


async def test_an_order_that_was_called_off_stays_off_when_inventory_has_forgotten_it(shop: Shop) -> None:
    shop.inventory.fail("CommitStock", Fault.UNAVAILABLE)
    order_id = (await shop.me.PlaceOrder(ONE_MUG)).order.order_id
    await shop.at_rest()
    shop.fulfilment.heal()
    await shop.me.CancelOrder(cancel_request(order_id))
    del shop.inventory.state[order_id]

    assert await timeline.resume(shop.database, UUID(order_id), who="a person")
    await until(lambda: _is(shop, "done"))

    assert shop.fulfilment.of(order_id) == (None, "voided", "cancelled")
    assert await shop.standing(order_id) == ("cancelled", "CANCELLED_BY_USER")


@pytest.mark.parametrize("moment", range(8))
async def test_placing_and_calling_off_at_once_charge_exactly_the_orders_that_stand(shop: Shop, moment: int) -> None:
    async def chase() -> Any:
        await until(lambda: _is_there(shop))
        for _ in range(moment):
            await asyncio.sleep(0)
        await asyncio.sleep(moment * 0.004)
        return await outcome(shop.me.CancelOrder(cancel_request(await shop.only_id())))

    placed, cancelled = await asyncio.gather(outcome(shop.me.PlaceOrder(ONE_MUG)), chase())
    await shop.at_rest()

    order_id = await shop.only_id()
    assert await shop.standing(order_id) == ("cancelled", "CANCELLED_BY_USER")
    assert cancelled.order.state == pb.Order.STATE_CANCELLED
    was_confirmed = "confirmed" in await shop.history(order_id)
    expected = ("returned", "refunded", "cancelled") if was_confirmed else ("released", "voided", None)
    assert shop.fulfilment.of(order_id) == expected
    assert (placed == "CANCELLED_BY_USER") == (not was_confirmed)
    shop.fulfilment.require_nothing_twice()


def _peer(shop: Shop, method: str) -> Any:
    if method in ("CancelShipment", "ScheduleShipment"):
        return shop.shipping
    return shop.inventory if method in ("ReleaseStock", "CommitStock") else shop.payments


async def _asked(shop: Shop, method: str) -> bool:
    return bool(_peer(shop, method).count(method))


async def _stands(shop: Shop, order_id: str, state: str) -> bool:
    return (await shop.standing(order_id))[0] == state


async def _is(shop: Shop, status: str) -> bool:
    return await shop.sagas() == [status]


async def _is_there(shop: Shop) -> bool:
    return bool(await shop.ids_of_all())
