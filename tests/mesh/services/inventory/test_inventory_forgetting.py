"""What is known of a reservation that has ended, and for how long."""

from __future__ import annotations

import asyncio
from contextvars import Context
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from services.inventory import store
from services.inventory.domain import KEPT
from tests.mesh.services.calls import outcome, refusal

if TYPE_CHECKING:
    import pytest

    from tests.mesh.services.inventory.parts import Inventory

AGE_DAYS = KEPT.days


async def known(inventory: Inventory) -> list[str]:
    """Return the states of the reservations that are known."""
    return [state for (state,) in await inventory.rows("select state from reservations order by state")]


async def one_of_each(inventory: Inventory) -> dict[str, str]:
    """Have a reservation in each state; return state -> order."""
    await inventory.given("MUG", 100)
    orders = {name: await inventory.reserved(MUG=2) for name in ("committed", "returned", "released", "expired")}
    for name in ("committed", "returned"):
        await inventory.commit(orders[name])
    for name in ("returned", "released"):
        await inventory.release(orders[name])
    await inventory.let_expire()
    await inventory.stockroom.expire(limit=10)
    return orders | {"reserved": await inventory.reserved(MUG=2)}


async def test_what_has_ended_is_forgotten_after_a_year_and_what_has_not_is_kept(inventory: Inventory) -> None:
    await one_of_each(inventory)
    units, ledger = await inventory.units("MUG"), await inventory.ledger("MUG")
    await inventory.let_pass(AGE_DAYS + 1)

    assert await inventory.stockroom.forget(limit=10) == 3

    assert await known(inventory) == ["expired", "reserved"]
    assert await inventory.units("MUG") == units
    assert await inventory.ledger("MUG") == ledger


async def test_within_the_year_a_late_call_is_answered_as_an_early_one(inventory: Inventory) -> None:
    orders = await one_of_each(inventory)
    await inventory.let_pass(AGE_DAYS - 1)

    assert await inventory.stockroom.forget(limit=10) == 0

    for name in ("released", "returned"):
        assert await outcome(inventory.reserve(orders[name], MUG=2)) == "RESERVATION_CLOSED"
        assert await outcome(inventory.commit(orders[name])) == "RESERVATION_CLOSED"
        await inventory.release(orders[name])
    on_hand, reserved, sold = await inventory.units("MUG")
    await inventory.commit(orders["committed"])
    assert await inventory.units("MUG") == (on_hand, reserved, sold)
    await inventory.release(orders["committed"])
    assert await inventory.units("MUG") == (on_hand + 2, reserved, sold - 2)
    await inventory.commit(orders["expired"])
    assert await inventory.units("MUG") == (on_hand, reserved, sold)
    await inventory.balance()


async def test_its_age_counts_from_its_last_change(inventory: Inventory) -> None:
    await inventory.given("MUG", 10)
    order_id = await inventory.reserved(MUG=1)
    await inventory.commit(order_id)
    await inventory.let_pass(AGE_DAYS - 1)
    await inventory.release(order_id)
    await inventory.let_pass(2)

    assert await inventory.stockroom.forget(limit=10) == 0


async def test_a_call_for_a_forgotten_reservation_moves_nothing_and_a_release_closes_the_door(
    inventory: Inventory,
) -> None:
    orders = await one_of_each(inventory)
    await inventory.let_pass(AGE_DAYS + 1)
    await inventory.stockroom.forget(limit=10)
    units = await inventory.units("MUG")

    for name in ("committed", "returned", "released"):
        error = await refusal(inventory.commit(orders[name]))
        assert (error.code, error.reason) == ("NOT_FOUND", "RESERVATION_NOT_FOUND")
        await inventory.release(orders[name])
        assert await outcome(inventory.reserve(orders[name], MUG=2)) == "RESERVATION_CLOSED"

    assert await inventory.units("MUG") == units


async def test_batches_forget_the_oldest_first(inventory: Inventory) -> None:
    ended = [str(uuid4()) for _ in range(5)]
    for order_id in ended:
        await inventory.release(order_id)
        await inventory.let_pass(1)
    await inventory.let_pass(AGE_DAYS)

    assert await inventory.stockroom.forget(limit=3) == 3

    left = {str(order_id) for (order_id,) in await inventory.rows("select order_id from reservations")}
    assert left == set(ended[3:])
    assert [await inventory.stockroom.forget(limit=3) for _ in range(2)] == [2, 0]


async def test_replicas_that_forget_at_once_share_the_work(inventory: Inventory) -> None:
    for _ in range(40):
        await inventory.release(str(uuid4()))
    await inventory.let_pass(AGE_DAYS + 1)

    done = await asyncio.gather(*(inventory.stockroom.forget(limit=10) for _ in range(4)))

    assert sum(done) + await inventory.stockroom.forget(limit=40) == 40
    assert await known(inventory) == []


async def test_a_reservation_that_is_forgotten_while_it_is_asked_for_is_one_that_never_was(
    inventory: Inventory, monkeypatch: pytest.MonkeyPatch
) -> None:
    await inventory.given("MUG", 10)
    order_id = await inventory.reserved(MUG=4)
    await inventory.commit(order_id)
    await inventory.let_pass(AGE_DAYS + 1)
    lock = store.lock_reservation
    forgotten = 0

    async def too_late(tx: Any, order: Any) -> Any:
        nonlocal forgotten
        # As another replica does: outside this call and its transaction.
        forgotten += await asyncio.create_task(inventory.stockroom.forget(limit=10), context=Context())
        return await lock(tx, order)

    monkeypatch.setattr(store, "lock_reservation", too_late)
    await inventory.release(order_id)

    assert forgotten == 1
    assert await known(inventory) == ["released"]
    assert await inventory.units("MUG") == (6, 0, 4)
