"""What shoppers did: taken at once, written in the background, counted once, and forgotten."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from shop.analytics.v1 import analytics_pb2 as pb
from sqlalchemy import text

from services.analytics import behaviour_store
from services.analytics.domain import Behaviour, Kind
from services.analytics.intake import BEHAVIOUR, Intake
from tests.mesh.services.analytics.parts import Analytics, at
from tests.mesh.services.calls import refusal

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable


VIEWED, SEARCHED, ADDED = (
    pb.Behaviour.KIND_PRODUCT_VIEWED,
    pb.Behaviour.KIND_SEARCHED,
    pb.Behaviour.KIND_ADDED_TO_CART,
)


def seen(visitor_id: str = "v-1", kind: Any = VIEWED, **fields: Any) -> pb.Behaviour:
    product_id = "" if kind == SEARCHED else str(uuid4())
    values = {"event_id": str(uuid4()), "kind": kind, "visitor_id": visitor_id, "product_id": product_id}
    return pb.Behaviour(**(values | fields))


def done(visitor_id: str, moment: str, kind: Kind = Kind.VIEWED) -> Behaviour:
    return Behaviour(event_id=uuid4(), kind=kind, visitor_id=visitor_id, product_id=uuid4(), time=at(moment))


def stamp(time: datetime) -> Timestamp:
    result = Timestamp()
    result.FromDatetime(time)
    return result


async def record(analytics: Analytics, *events: pb.Behaviour) -> int:
    """Return how many were dropped."""
    answer = await analytics.anybody.RecordBehaviour(pb.RecordBehaviourRequest(events=events))
    return int(answer.dropped)


async def write(analytics: Analytics, *behaviour: Behaviour) -> int:
    async with analytics.database.transaction() as tx:
        return await behaviour_store.write(tx, behaviour)


async def counts(analytics: Analytics, period: str) -> dict[tuple[str, str], tuple[int, int]]:
    rows = await analytics.rows(f"select * from behaviour_counts where period = '{period}' order by start, kind")
    return {(f"{start:%m-%d %H:%M}", kind): (events, visitors) for _, start, kind, events, visitors in rows}


async def conversion(analytics: Analytics, first: datetime, last: datetime) -> Any:
    days = {"from_date": first.date().isoformat(), "to_date": last.date().isoformat()}
    return await analytics.admin.GetConversionReport(pb.GetConversionReportRequest(**days))


@asynccontextmanager
async def writing(intake: Intake) -> AsyncIterator[None]:
    task = asyncio.create_task(intake.run())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def test_what_shoppers_did_is_answered_before_it_is_written_and_reported_afterwards(
    analytics: Analytics, eventually: Callable[[Callable[[], Awaitable[bool]]], Awaitable[None]]
) -> None:
    now = datetime.now(UTC)

    assert (
        await record(analytics, seen("v-1"), seen("v-1"), seen("v-2"), seen("v-1", ADDED), seen("v-1", SEARCHED)) == 0
    )
    assert await analytics.rows("select * from behaviour") == []
    async with writing(analytics.intake):
        await eventually(lambda: _are_written(analytics, 5))

    report = await conversion(analytics, now, datetime.now(UTC))
    assert (report.viewers, report.carts, report.buyers) == (2, 1, 0)
    assert (report.cart_rate, report.checkout_rate, report.conversion_rate) == (0.5, 0, 0)


async def _are_written(analytics: Analytics, count: int) -> bool:
    return len(await analytics.rows("select 1 from behaviour")) == count


async def test_what_finds_no_room_is_dropped_and_counted_and_nobody_waits(analytics: Analytics) -> None:
    before = BEHAVIOUR.labels("dropped")._value.get()

    dropped = [await record(analytics, *(seen() for _ in range(100))) for _ in range(3)]

    assert dropped == [0, 50, 100]
    assert BEHAVIOUR.labels("dropped")._value.get() - before == 150
    await analytics.intake.flush()
    assert await _are_written(analytics, 150)


async def test_an_event_that_is_sent_again_counts_once(analytics: Analytics) -> None:
    event, other = seen(), seen("v-2", SEARCHED)

    await record(analytics, event, event, other)
    await analytics.intake.flush()
    await record(analytics, other, event)
    await analytics.intake.flush()

    assert await _are_written(analytics, 2)
    assert sum(events for events, _ in (await counts(analytics, "year")).values()) == 2


async def test_a_visitor_counts_once_a_day_and_kind_in_the_quarter_of_an_hour_of_the_first_time(
    analytics: Analytics,
) -> None:
    await write(analytics, done("v", "2026-03-01T12:20"), done("v", "2026-03-01T12:01"), done("w", "2026-03-01T12:02"))
    await write(analytics, done("v", "2026-03-01T23:59"), done("v", "2026-03-02T00:00"))
    await write(analytics, done("v", "2026-03-01T12:00", Kind.ADDED_TO_CART))

    assert await counts(analytics, "slot") == {
        ("03-01 12:00", "added_to_cart"): (1, 1),
        ("03-01 12:00", "viewed"): (2, 2),
        ("03-01 12:15", "viewed"): (1, 0),
        ("03-01 23:45", "viewed"): (1, 0),
        ("03-02 00:00", "viewed"): (1, 1),
    }
    assert await counts(analytics, "day") == {
        ("03-01 00:00", "added_to_cart"): (1, 1),
        ("03-01 00:00", "viewed"): (4, 2),
        ("03-02 00:00", "viewed"): (1, 1),
    }
    assert (await counts(analytics, "month"))["03-01 00:00", "viewed"] == (5, 3)


async def test_replicas_that_write_at_once_count_everybody_once(analytics: Analytics) -> None:
    batches = [[done(f"v-{number % 30}", "2026-03-01T12:00") for number in range(100)] for _ in range(4)]

    written = await asyncio.gather(*(write(analytics, *batch) for batch in batches))

    assert sum(written) == 400
    assert await counts(analytics, "day") == {("03-01 00:00", "viewed"): (400, 30)}


async def test_a_clock_that_is_off_by_days_is_not_believed(analytics: Analytics) -> None:
    now = datetime.now(UTC)
    near, far = now - timedelta(hours=3), now - timedelta(days=400)

    await record(
        analytics,
        seen("near", time=stamp(near)),
        seen("far", time=stamp(far)),
        seen("nowhere", time=Timestamp(seconds=-(10**17))),
    )
    await analytics.intake.flush()

    times = dict(map(tuple, await analytics.rows("select visitor_id, time from behaviour")))
    assert times["near"] == near
    assert now <= times["far"] == times["nowhere"]


@pytest.mark.parametrize(
    ("event", "field"),
    [
        (seen(kind=SEARCHED, product_id=str(uuid4())), "events[1].productId"),
        (seen(product_id=""), "events[1].productId"),
        (seen(kind=0), "events[1].kind"),
        (seen(kind=99), "events[1].kind"),
        (seen(event_id="7"), "events[1].eventId"),
        (seen(""), "events[1].visitorId"),
        (seen("ada@example.com"), "events[1].visitorId"),
        (seen("v" * 65), "events[1].visitorId"),
    ],
)
async def test_what_can_t_be_is_refused_and_nothing_is_taken(
    analytics: Analytics, event: pb.Behaviour, field: str
) -> None:
    refused = await refusal(record(analytics, seen(), event))

    assert (refused.code, refused.reason) == ("INVALID_ARGUMENT", "INVALID_FIELDS")
    assert [violation.field for violation in refused.violations] == [field]
    await analytics.intake.flush()
    assert await _are_written(analytics, 0)


@pytest.mark.parametrize("count", [0, 101])
async def test_a_batch_has_one_to_a_hundred_events(analytics: Analytics, count: int) -> None:
    refused = await refusal(record(analytics, *(seen() for _ in range(count))))

    assert refused.code == "INVALID_ARGUMENT"


async def test_what_can_t_be_written_now_is_written_when_it_can(
    analytics: Analytics,
    eventually: Callable[[Callable[[], Awaitable[bool]]], Awaitable[None]],
    caplog: pytest.LogCaptureFixture,
) -> None:
    await record(analytics, seen(), seen())
    async with analytics.database.transaction() as tx:
        await tx.execute(text("alter table behaviour rename to elsewhere"))

    async def has_failed() -> bool:
        return "cannot write what shoppers did" in caplog.text

    async with writing(analytics.intake):
        await eventually(has_failed)
        async with analytics.database.transaction() as tx:
            await tx.execute(text("alter table elsewhere rename to behaviour"))
        await eventually(lambda: _are_written(analytics, 2))


async def test_who_did_what_is_forgotten_after_ninety_days_and_how_many_is_not(analytics: Analytics) -> None:
    now = datetime.now(UTC)
    old, young = now - timedelta(days=92), now - timedelta(days=88)
    for time in (old, young):
        await write(analytics, *(done(f"v-{number}", time.replace(tzinfo=None).isoformat()) for number in range(3)))
    before = await conversion(analytics, old, now)

    forgotten = [await behaviour_store.forget(analytics.database, limit=2) for _ in range(3)]

    assert forgotten == [2, 1, 0]
    for table, column in (("behaviour", "time"), ("visits", "day")):
        assert len(await analytics.rows(f"select {column} from {table}")) == 3
    assert await conversion(analytics, old, now) == before
    assert before.viewers == 6


async def test_what_waits_is_written_when_the_service_stops(analytics: Analytics) -> None:
    intake = Intake(analytics.database)
    async with writing(intake):
        intake.take([done("v", "2026-03-01T12:00") for _ in range(700)])

    await intake.flush()

    assert await _are_written(analytics, 700)
