"""An event leaves with its transaction or not at all, in the order of the commits of its subject."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import sqlalchemy as sa

from tests.library import pb
from tests.mesh.events.delivery.harness import Loans
from weft.call import Call, current_call
from weft.data import Database
from weft.events import MAX_EVENT_BYTES, Outbox
from weft.telemetry import TraceContext


async def rows(database: Database) -> list[Any]:
    async with database.transaction() as tx:
        return list(await tx.all(sa.text("SELECT * FROM outbox ORDER BY sequence")))


async def test_a_committed_event_is_kept_with_all_that_a_subscriber_needs(loans: Loans) -> None:
    trace = TraceContext("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331", sampled=True)
    token = current_call.set(Call(method="/m", request_id="r", trace=trace, deadline=None))

    await loans.publish(("dune", 1))
    current_call.reset(token)

    [row] = await rows(loans.database)
    assert (row.type, row.source, row.subject) == ("library.v1.BookLent", "library", loans.book("dune"))
    assert pb.BookLent.FromString(row.data) == loans.lent("dune", 1)
    assert row.traceparent == trace.traceparent()
    assert row.event_id.version == 7
    assert row.publish_time is None


async def test_a_transaction_that_is_rolled_back_publishes_nothing_and_tells_nobody(loans: Loans) -> None:
    told: list[str] = []
    loans.outbox.when_committed(lambda: told.append("committed"))

    with pytest.raises(ZeroDivisionError):
        async with loans.database.transaction() as tx:
            await loans.outbox.publish(tx, loans.lent("dune", 1))
            _ = 1 / 0

    assert await rows(loans.database) == []
    assert told == []


async def test_whoever_publishes_second_on_a_subject_is_numbered_second_however_the_transactions_overlap(
    loans: Loans, database: Database
) -> None:
    async with database.transaction() as first:
        await loans.outbox.publish(first, loans.lent("dune", 1))
        second = asyncio.create_task(loans.publish(("dune", 2)))
        other = asyncio.create_task(loans.publish(("emma", 3)))
        await other  # another subject does not wait
        assert not second.done()
    await second

    numbers = [pb.BookLent.FromString(row.data).number for row in await rows(database)]
    assert [number for number in numbers if number != 3] == [1, 2]


@pytest.mark.parametrize(
    ("event", "error", "words"),
    [
        (pb.GetBookRequest(book_id="1"), TypeError, "library.v1.GetBookRequest is no event"),
        (pb.BookLent(number=1), ValueError, "empty or too long"),
        (pb.BookLent(book_id="x" * 256), ValueError, "empty or too long"),
        (pb.BookLent(book_id="1", reader="x" * MAX_EVENT_BYTES), ValueError, "bytes"),
    ],
)
async def test_what_no_broker_could_deliver_is_refused(
    database: Database, event: Any, error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        async with database.transaction() as tx:
            await Outbox("library").publish(tx, event)

    assert await rows(database) == []


async def test_many_events_are_numbered_in_the_order_they_were_given(loans: Loans) -> None:
    events = [loans.lent(name, number) for number, name in enumerate(["emma", "dune", "emma", "ulysses"])]

    async with loans.database.transaction() as tx:
        await loans.outbox.publish_all(tx, events)
        await loans.outbox.publish_all(tx, [])

    assert [pb.BookLent.FromString(row.data) for row in await rows(loans.database)] == events
    assert len({row.event_id for row in await rows(loans.database)}) == 4


async def test_of_many_events_one_that_is_refused_holds_back_all(loans: Loans) -> None:
    with pytest.raises(ValueError, match="empty or too long"):
        async with loans.database.transaction() as tx:
            await loans.outbox.publish_all(tx, [loans.lent("dune", 1), pb.BookLent(number=2)])

    assert await rows(loans.database) == []


async def test_two_who_publish_on_the_same_subjects_in_any_order_do_not_wait_for_each_other_in_a_circle(
    loans: Loans,
) -> None:
    names = [f"book-{number}" for number in range(40)]

    async def publish(names: list[str]) -> None:
        async with loans.database.transaction() as tx:
            await loans.outbox.publish_all(tx, [loans.lent(name, 1) for name in names])

    for _ in range(5):
        await asyncio.gather(publish(names), publish(names[::-1]), publish(names[20:] + names[:20]))

    assert len(await rows(loans.database)) == 5 * 3 * 40
