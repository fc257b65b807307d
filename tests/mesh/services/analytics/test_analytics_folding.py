"""Events kept and folded: the same numbers to the cent, whatever came when, how often, and made anew how often."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from random import Random
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from services.analytics.domain import ForeignCurrency, OrderConfirmedTwice
from services.analytics.projections import rebuild
from tests.mesh.services.analytics.parts import (
    Analytics,
    as_uuid,
    at,
    captured,
    confirmed,
    offered,
    read_models,
    reckoned,
    refunded,
)
from tests.mesh.services.calls import euros

if TYPE_CHECKING:
    from weft.data import Database
    from weft.events import Received

SKUS = ("MUG", "PEN", "TEAPOT")
MOMENTS = st.integers(0, 400).map(lambda number: (at("2026-03-28T20:00") + timedelta(minutes=17 * number)).isoformat())
PRICES = st.sampled_from(["0.01", "0.10", "14.50", "19.99", "0.005", "99999999999.99"])
LINES = st.dictionaries(st.sampled_from(SKUS), st.tuples(st.integers(1, 999), PRICES), min_size=1)
EVENTS = st.one_of(
    st.builds(
        lambda moment, lines, user: confirmed(moment, lines, user_id=user), MOMENTS, LINES, st.sampled_from("abc")
    ),
    st.builds(offered, MOMENTS, st.sampled_from(SKUS), st.sampled_from(["kitchen", "paper", "gone"])),
    st.builds(captured, MOMENTS, PRICES),
    st.builds(refunded, MOMENTS, PRICES),
)


async def anew(database: Database) -> int:
    done = 0
    async for done in rebuild(database):  # noqa: B007  # the last one counts
        pass
    return done


async def emptied(database: Database) -> None:
    async with database.transaction() as tx:
        await tx.execute(text("truncate history, offers, purchases, sold_lines, sales, sku_sales, category_sales"))


async def told(analytics: Analytics, key: str) -> dict[Any, tuple[Any, ...]]:
    """Return what a rollup says of quarters of an hour."""
    table, column = ("sales", "''") if key == "all" else (f"{key}_sales", key)
    rows = await analytics.rows(
        f"select start, {column}, orders, units, revenue from {table} where period = 'slot' and orders <> 0"
    )
    return {(start, name): tuple(sums) for start, name, *sums in rows}


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(events=st.lists(EVENTS, max_size=14), seed=st.integers(0, 999), repeats=st.integers(0, 4))
async def test_numbers_don_t_depend_on_when_events_came_or_how_often(
    analytics: Analytics, events: list[Received[Any]], seed: int, repeats: int
) -> None:
    await emptied(analytics.database)
    random = Random(seed)
    in_some_order = events + random.choices(events, k=repeats) if events else []
    random.shuffle(in_some_order)

    await analytics.hear(*in_some_order)

    found = await read_models(analytics.database)
    should = reckoned(events)
    assert {key: await told(analytics, key) for key in should} == should
    assert await anew(analytics.database) == len(events)
    assert await read_models(analytics.database) == found


async def test_an_offer_that_comes_late_is_about_the_sales_since_then(analytics: Analytics) -> None:
    await analytics.hear(
        confirmed("2026-03-01T12:00", {"MUG": (1, "10")}),
        confirmed("2026-03-03T12:00", {"MUG": (2, "10"), "PEN": (1, "5")}),
        confirmed("2026-03-05T12:00", {"MUG": (4, "10")}),
        offered("2026-03-04T00:00", "MUG", "gifts", "Gift mug", sequence=2),
    )
    early = await analytics.sales("2026-03-01", "2026-03-31", "CATEGORY")

    await analytics.hear(offered("2026-03-02T00:00", "MUG", "kitchen", "Mug"))
    late = await analytics.sales("2026-03-01", "2026-03-31", "CATEGORY")

    assert {line.key: line.units for line in early.lines} == {"gifts": 7, "": 1}
    assert {line.key: line.units for line in late.lines} == {"kitchen": 3, "gifts": 4, "": 1}
    assert [line.revenue for line in late.lines] == [euros("40"), euros("30"), euros("5")]
    names = await analytics.rows("select name from sold_lines where sku = 'MUG' order by time")
    assert [name for (name,) in names] == ["Mug", "Mug", "Gift mug"]


async def test_an_order_counts_once_for_each_category_that_is_in_it(analytics: Analytics) -> None:
    bought = {"MUG": (1, "10"), "TEAPOT": (1, "49"), "PEN": (1, "5")}
    await analytics.hear(
        offered("2026-03-01T00:00", "MUG", "kitchen"),
        offered("2026-03-01T00:00", "PEN", "paper"),
        confirmed("2026-03-02T00:00", bought),
        offered("2026-03-01T00:00", "TEAPOT", "kitchen"),
    )

    report = await analytics.sales("2026-03-01", "2026-03-31", "CATEGORY")

    assert [(line.key, line.orders, line.units) for line in report.lines] == [("kitchen", 1, 2), ("paper", 1, 1)]
    assert (report.total.orders, report.total.units, report.total.revenue) == (1, 3, euros("64"))


async def test_an_event_in_another_currency_is_refused_and_changes_nothing(analytics: Analytics) -> None:
    dollars = euros("10")
    dollars.currency_code = "USD"

    for event in (confirmed("2026-03-01T12:00", {"MUG": (1, dollars)}), refunded("2026-03-01T12:00", dollars)):
        with pytest.raises(ForeignCurrency):
            await analytics.hear(event)

    assert await analytics.rows("select * from history") == []


async def test_an_order_that_two_events_confirm_is_refused_the_second_time(analytics: Analytics) -> None:
    order = str(as_uuid("twice"))
    await analytics.hear(confirmed("2026-03-01T12:00", {"MUG": (1, "10")}, order=order))

    with pytest.raises(OrderConfirmedTwice):
        await analytics.hear(confirmed("2026-03-01T12:00", {"MUG": (1, "10")}, order=order))

    assert len(await analytics.rows("select * from history")) == 1


@pytest.mark.parametrize("change", ["update history set source = ''", "delete from history"])
async def test_history_is_only_ever_added_to(analytics: Analytics, change: str) -> None:
    await analytics.hear(captured("2026-03-01T12:00", "10"))

    with pytest.raises(Exception, match="only ever added to"):
        await analytics.rows(f"{change} returning 1")

    assert len(await analytics.rows("select * from history")) == 1


async def test_an_event_is_kept_as_it_came_with_what_this_build_does_not_know(analytics: Analytics) -> None:
    event = captured("2026-03-01T12:00", "10")
    newer = type(event.event).FromString(event.event.SerializeToString() + b"\xf2\x7d\x03new")

    await analytics.hear(type(event)(**{name: getattr(event, name) for name in event.__slots__} | {"event": newer}))

    [(data,)] = await analytics.rows("select data from history")
    assert data == newer.SerializeToString()
    assert b"new" in data


async def test_what_is_heard_at_once_is_counted_once_each(analytics: Analytics) -> None:
    sold = [confirmed("2026-03-01T12:00", {"MUG": (1, "10"), "PEN": (1, "0.01")}, user_id="ada") for _ in range(20)]
    offers = [offered("2026-02-01T12:00", sku, "kitchen") for sku in ("MUG", "PEN")]

    await asyncio.gather(*(analytics.hear(event) for event in (*sold[:10], *offers, *sold[10:])))

    found = await read_models(analytics.database)
    report = await analytics.sales("2026-03-01", "2026-03-01", "CATEGORY")
    [line] = report.lines
    assert (line.orders, line.units, line.revenue) == (20, 40, euros("200.20"))
    await anew(analytics.database)
    assert await read_models(analytics.database) == found


async def test_a_rebuild_repairs_what_was_spoilt_and_shows_the_old_numbers_until_it_ends(analytics: Analytics) -> None:
    sold = [confirmed("2026-03-01T12:00", {"MUG": (1, "10")}) for _ in range(3)]
    await analytics.hear(*sold)
    right = await read_models(analytics.database)
    async with analytics.database.transaction() as tx:
        await tx.execute(text("update sales set orders = 77"))
        await tx.execute(text("delete from sold_lines"))

    seen = list[int]()
    later: asyncio.Task[None] | None = None
    async for _ in rebuild(analytics.database):
        later = later or asyncio.create_task(analytics.hear(captured("2026-03-02T12:00", "1")))
        seen.append((await analytics.sales("2026-03-01", "2026-03-01")).total.orders)
    assert later is not None
    await later

    assert seen == [77]
    repaired = await read_models(analytics.database)
    assert repaired["sold_lines"] == right["sold_lines"]
    assert len(repaired["sales"]) == len(right["sales"]) + 2  # a slot and a day more
    assert (await analytics.sales("2026-03-01", "2026-03-01")).total.orders == 3


async def test_a_rebuild_leaves_what_shoppers_did(analytics: Analytics) -> None:
    async with analytics.database.transaction() as tx:
        await tx.execute(text("insert into behaviour_counts values ('slot', '2026-03-01T12:00Z', 'viewed', 3, 2)"))

    await anew(analytics.database)

    assert len(await analytics.rows("select * from behaviour_counts")) == 1
