from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING
from uuid import uuid4

from services.chores import chore
from services.inventory.stockroom import Stockroom
from tests.mesh.services.calls import outcome, refusal
from weft.data import Database
from weft.events import Outbox

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from tests.mesh.services.inventory.parts import Inventory

POLL_S = 0.01


@asynccontextmanager
async def swept(*stockrooms: Stockroom) -> AsyncIterator[None]:
    """Have expired reservations ended, as by one replica for each of *stockrooms*."""
    loops = [
        asyncio.create_task(chore(stockroom.expire, name="expire", batch=50, poll_s=POLL_S)) for stockroom in stockrooms
    ]
    try:
        yield
    finally:
        for loop in loops:
            loop.cancel()
        await asyncio.wait(loops)


async def test_what_nobody_commits_in_time_goes_back_to_the_shelf(inventory: Inventory) -> None:
    await inventory.given("MUG", 10)
    await inventory.given("POT", 10)
    await inventory.reserved(MUG=4, POT=1)
    await inventory.reserved(MUG=2)
    sold = await inventory.reserved(MUG=1)
    await inventory.commit(sold)
    await inventory.let_expire()

    assert await inventory.stockroom.expire(limit=10) == 2

    assert await inventory.units("MUG") == (9, 0, 1)
    assert await inventory.units("POT") == (10, 0, 0)
    assert (await inventory.kinds("MUG"))[-2:] == ["EXPIRED", "EXPIRED"]
    assert await inventory.stockroom.expire(limit=10) == 0
    await inventory.balance()


async def test_what_may_still_be_committed_stays_reserved(inventory: Inventory) -> None:
    await inventory.given("MUG", 10)
    await inventory.reserved(MUG=4)

    assert await inventory.stockroom.expire(limit=10) == 0

    assert await inventory.units("MUG") == (6, 4, 0)


async def test_batches_end_the_longest_overdue_first(inventory: Inventory) -> None:
    await inventory.given("MUG", 10)
    for _ in range(5):
        await inventory.reserved(MUG=1)
    await inventory.run("update reservations set expire_time = create_time - interval '1 hour'")

    assert [await inventory.stockroom.expire(limit=2) for _ in range(4)] == [2, 2, 1, 0]

    ended = await inventory.rows("select order_id from stock_changes where kind = 'expired' order by change_id")
    assert ended == await inventory.rows("select order_id from reservations order by create_time")


async def test_replicas_that_sweep_at_once_end_each_reservation_once(
    inventory: Inventory, eventually: Callable[[Callable[[], Awaitable[bool]]], Awaitable[None]]
) -> None:
    skus = ["MUG", "PEN", "POT"]
    for sku in skus:
        await inventory.given(sku, 200)
    for number in range(90):
        await inventory.reserved(**dict.fromkeys(skus[number % 3 :], 1))
    await inventory.let_expire()

    async def all_back() -> bool:
        return [await inventory.units(sku) for sku in skus] == [(200, 0, 0)] * 3

    async with swept(*[inventory.stockroom] * 3):
        await eventually(all_back)

    assert [len(await inventory.kinds(sku)) for sku in skus] == [1 + 2 * 30, 1 + 2 * 60, 1 + 2 * 90]
    await inventory.balance()


async def test_an_expired_reservation_is_not_made_again_by_a_repeat(inventory: Inventory) -> None:
    await inventory.given("MUG", 10)
    order_id = await inventory.reserved(MUG=4)
    await inventory.let_expire()

    overdue = await refusal(inventory.reserve(order_id, MUG=4))
    await inventory.stockroom.expire(limit=10)
    expired = await refusal(inventory.reserve(order_id, MUG=4))

    assert (overdue.code, overdue.reason) == ("FAILED_PRECONDITION", "RESERVATION_CLOSED")
    assert (expired.reason, expired.metadata) == (overdue.reason, overdue.metadata)
    assert await inventory.units("MUG") == (10, 0, 0)


async def test_an_expired_reservation_is_committed_while_units_are_left(inventory: Inventory) -> None:
    await inventory.given("MUG", 10, threshold=6)
    order_id = await inventory.reserved(MUG=4)
    await inventory.let_expire()
    await inventory.stockroom.expire(limit=10)

    for _ in range(2):
        await inventory.commit(order_id)

    assert (await inventory.ledger("MUG"))[2:] == [
        ("EXPIRED", (4, -4, 0)),
        ("RESERVED", (-4, 4, 0)),
        ("COMMITTED", (0, -4, 4)),
    ]
    assert await inventory.low() == [("MUG", 6, 6)] * 2
    await inventory.balance()


async def test_an_expired_reservation_whose_units_are_gone_cannot_be_committed(inventory: Inventory) -> None:
    await inventory.given("MUG", 5)
    await inventory.given("POT", 5)
    order_id = await inventory.reserved(MUG=4, POT=1)
    await inventory.let_expire()
    await inventory.stockroom.expire(limit=10)
    other = await inventory.reserved(MUG=2)

    error = await refusal(inventory.commit(order_id))
    await inventory.release(other)
    await inventory.commit(order_id)

    assert (error.code, error.reason) == ("FAILED_PRECONDITION", "INSUFFICIENT_STOCK")
    assert (error.metadata, error.violations) == ({"skus": "MUG"}, ())
    assert await inventory.units("POT") == (4, 0, 1)
    await inventory.balance()


async def test_what_is_overdue_and_still_held_is_committed(inventory: Inventory) -> None:
    await inventory.given("MUG", 5)
    order_id = await inventory.reserved(MUG=4)
    await inventory.let_expire()

    await inventory.commit(order_id)

    assert await inventory.kinds("MUG") == ["ADJUSTED", "RESERVED", "COMMITTED"]


async def test_an_expired_reservation_that_was_released_stays_closed(inventory: Inventory) -> None:
    await inventory.given("MUG", 5)
    order_id = await inventory.reserved(MUG=4)
    await inventory.let_expire()
    await inventory.stockroom.expire(limit=10)

    await inventory.release(order_id)

    assert await outcome(inventory.commit(order_id)) == "RESERVATION_CLOSED"
    assert await inventory.units("MUG") == (5, 0, 0)


async def test_a_sweeper_whose_database_is_away_goes_on_when_it_is_back(
    inventory: Inventory, eventually: Callable[[Callable[[], Awaitable[bool]]], Awaitable[None]]
) -> None:
    await inventory.given("MUG", 5)
    await inventory.reserved(MUG=4)
    await inventory.let_expire()
    failures = 0

    class Flaky(Stockroom):
        async def expire(self, *, limit: int) -> int:
            nonlocal failures
            if failures < 3:
                failures += 1
                async with Database.open("postgresql://127.0.0.1:1/nothing") as away:
                    return await Stockroom(away, Outbox("inventory"), hold_s=1).expire(limit=limit)
            return await super().expire(limit=limit)

    async def back() -> bool:
        return await inventory.units("MUG") == (5, 0, 0)

    async with swept(Flaky(inventory.database, Outbox("inventory"), hold_s=1)):
        await eventually(back)

    assert failures == 3


async def test_an_order_that_was_never_heard_of_does_not_expire(inventory: Inventory) -> None:
    await inventory.release(str(uuid4()))

    assert await inventory.stockroom.expire(limit=10) == 0
