"""Somebody who has deleted their account: who did what is forgotten, and every number stays what it was."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from itertools import cycle, islice
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from mesh.v1 import options_pb2
from shop.analytics.v1 import analytics_pb2 as pb
from sqlalchemy import text

from services.analytics import behaviour_store
from services.analytics.domain import Behaviour, Kind
from services.analytics.facts import HEARD
from services.analytics.hearing import handlers
from services.analytics.projections import rebuild
from tests.mesh.services.analytics.parts import at, captured, confirmed, offered, read_models, refunded
from tests.mesh.services.analytics.test_analytics_behaviour import counts, record, seen, write
from tests.mesh.services.forgetting import deleted, hear, somebody_waits

if TYPE_CHECKING:
    from collections.abc import Iterator

    from google.protobuf.descriptor import FieldDescriptor

    from tests.mesh.services.analytics.parts import Analytics
    from weft.events import Received

DAYS: dict[str, Any] = {"from_date": "2026-03-01", "to_date": "2026-03-31"}


async def forget(analytics: Analytics, user_id: str, received: Received[Any] | None = None) -> None:
    await hear(analytics.database, handlers("EUR"), received or deleted(user_id))


async def numbers(analytics: Analytics) -> list[Any]:
    """Return all reports of a month, and the download."""
    groups, days = ("DAY", "CATEGORY", "PRODUCT"), (DAYS["from_date"], DAYS["to_date"])
    reports: list[Any] = [await analytics.sales(*days, group_by) for group_by in groups]
    admin = analytics.admin
    reports.append(await admin.GetBestSellers(pb.GetBestSellersRequest(**DAYS)))
    reports.append(await admin.GetConversionReport(pb.GetConversionReportRequest(**DAYS)))
    reports.append(await admin.GetRepeatCustomersReport(pb.GetRepeatCustomersReportRequest(**DAYS)))
    pieces = [piece.data async for piece in admin.DownloadSales(pb.DownloadSalesRequest(**DAYS))]
    return [*reports, b"".join(pieces)]


async def anew(analytics: Analytics) -> None:
    async for _ in rebuild(analytics.database):
        pass


def did(visitor_id: str, moment: str, *kinds: Kind) -> list[Behaviour]:
    return [
        Behaviour(event_id=uuid4(), kind=kind, visitor_id=visitor_id, product_id=uuid4(), time=at(moment))
        for kind in kinds or (Kind.VIEWED,)
    ]


async def behaviour_of(analytics: Analytics, visitor_id: str) -> int:
    rows = await analytics.rows(
        f"select 1 from behaviour where visitor_id = '{visitor_id}'"
        f" union all select 1 from visits where visitor_id = '{visitor_id}'"
    )
    return len(rows)


async def test_every_number_is_the_same_to_the_cent_before_and_after_and_made_anew(analytics: Analytics) -> None:
    ada, ben = str(uuid4()), str(uuid4())
    await analytics.hear(
        offered("2026-02-01T00:00", "MUG", "kitchen"),
        confirmed("2026-02-20T10:00", {"MUG": (1, "14.51")}, user_id=ada),
        confirmed("2026-03-01T10:00", {"MUG": (3, "14.51"), "PEN": (1, "0.99")}, user_id=ada),
        confirmed("2026-03-02T10:00", {"MUG": (1, "14.51")}, user_id=ben),
        captured("2026-03-02T10:01", "14.51"),
        refunded("2026-03-09T10:00", "3.33"),
    )
    await write(analytics, *did(ada, "2026-03-01T09:00", Kind.VIEWED, Kind.VIEWED, Kind.ADDED_TO_CART))
    await write(analytics, *did(ben, "2026-03-02T09:00", Kind.VIEWED))
    before, models = await numbers(analytics), await read_models(analytics.database)

    await forget(analytics, ada)
    after = await numbers(analytics)
    await anew(analytics)

    assert before == after == await numbers(analytics)
    assert await read_models(analytics.database) == models
    repeats = before[5]
    assert (repeats.customers, repeats.repeat_customers) == (2, 1)
    assert (await behaviour_of(analytics, ada), await behaviour_of(analytics, ben)) == (0, 2)


async def test_whoever_buys_after_the_event_still_counts_as_one_who_came_back(analytics: Analytics) -> None:
    """An order that was on its way is confirmed late: subscriptions don't wait for each other."""
    ada = str(uuid4())
    await analytics.hear(confirmed("2026-03-01T10:00", {"MUG": (1, "10")}, user_id=ada))
    await forget(analytics, ada)

    await analytics.hear(confirmed("2026-03-02T10:00", {"MUG": (1, "10")}, user_id=ada))
    live = await numbers(analytics)
    await anew(analytics)

    assert (live[5].customers, live[5].repeat_customers) == (1, 1)
    assert await numbers(analytics) == live


