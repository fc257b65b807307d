"""Who comes at the same time: all start from one event, and PostgreSQL decides."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from tests.mesh.services.calls import outcome

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from tests.mesh.services.inventory.parts import Inventory


async def at_once(calls: Iterable[Awaitable[Any]]) -> list[Any]:
    """Return the outcomes of *calls*, all started from one event."""
    start = asyncio.Event()

    async def run(call: Awaitable[Any]) -> Any:
        await start.wait()
        return await outcome(call)

    tasks = [asyncio.ensure_future(run(call)) for call in calls]
    start.set()
    return await asyncio.gather(*tasks)


def tally(outcomes: Iterable[Any]) -> dict[str, int]:
    return dict(Counter(each if isinstance(each, str) else "done" for each in outcomes))


async def test_of_a_hundred_that_want_one_of_the_last_ten_units_ten_get_one(inventory: Inventory) -> None:
    await inventory.given("MUG", 10, threshold=2)

    outcomes = await at_once(inventory.reserve(str(uuid4()), str(uuid4()), MUG=1) for _ in range(100))

    assert tally(outcomes) == {"done": 10, "INSUFFICIENT_STOCK": 90}
    assert await inventory.units("MUG") == (0, 10, 0)
    assert await inventory.kinds("MUG") == ["ADJUSTED"] + ["RESERVED"] * 10
    assert await inventory.low() == [("MUG", 2, 2)]
    await inventory.balance()


async def test_orders_of_the_same_skus_in_different_orders_do_not_block_each_other_for_ever(
    inventory: Inventory,
) -> None:
    dice = random.Random(7)
    skus = [f"SKU-{number}" for number in range(8)]
    for sku in skus:
        await inventory.given(sku, 60, threshold=30)  # so that they also publish about the same SKUs

    outcomes = await at_once(
        inventory.reserve(str(uuid4()), **dict.fromkeys(dice.sample(skus, len(skus)), 1)) for _ in range(60)
    )

    assert tally(outcomes) == {"done": 60}
    assert [await inventory.units(sku) for sku in skus] == [(0, 60, 0)] * len(skus)
    assert len(await inventory.low()) == len(skus)
    await inventory.balance()


async def test_copies_of_one_reservation_reserve_once(inventory: Inventory) -> None:
    await inventory.given("MUG", 10)
    order_id = str(uuid4())

    ids = ["", "", "one", "one", "two", "two"]
    outcomes = await at_once(inventory.reserve(order_id, request_id, MUG=4) for request_id in ids)

    assert len({each.SerializeToString() for each in outcomes}) == 1
    assert await inventory.units("MUG") == (6, 4, 0)
    assert await inventory.kinds("MUG") == ["ADJUSTED", "RESERVED"]


async def test_a_release_and_a_reservation_at_once_leave_nothing_reserved(inventory: Inventory) -> None:
    await inventory.given("MUG", 100)

    for _ in range(20):
        order_id = str(uuid4())
        outcomes = await at_once([inventory.reserve(order_id, MUG=4), inventory.release(order_id)])
        assert tally(outcomes) in ({"done": 2}, {"done": 1, "RESERVATION_CLOSED": 1})

    assert await inventory.units("MUG") == (100, 0, 0)
    await inventory.balance()


@pytest.mark.parametrize("is_overdue", [False, True], ids=["", "while the reservation expires"])
async def test_a_release_and_a_commit_at_once_leave_nothing_sold(inventory: Inventory, *, is_overdue: bool) -> None:
    await inventory.given("MUG", 100)

    for _ in range(20):
        order_id = await inventory.reserved(MUG=4)
        expiring = []
        if is_overdue:
            await inventory.let_expire()
            expiring = [inventory.stockroom.expire(limit=10), inventory.stockroom.expire(limit=10)]
        outcomes = await at_once([inventory.commit(order_id), inventory.release(order_id), *expiring])
        assert tally(outcomes[:2]) in ({"done": 2}, {"done": 1, "RESERVATION_CLOSED": 1})

    assert await inventory.units("MUG") == (100, 0, 0)
    await inventory.balance()


async def test_a_new_sku_is_stocked_by_two_at_once(inventory: Inventory) -> None:
    outcomes = await at_once(inventory.adjust("MUG", number) for number in range(1, 9))

    assert tally(outcomes) == {"done": 8}
    assert await inventory.units("MUG") == (36, 0, 0)
    await inventory.balance()


async def test_everything_at_once_keeps_the_books(inventory: Inventory) -> None:
    dice = random.Random(11)
    skus = ["MUG", "PEN", "POT"]
    for sku in skus:
        await inventory.given(sku, 30, threshold=5)
    orders = [str(uuid4()) for _ in range(12)]
    lines = {order: {sku: dice.randint(1, 6) for sku in dice.sample(skus, dice.randint(1, 3))} for order in orders}

    def call() -> Awaitable[Any]:
        order = dice.choice(orders)
        calls: list[Callable[[], Awaitable[Any]]] = [
            lambda: inventory.reserve(order, **lines[order]),
            lambda: inventory.commit(order),
            lambda: inventory.release(order),
            lambda: inventory.adjust(dice.choice(skus), dice.randint(-5, 5)),
            inventory.let_expire,
            lambda: inventory.stockroom.expire(limit=dice.randint(1, 4)),
        ]
        return dice.choice(calls)()

    for _ in range(6):
        seen = tally(await at_once(call() for _ in range(40)))
        refusals = {"done", "INSUFFICIENT_STOCK", "RESERVATION_CLOSED", "RESERVATION_NOT_FOUND"}
        assert set(seen) <= refusals  # no CONFLICT: nobody waits in a circle
        await inventory.balance()
