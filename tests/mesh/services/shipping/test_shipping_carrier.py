"""What a carrier may do to us, who comes at the same time, and how the simulated one moves parcels."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from sqlalchemy import text

from services.chores import chore
from services.shipping.parcels import Parcels
from tests.mesh.services.calls import outcome, refusal
from tests.mesh.services.shipping.parts import STEP_S
from weft.data import Database
from weft.events import Outbox

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from tests.mesh.services.shipping.parts import Shipping


@asynccontextmanager
async def moving(*replicas: Parcels, step_s: float = STEP_S) -> AsyncIterator[None]:
    """Have the simulated carrier at work, as in one replica for each of *replicas*."""
    loops = [
        asyncio.create_task(chore(partial(parcels.advance, step_s=step_s), name="move", batch=50, poll_s=0.01))
        for parcels in replicas
    ]
    try:
        yield
    finally:
        for loop in loops:
            loop.cancel()
        await asyncio.wait(loops)


async def test_while_the_carrier_is_away_nothing_is_booked_and_a_repeat_books(shipping: Shipping) -> None:
    order_id = str(uuid4())
    shipping.carrier.is_away = True

    error = await refusal(shipping.schedule(order_id, request_id="one"))
    shipping.carrier.is_away = False
    shipment = await shipping.schedule(order_id, request_id="one")

    assert (error.code, error.reason) == ("UNAVAILABLE", "CARRIER_UNAVAILABLE")
    assert error.retry_after_s == 1.0
    assert shipping.carrier.carried == {shipment.tracking_number}


async def test_a_parcel_is_carried_until_the_carrier_has_agreed_to_leave_it(shipping: Shipping) -> None:
    shipment = await shipping.scheduled()
    shipping.carrier.is_away = True

    error = await refusal(shipping.cancel(shipment.order_id, "one"))
    state = await shipping.track(shipment.tracking_number)
    shipping.carrier.is_away = False
    await shipping.cancel(shipment.order_id, "one")

    assert (error.reason, state) == ("CARRIER_UNAVAILABLE", "CREATED")
    assert await shipping.track(shipment.tracking_number) == "CANCELLED"
    assert shipping.carrier.carried == set()


async def test_an_order_without_a_shipment_stays_without_one_though_the_carrier_is_away(shipping: Shipping) -> None:
    order_id = str(uuid4())
    shipping.carrier.is_away = True

    error = await refusal(shipping.cancel(order_id, "one"))
    shipping.carrier.is_away = False

    assert error.reason == "CARRIER_UNAVAILABLE"
    assert await outcome(shipping.schedule(order_id)) == "SHIPMENT_CANCELLED"
    await shipping.cancel(order_id, "one")


@pytest.mark.parametrize("request_id", ["", "one"])
async def test_a_parcel_whose_booking_was_never_noted_is_noted_by_a_repeat(shipping: Shipping, request_id: str) -> None:
    order_id = str(uuid4())
    await _booked_and_killed(shipping, order_id)

    shipment = await shipping.schedule(order_id, request_id=request_id)

    assert shipping.carrier.carried == {shipment.tracking_number}
    assert await shipping.told(order_id) == ["ShipmentCreated"]


async def test_a_parcel_whose_booking_was_never_noted_is_cancelled_too(shipping: Shipping) -> None:
    order_id = str(uuid4())
    await _booked_and_killed(shipping, order_id)
    assert len(shipping.carrier.carried) == 1

    await shipping.cancel(order_id)

    assert shipping.carrier.carried == set()
    assert await outcome(shipping.schedule(order_id)) == "SHIPMENT_CANCELLED"


@pytest.mark.parametrize("request_id", ["", "one"])
async def test_what_is_cancelled_while_it_is_booked_is_not_carried(shipping: Shipping, request_id: str) -> None:
    order_id = str(uuid4())

    async def cancel() -> None:
        await shipping.cancel(order_id)
        shipping.carrier.cancelled.clear()  # as if it had been asked before the booking arrived there

    shipping.carrier.booked = cancel
    error = await refusal(shipping.schedule(order_id, request_id=request_id))

    assert error.reason == "SHIPMENT_CANCELLED"
    assert shipping.carrier.carried == set()
    assert await shipping.events(order_id) == []


@pytest.mark.parametrize("request_id", ["", "one"])
async def test_what_is_scheduled_twice_at_once_is_booked_once(shipping: Shipping, request_id: str) -> None:
    order_id = str(uuid4())

    shipments = await asyncio.gather(*(shipping.schedule(order_id, request_id=request_id) for _ in range(8)))

    assert len({shipment.SerializeToString() for shipment in shipments}) == 1
    assert await shipping.told(order_id) == ["ShipmentCreated"]


async def test_a_schedule_and_a_cancel_at_once_leave_nothing_to_carry(shipping: Shipping) -> None:
    for _ in range(20):
        order_id = str(uuid4())
        await asyncio.gather(outcome(shipping.schedule(order_id)), shipping.cancel(order_id))
        assert shipping.carrier.carried == set()
        assert await shipping.told(order_id) in ([], ["ShipmentCreated", "ShipmentCancelled"])


async def test_a_cancel_and_the_carrier_at_once_agree(shipping: Shipping) -> None:
    for _ in range(20):
        shipment = await shipping.scheduled()
        await shipping.let_pass(STEP_S)

        cancelled, _ = await asyncio.gather(
            outcome(shipping.cancel(shipment.order_id)), shipping.parcels.advance(step_s=STEP_S, limit=100)
        )

        state = await shipping.track(shipment.tracking_number)
        assert state == ("IN_TRANSIT" if cancelled == "SHIPMENT_DISPATCHED" else "CANCELLED")
        assert len(await shipping.told(shipment.order_id)) == 2


async def test_a_parcel_is_fetched_after_one_step_and_delivered_after_another(shipping: Shipping) -> None:
    shipment = await shipping.scheduled()
    number = shipment.tracking_number

    assert await shipping.parcels.advance(step_s=STEP_S, limit=100) == 0
    assert (await shipping.step(), await shipping.track(number)) == (1, "IN_TRANSIT")
    assert await shipping.parcels.advance(step_s=STEP_S, limit=100) == 0
    assert (await shipping.step(), await shipping.track(number)) == (1, "DELIVERED")
    assert await shipping.step() == 0

    assert await shipping.told(shipment.order_id) == ["ShipmentCreated", "ShipmentDispatched", "ShipmentDelivered"]


async def test_cancelled_and_returned_parcels_do_not_move(shipping: Shipping) -> None:
    cancelled, returned = await shipping.scheduled(), await shipping.scheduled()
    await shipping.cancel(cancelled.order_id)
    await shipping.cancel(str(uuid4()))
    await shipping.report(returned.tracking_number, "IN_TRANSIT")
    await shipping.report(returned.tracking_number, "RETURNED")

    assert await shipping.step() == 0


async def test_the_longest_waiting_parcels_move_first(shipping: Shipping) -> None:
    waiting = []
    for _ in range(5):
        waiting.append((await shipping.scheduled()).tracking_number)
        await shipping.let_pass(1)

    assert await shipping.step(limit=3) == 3

    assert [await shipping.track(number) for number in waiting] == ["IN_TRANSIT"] * 3 + ["CREATED"] * 2


async def test_replicas_move_each_parcel_once(
    shipping: Shipping, eventually: Callable[[Callable[[], Awaitable[bool]]], Awaitable[None]]
) -> None:
    order_ids = [(await shipping.scheduled()).order_id for _ in range(60)]

    async def all_delivered() -> bool:
        return await _states(shipping) == {"delivered": 60}

    async with moving(*[shipping.parcels] * 3, step_s=0):
        await eventually(all_delivered)

    told = [await shipping.told(order_id) for order_id in order_ids]
    assert told == [["ShipmentCreated", "ShipmentDispatched", "ShipmentDelivered"]] * 60


async def test_parcels_move_on_when_its_database_is_back(
    shipping: Shipping, eventually: Callable[[Callable[[], Awaitable[bool]]], Awaitable[None]]
) -> None:
    await shipping.scheduled()
    failures = 0

    class Flaky(Parcels):
        async def advance(self, *, step_s: float, limit: int) -> int:
            nonlocal failures
            if failures < 3:
                failures += 1
                async with Database.open("postgresql://127.0.0.1:1/nothing") as away:
                    outbox = Outbox("shipping")
                    return await Parcels(away, shipping.carrier, outbox).advance(step_s=step_s, limit=limit)
            return await super().advance(step_s=step_s, limit=limit)

    async def delivered() -> bool:
        return await _states(shipping) == {"delivered": 1}

    async with moving(Flaky(shipping.database, shipping.carrier, Outbox("shipping")), step_s=0):
        await eventually(delivered)

    assert failures == 3


async def _booked_and_killed(shipping: Shipping, order_id: str) -> None:
    """Have an order's parcel booked by a process that is killed before it has noted that."""

    async def kill() -> None:
        calling.cancel()
        await asyncio.sleep(10)

    shipping.carrier.booked = kill
    calling = asyncio.ensure_future(shipping.schedule(order_id))
    await asyncio.wait([calling])
    assert calling.cancelled()


async def _states(shipping: Shipping) -> dict[str, int]:
    async with shipping.database.transaction() as tx:
        rows: Any = await tx.all(text("select state from shipments"))
    return dict(Counter(state for (state,) in rows))