async def test_the_event_is_part_of_the_history_once_and_hearing_it_again_changes_nothing(analytics: Analytics) -> None:
    ada = str(uuid4())
    event = deleted(ada)

    for each in (event, event, deleted(str(uuid4()))):
        await forget(analytics, ada, each)

    assert await analytics.rows("select type, count(*) from history group by 1") == [("shop.users.v1.UserDeleted", 2)]
    assert await analytics.rows(f"select count(*) from forgotten_users where user_id = '{ada}'") == [(1,)]


async def test_what_they_do_or_what_is_told_of_it_afterwards_is_not_written_down(analytics: Analytics) -> None:
    ada, event = str(uuid4()), seen()
    event.visitor_id = ada
    await record(analytics, event, seen("v-1"))
    await analytics.intake.flush()
    before = await counts(analytics, "year")

    await record(analytics, seen(ada))  # which waits in memory
    await forget(analytics, ada)
    await record(analytics, event, seen(ada), seen("v-2"))
    await analytics.intake.flush()

    assert await behaviour_of(analytics, ada) == 0
    [(kind, (events, visitors))] = (await counts(analytics, "year")).items()
    assert before == {kind: (2, 2)}
    assert (events, visitors) == (3, 3)  # v-2's, and nothing twice


async def test_who_writes_and_who_forgets_see_each_other(analytics: Analytics) -> None:
    first, second = str(uuid4()), str(uuid4())

    async with analytics.database.transaction() as tx:
        await behaviour_store.write(tx, did(first, "2026-03-01T09:00"))
        forgetting = asyncio.create_task(forget(analytics, first))
        await somebody_waits(analytics.database)
    await forgetting
    async with analytics.database.transaction() as tx:
        await behaviour_store.forget_user(tx, second)
        writing = asyncio.create_task(write(analytics, *did(second, "2026-03-01T09:00")))
        await somebody_waits(analytics.database)

    assert await writing == 0
    assert [await behaviour_of(analytics, each) for each in (first, second)] == [0, 0]


async def test_thousands_of_things_somebody_did_go_and_those_of_others_stay(analytics: Analytics) -> None:
    ada, now = str(uuid4()), datetime.now(UTC)
    kinds = islice(cycle(Kind), 3000)
    done = [
        Behaviour(event_id=uuid4(), kind=kind, visitor_id=(ada, "v-1")[number % 2], product_id=None,
                  time=now - timedelta(hours=number % 2000))
        for number, kind in enumerate(kinds)
    ]  # fmt: skip
    assert await write(analytics, *done) == 3000
    before = await counts(analytics, "day")

    await forget(analytics, ada)

    assert await analytics.rows("select visitor_id, count(*) from behaviour group by 1") == [("v-1", 1500)]
    assert await analytics.rows("select distinct visitor_id from visits") == [("v-1",)]
    assert await counts(analytics, "day") == before


def test_nothing_that_is_heard_and_kept_for_ever_is_personal() -> None:
    """The history can't be changed, so nobody may ever put a name or an address into one of these events."""
    names = {field.name for kind in HEARD for field in _fields(kind.DESCRIPTOR)}

    assert not [
        field.full_name
        for kind in HEARD
        for field in _fields(kind.DESCRIPTOR)
        if field.GetOptions().Extensions[options_pb2.field].sensitive
    ]
    assert names == {
        "amount", "category", "currency_code", "lines", "name", "nanos", "order_id", "price",
        "product_id", "quantity", "refunded", "shipping", "sku", "total", "unit_price", "units", "user_id",
    }  # fmt: skip


def _fields(message: Any) -> Iterator[FieldDescriptor]:
    for field in message.fields:
        yield field
        if field.message_type:
            yield from _fields(field.message_type)


async def test_what_they_did_is_found_by_indexes(analytics: Analytics) -> None:
    async with analytics.database.transaction() as tx:
        await tx.execute(
            text("insert into behaviour select gen_random_uuid(), 'viewed', 'v' || n % 500, null, now()"
                 " from generate_series(1, 5000) n")
        )  # fmt: skip
        await tx.execute(
            text("insert into visits select current_date, 'viewed', 'v' || n from generate_series(1, 5000) n")
        )
        await tx.execute(text("analyze"))
        plans = [
            "\n".join(line for (line,) in await tx.all(text(f"explain delete from {table} where visitor_id = 'v7'")))
            for table in ("behaviour", "visits")
        ]

    assert ["behaviour_by_visitor" in plans[0], "visits_by_visitor" in plans[1]] == [True, True]
