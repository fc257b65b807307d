"""What is committed reaches the broker, in order within a subject, whoever carries it and however often it fails."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import sqlalchemy as sa

from tests.library import pb
from tests.mesh.events.delivery.harness import Loans, Recorder, running
from weft.data import Database
from weft.events import Relay
from weft.events.sweep import sweep
from weft.telemetry import Tracing

Eventually = Callable[[Callable[[], Awaitable[bool]]], Awaitable[None]]


def relay(loans: Loans, recorder: Recorder, **options: float) -> Relay:
    only_publishes: Any = recorder
    return Relay(loans.database, only_publishes, loans.outbox, tracing=Tracing("library"), **options)


async def test_a_backlog_larger_than_a_batch_is_published_in_order(loans: Loans, eventually: Eventually) -> None:
    recorder, numbers = Recorder(), range(130)
    await loans.publish(*[(name, number) for number in numbers for name in ("dune", "emma", "ulysses")])

    async with running(relay(loans, recorder).run):
        await eventually(lambda: is_empty(loans))

    for name in ("dune", "emma", "ulysses"):
        assert recorder.numbers(loans.book(name)) == list(numbers)


async def is_empty(loans: Loans) -> bool:
    return await loans.unpublished() == 0


async def test_a_commit_wakes_the_relay(loans: Loans, eventually: Eventually) -> None:
    recorder = Recorder()

    async with running(relay(loans, recorder, poll_s=1000).run):
        await eventually(lambda: is_empty(loans))
        await loans.publish(("dune", 1))
        await eventually(lambda: is_empty(loans))

    assert recorder.numbers(loans.book("dune")) == [1]


async def test_events_of_another_process_are_found_by_looking(
    loans: Loans, database: Database, eventually: Eventually
) -> None:
    recorder = Recorder()

    async with running(relay(loans, recorder, poll_s=0.05).run):
        await Loans(database, mark=loans.mark).publish(("dune", 1))
        await eventually(lambda: is_empty(loans))

    assert recorder.numbers(loans.book("dune")) == [1]


async def test_two_relays_share_the_work_and_keep_the_order(loans: Loans, eventually: Eventually) -> None:
    recorder, names = Recorder(), [f"book{index}" for index in range(8)]

    async with running(relay(loans, recorder).run, relay(loans, recorder).run):
        await asyncio.gather(*[loans.publish(*[(name, number) for number in range(40)]) for name in names])
        await eventually(lambda: is_empty(loans))

    for name in names:
        assert recorder.numbers(loans.book(name)) == list(range(40))


async def test_an_event_that_is_not_confirmed_holds_up_its_subject_only(loans: Loans, eventually: Eventually) -> None:
    recorder = Recorder(refused={2})

    async with running(relay(loans, recorder).run):
        await loans.publish(("dune", 1), ("dune", 2), ("dune", 3), ("emma", 4))
        await eventually(lambda: has(loans, 2))
        assert recorder.numbers(loans.book("dune")) == [1]
        assert recorder.numbers(loans.book("emma")) == [4]

        recorder.refused.clear()
        await eventually(lambda: is_empty(loans))

    assert recorder.numbers(loans.book("dune")) == [1, 2, 3]


async def has(loans: Loans, unpublished: int) -> bool:
    return await loans.unpublished() == unpublished


async def test_what_was_published_while_the_broker_was_away_goes_out_when_it_is_back(
    loans: Loans, eventually: Eventually
) -> None:
    recorder = Recorder(is_away=True)

    async with running(relay(loans, recorder).run):
        await loans.publish(*[("dune", number) for number in range(5)])
        recorder.is_away = False
        await eventually(lambda: is_empty(loans))

    assert recorder.numbers(loans.book("dune")) == [0, 1, 2, 3, 4]


async def test_a_broker_that_says_nothing_does_not_keep_the_transaction_open(
    loans: Loans, eventually: Eventually
) -> None:
    class Silent(Recorder):
        async def publish(self, event: object) -> None:
            await asyncio.Event().wait()

    silent, recorder = Silent(), Recorder()
    await loans.publish(("dune", 1))

    async with running(relay(loans, silent, publish_s=0.05).run, relay(loans, recorder, poll_s=0.05).run):
        await eventually(lambda: is_empty(loans))

    assert recorder.numbers(loans.book("dune")) == [1]


async def test_a_relay_that_is_stopped_remembers_what_was_confirmed(loans: Loans, eventually: Eventually) -> None:
    class Slow(Recorder):
        async def publish(self, event: object) -> None:
            if self.events:
                await asyncio.Event().wait()
            self.events.append(event)  # type: ignore[arg-type]  # an Event

    slow = Slow()
    await loans.publish(("dune", 1), ("dune", 2))

    async def first_is_confirmed() -> bool:
        return len(slow.events) == 1

    async with running(relay(loans, slow).run):
        await eventually(first_is_confirmed)

    assert await loans.unpublished() == 1


async def test_published_events_are_deleted_when_they_are_old_and_others_never(
    loans: Loans, database: Database, eventually: Eventually
) -> None:
    await loans.publish(*[("dune", number) for number in range(7)])
    ages = "CASE WHEN n <= 4 THEN now() - interval '8 days' WHEN n = 5 THEN now() END"
    numbered = "SELECT sequence, row_number() OVER (ORDER BY sequence) AS n FROM outbox"
    async with database.transaction() as tx:
        await tx.execute(
            sa.text(
                f"UPDATE outbox SET publish_time = {ages} FROM ({numbered}) AS o WHERE o.sequence = outbox.sequence"
            )
        )

    async def are_deleted() -> bool:
        return len(await kept(database)) == 3

    async with running(lambda: sweep(database, interval_s=0.01, batch=3)):
        await eventually(are_deleted)

    assert [number for number, _ in await kept(database)] == [4, 5, 6]
    assert [is_published for _, is_published in await kept(database)] == [True, False, False]


async def kept(database: Database) -> list[tuple[int, bool]]:
    async with database.transaction() as tx:
        rows = await tx.all(sa.text("SELECT data, publish_time FROM outbox ORDER BY sequence"))
    return [(pb.BookLent.FromString(row.data).number, row.publish_time is not None) for row in rows]
