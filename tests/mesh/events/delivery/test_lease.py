"""One replica at a time applies a subscription's events, and one that has lost its turn can apply nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from uuid import uuid4

import pytest
import sqlalchemy as sa

from tests.mesh.events.delivery.harness import running
from weft.data import Database
from weft.events.inbox import Entry, Inbox
from weft.events.lease import Lease, LeaseLost, leased
from weft.events.sweep import sweep

Eventually = Callable[[Callable[[], Awaitable[bool]]], Awaitable[None]]


async def expire(database: Database) -> None:
    """Do what time does to a lease that nobody renews."""
    async with database.transaction() as tx:
        await tx.execute(sa.text("UPDATE leases SET expire_time = now() - interval '1 second'"))


async def test_only_one_takes_it_and_the_other_learns_how_long_to_wait(database: Database) -> None:
    first, second = Lease(database, "a.b", duration_s=5), Lease(database, "a.b", duration_s=5)

    waits_s = await asyncio.gather(first.take(), second.take())

    assert sorted(wait_s > 0 for wait_s in waits_s) == [False, True]
    assert max(waits_s) <= 5
    assert first.is_valid is not second.is_valid


async def test_leases_of_several_subscriptions_are_independent(database: Database) -> None:
    assert await Lease(database, "a.b", duration_s=5).take() == 0
    assert await Lease(database, "a.c", duration_s=5).take() == 0


async def test_leaving_the_block_hands_over_at_once(database: Database) -> None:
    async with leased(database, "a.b", duration_s=1000) as first:
        taken = first.token

    async with asyncio.timeout(10), leased(database, "a.b") as second:
        assert second.token > taken
    assert not first.is_valid


async def test_a_lease_that_is_renewed_is_not_taken(database: Database) -> None:
    async with leased(database, "a.b", duration_s=0.6) as lease, running(lease.keep):
        waiting = asyncio.create_task(_take(database))
        await asyncio.wait([waiting], timeout=1.5)  # longer than it lasts without being renewed
        assert not waiting.done()
        waiting.cancel()


async def _take(database: Database) -> None:
    async with leased(database, "a.b", poll_s=0.05):
        pass


async def test_a_holder_that_is_gone_is_replaced(database: Database) -> None:
    await Lease(database, "a.b", duration_s=0.1).take()

    async with asyncio.timeout(10), leased(database, "a.b") as lease:
        assert lease.token == 2


async def test_whoever_lost_it_learns_so_and_gives_nothing_back(database: Database) -> None:
    lost, taker = Lease(database, "a.b", duration_s=0.3), Lease(database, "a.b", duration_s=1000)
    await lost.take()
    await expire(database)
    await taker.take()

    with pytest.raises(LeaseLost):
        await lost.keep()
    await lost.give_back()

    assert await Lease(database, "a.b", duration_s=5).take() > 900


async def test_an_event_is_new_once(database: Database) -> None:
    lease, event_id = Lease(database, "a.b", duration_s=5), uuid4()
    await lease.take()
    inbox = Inbox(database, lease, timeout_s=5)

    async with database.transaction() as tx:
        first = await inbox.enter(tx, event_id)
    async with database.transaction() as tx:
        second = await inbox.enter(tx, event_id)

    assert (first, second) == (Entry.NEW, Entry.KNOWN)


async def test_an_attempt_that_was_undone_leaves_the_event_new_and_the_count_of_attempts(database: Database) -> None:
    lease, event_id = Lease(database, "a.b", duration_s=5), uuid4()
    await lease.take()
    inbox = Inbox(database, lease, timeout_s=5)

    with pytest.raises(ZeroDivisionError):
        async with database.transaction() as tx:
            await inbox.enter(tx, event_id)
            _ = 1 / 0
    numbers = [await inbox.note_attempt(event_id, first=2), await inbox.note_attempt(event_id, first=2)]
    async with database.transaction() as tx:
        entry = await inbox.enter(tx, event_id)
    await inbox.forget(event_id)  # too late: it is applied

    assert numbers == [2, 3]
    assert entry is Entry.NEW
    async with database.transaction() as tx:
        assert await inbox.enter(tx, event_id) is Entry.KNOWN


async def test_a_forgotten_event_has_all_its_attempts_again(database: Database) -> None:
    lease, event_id = Lease(database, "a.b", duration_s=5), uuid4()
    await lease.take()
    inbox = Inbox(database, lease, timeout_s=5)
    await inbox.note_attempt(event_id, first=7)

    await inbox.forget(event_id)

    assert await inbox.note_attempt(event_id, first=1) == 1


async def test_a_transaction_that_begins_after_the_lease_was_taken_enters_nothing(database: Database) -> None:
    lost, taker, event_id = Lease(database, "a.b", duration_s=5), Lease(database, "a.b", duration_s=5), uuid4()
    await lost.take()
    await expire(database)
    await taker.take()

    with pytest.raises(LeaseLost):
        async with database.transaction() as tx:
            await Inbox(database, lost, timeout_s=5).enter(tx, event_id)

    async with database.transaction() as tx:
        assert await Inbox(database, taker, timeout_s=5).enter(tx, event_id) is Entry.NEW


async def test_a_transaction_that_has_entered_an_event_ends_before_the_lease_is_taken(database: Database) -> None:
    lease, taker = Lease(database, "a.b", duration_s=5), Lease(database, "a.b", duration_s=5)
    await lease.take()

    async with database.transaction() as tx:
        await Inbox(database, lease, timeout_s=5).enter(tx, uuid4())
        await asyncio.create_task(lease._renew())  # does not wait
        await asyncio.create_task(expire(database))
        taking = asyncio.create_task(taker.take())
        await asyncio.wait([taking], timeout=0.3)
        assert not taking.done()
        entered = await tx.scalar(sa.text("SELECT count(*) FROM inbox"))

    assert entered == 1
    assert await taking == 0


async def test_a_transaction_whose_process_stands_still_is_ended_by_the_database(database: Database) -> None:
    lease, taker, event_id = Lease(database, "a.b", duration_s=5), Lease(database, "a.b", duration_s=5), uuid4()
    await lease.take()
    unit = await database.begin()
    await Inbox(database, lease, timeout_s=-1.5).enter(unit, event_id)  # may stand still for half a second
    await expire(database)

    assert await taker.take() == 0

    async with database.transaction() as tx:
        assert await Inbox(database, taker, timeout_s=5).enter(tx, event_id) is Entry.NEW
    await unit.rollback()


async def test_what_was_applied_long_ago_is_forgotten(database: Database, eventually: Eventually) -> None:
    lease, old, new = Lease(database, "a.b", duration_s=5), uuid4(), uuid4()
    await lease.take()
    inbox = Inbox(database, lease, timeout_s=5)
    async with database.transaction() as tx:
        await inbox.enter(tx, old)
        await tx.execute(sa.text("UPDATE inbox SET update_time = now() - interval '46 days'"))
        await inbox.enter(tx, new)

    async def is_forgotten() -> bool:
        async with database.transaction() as tx:
            return bool(await tx.scalar(sa.text("SELECT count(*) = 1 FROM inbox")))

    async with running(lambda: sweep(database, interval_s=0.01)):
        await eventually(is_forgotten)

    async with database.transaction() as tx:
        assert await inbox.enter(tx, new) is Entry.KNOWN
