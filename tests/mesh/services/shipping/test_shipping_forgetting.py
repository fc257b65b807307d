"""Where somebody lives who has deleted their account: forgotten as soon as no carrier needs it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import pytest
from shop.shipping.v1 import shipping_pb2 as pb
from sqlalchemy import text

from services.shipping import store
from services.shipping.domain import Action
from services.shipping.forgetting import handlers
from tests.mesh.services.forgetting import deleted, hear, somebody_waits
from tests.mesh.services.shipping.parts import SECRETS, address

if TYPE_CHECKING:
    from tests.mesh.services.shipping.parts import Shipping
    from weft.events import Received

FORGOTTEN = pb.Address(country_code="GB")


async def forget(shipping: Shipping, received: Received[Any] | None = None) -> None:
    """Hear that the owner of the parcels is gone."""
    await hear(shipping.database, handlers(), received or deleted(shipping.user_id))


async def destination(shipping: Shipping, order_id: str) -> Any:
    request = pb.GetShipmentRequest(order_id=order_id)
    return (await shipping.admin.GetShipment(request)).shipment.destination


async def words_kept(shipping: Shipping) -> list[str]:
    """Return what of the address is still in any table, or was told to anybody."""
    async with shipping.database.transaction() as tx:
        found = [str(row) for table in ("shipments", "forgotten_users") for row in await tx.all(text(f"table {table}"))]
        said = await tx.all(text("select data from outbox union all select answer from request_answers"))
    return [
        word
        for word in SECRETS
        if any(word in row for row in found) or any(word.encode() in bytes(row.data) for row in said)
    ]


async def brought_to(shipping: Shipping, state: str, **fields: Any) -> Any:
    """Return a shipment that has come to *state*."""
    shipment = await shipping.schedule(str(uuid4()), **fields)
    if state == "CANCELLED":
        await shipping.cancel(shipment.order_id)
    else:
        for each in ("IN_TRANSIT", "DELIVERED", "RETURNED"):
            if state == "CREATED":
                break
            await shipping.report(shipment.tracking_number, each)
            if each == state:
                break
    return shipment


@pytest.mark.parametrize("state", ["DELIVERED", "RETURNED", "CANCELLED"])
async def test_a_parcel_at_rest_keeps_its_country_only(shipping: Shipping, state: str) -> None:
    shipment = await brought_to(shipping, state)

    await forget(shipping)

    assert await destination(shipping, shipment.order_id) == FORGOTTEN
    assert await words_kept(shipping) == []
    assert await shipping.track(shipment.tracking_number) == state


async def test_others_keep_their_addresses(shipping: Shipping) -> None:
    ours = await brought_to(shipping, "DELIVERED")
    theirs = [await brought_to(shipping, state, user_id="ben") for state in ("DELIVERED", "IN_TRANSIT")]

    await forget(shipping)
    await shipping.step()

    assert await destination(shipping, ours.order_id) == FORGOTTEN
    assert [await destination(shipping, each.order_id) for each in theirs] == [address()] * 2


@pytest.mark.parametrize("state", ["CREATED", "IN_TRANSIT"])
async def test_a_parcel_under_way_loses_its_address_on_arrival(shipping: Shipping, state: str) -> None:
    shipment = await brought_to(shipping, state)

    await forget(shipping)

    assert await destination(shipping, shipment.order_id) == address()
    while await shipping.step():
        arrived = await shipping.track(shipment.tracking_number) == "DELIVERED"
        assert await destination(shipping, shipment.order_id) == (FORGOTTEN if arrived else address())
    assert await words_kept(shipping) == []
    assert await shipping.told(shipment.order_id) == ["ShipmentCreated", "ShipmentDispatched", "ShipmentDelivered"]


async def test_it_loses_it_too_when_it_is_called_off_or_comes_back(shipping: Shipping) -> None:
    booked, fetched = await brought_to(shipping, "CREATED"), await brought_to(shipping, "IN_TRANSIT")
    await forget(shipping)

    await shipping.cancel(booked.order_id)
    returned = await shipping.report(fetched.tracking_number, "RETURNED")

    assert returned.destination == FORGOTTEN
    assert await destination(shipping, booked.order_id) == FORGOTTEN
    assert await words_kept(shipping) == []


async def test_a_parcel_booked_after_the_event_is_carried_and_then_forgotten(shipping: Shipping) -> None:
    await forget(shipping)

    shipment = await shipping.scheduled()

    assert await destination(shipping, shipment.order_id) == address()
    await shipping.step()
    await shipping.step()
    assert await destination(shipping, shipment.order_id) == FORGOTTEN


async def test_no_stored_answer_shows_the_address_and_a_repeat_is_answered_with_what_is_known(
    shipping: Shipping,
) -> None:
    orders = [str(uuid4()) for _ in range(2)]
    await shipping.schedule(orders[0], request_id="before")
    await shipping.cancel(orders[0])
    await forget(shipping)
    await shipping.schedule(orders[1], request_id="after")
    theirs = await shipping.schedule(str(uuid4()), user_id="ben", request_id="theirs")

    await shipping.step()
    await shipping.step()

    again = await shipping.schedule(orders[1], request_id="after")
    assert (again.order_id, again.destination) == (orders[1], FORGOTTEN)
    async with shipping.database.transaction() as tx:
        answers = [bytes(row.answer) for row in await tx.all(text("select answer from request_answers"))]
    assert [theirs.order_id.encode() in each for each in answers if SECRETS[0].encode() in each] == [True]


async def test_a_delivered_parcel_that_comes_back_later_stays_forgotten(shipping: Shipping) -> None:
    shipment = await brought_to(shipping, "DELIVERED")
    await forget(shipping)

    assert (await shipping.report(shipment.tracking_number, "RETURNED")).destination == FORGOTTEN


async def test_hearing_it_again_or_of_somebody_unknown_changes_nothing(shipping: Shipping) -> None:
    await shipping.cancel(str(uuid4()))  # a closed door has no parcel
    theirs = await brought_to(shipping, "DELIVERED", user_id="ben")
    event = deleted(shipping.user_id)

    for each in (event, event, deleted(shipping.user_id), deleted(str(uuid4()))):
        await forget(shipping, each)

    assert await destination(shipping, theirs.order_id) == address()
    async with shipping.database.transaction() as tx:
        assert await tx.scalar(text("select count(*) from forgotten_users")) == 2


async def test_a_parcel_that_arrives_while_its_user_is_being_forgotten_is_forgotten(shipping: Shipping) -> None:
    """Whichever of the two is first."""
    first, second = [await brought_to(shipping, "IN_TRANSIT") for _ in range(2)]

    async with shipping.database.transaction() as tx:
        known = await store.lock_shipment(tx, UUID(first.order_id))
        forgetting = asyncio.create_task(forget(shipping))
        await somebody_waits(shipping.database)
        await store.save_state(tx, [known.apply(Action.DELIVER, now=known.update_time)])
    await forgetting

    async with shipping.database.transaction() as tx:
        await store.forget_user(tx, shipping.user_id)
        arriving = asyncio.create_task(shipping.report(second.tracking_number, "DELIVERED"))
        await somebody_waits(shipping.database)
    await arriving

    assert [await destination(shipping, each.order_id) for each in (first, second)] == [FORGOTTEN] * 2


async def test_thousands_of_parcels_of_forgotten_users_arrive_together(shipping: Shipping) -> None:
    async with shipping.database.transaction() as tx:
        await tx.execute(
            text(
                """
                insert into shipments
                select gen_random_uuid(), gen_random_uuid(), 'in_transit', now() - interval '1 hour', 'u' || n % 2,
                       'SIM' || n, 'EUR', 4, 0, 'Ada', '{Square}', 'SW1', 'London', 'GB', now()
                from generate_series(1, 4000) n
                """
            )
        )
    await forget(shipping, deleted("u1"))

    assert await shipping.step(limit=5000) == 4000

    async with shipping.database.transaction() as tx:
        rows = await tx.all(
            text("select user_id, recipient, street_lines, postal_code, city, country_code, count(*) from shipments"
                 " where state = 'delivered' group by 1, 2, 3, 4, 5, 6 order by 1")
        )  # fmt: skip
    assert [tuple(row) for row in rows] == [
        ("u0", "Ada", ["Square"], "SW1", "London", "GB", 2000),
        ("u1", "", [], "", "", "GB", 2000),
    ]
