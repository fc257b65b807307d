"""The plans PostgreSQL makes of reports over years of sales: rollups and indexes, and never a whole table."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import text

from scripts.lib.generate.__main__ import fill
from scripts.lib.generate.orders import History
from services.analytics import download, projections, queries
from services.analytics.projections import rebuild
from services.analytics.ranges import DayRange
from tests.mesh.services.analytics.parts import read_models

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from services.analytics.queries import Query
    from weft.data import Database

UNTIL = datetime(2026, 3, 1, tzinfo=UTC)
HISTORY = History(seed=1, count=4000, products=300, customers=900, until=UNTIL, days=600)
SMALL = History(seed=2, count=150, products=20, customers=30, until=UNTIL, days=60)
YEARS = DayRange.parse("2024-07-20", "2026-02-27", "Asia/Kathmandu")
WEEK = DayRange.parse("2026-02-02", "2026-02-08", "Asia/Kathmandu")


@pytest.fixture(name="sold")
async def _sold(empty_database: Callable[[str], Awaitable[Database]]) -> Database:
    """A database with many sales."""
    database = await empty_database("analytics")
    async for _ in fill(database, HISTORY):
        pass
    async with database.transaction() as tx:
        await tx.execute(text("analyze"))
    return database


async def plan(database: Database, query: Query) -> dict[str, Any]:
    """Return how PostgreSQL runs *query*."""
    async with database._reads.acquire() as connection:  # only here does anyone explain a statement
        sql, arguments = query.statement.sql, query.statement.arguments(query.parameters)
        [(found,)] = await connection.fetch(f"EXPLAIN (ANALYZE, FORMAT JSON) {sql}", *arguments)
    plans = found if isinstance(found, list) else json.loads(found)
    return dict(plans[0]["Plan"])


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for below in plan.get("Plans", []):
        yield from nodes(below)


def indexes(plan: dict[str, Any]) -> set[str]:
    return {node["Index Name"] for node in nodes(plan) if "Index Name" in node}


def read(plan: dict[str, Any], table: str) -> int:
    """Return how many rows of *table* were looked at."""
    scans = [node for node in nodes(plan) if node.get("Relation Name") == table]
    return int(sum(node["Actual Rows"] * node["Actual Loops"] for node in scans))


@pytest.mark.parametrize("days", [YEARS, WEEK], ids=["years", "week"])
@pytest.mark.parametrize(
    ("ask", "index"),
    [
        (lambda days: queries.by_sku(days, 1000), "sku_sales_pkey"),
        (lambda days: queries.by_category(days, 1000), "category_sales_pkey"),
        (lambda days: queries.best_sellers(days, 10), "sku_sales_pkey"),
        (queries.conversion, "behaviour_counts_pkey"),
    ],
    ids=["product", "category", "best sellers", "conversion"],
)
async def test_a_report_reads_rollups_by_their_index(
    sold: Database, ask: Callable[[DayRange], Query], index: str, days: DayRange
) -> None:
    found = await plan(sold, ask(days))

    assert index in indexes(found)
    tables = {node["Relation Name"] for node in nodes(found) if "Relation Name" in node}
    assert tables <= {"sales", "sku_sales", "category_sales", "behaviour_counts", "purchases", "offers"}
    rolled_up = {"sku_sales", "category_sales", "behaviour_counts"}
    assert not [node for node in nodes(found) if node["Node Type"] == "Seq Scan" and node["Relation Name"] in rolled_up]


async def test_years_by_product_take_few_rows(sold: Database) -> None:
    found = await plan(sold, queries.by_sku(YEARS, 1000))

    async with sold.transaction() as tx:
        lines = await tx.scalar(text("select count(*) from sold_lines"))
    assert read(found, "sku_sales") < lines / 2
    assert read(found, "sales") < 200


async def test_days_are_summed_up_from_quarters_of_an_hour_found_by_their_index(sold: Database) -> None:
    week, years = [await plan(sold, queries.by_day(days)) for days in (WEEK, YEARS)]

    assert "sales_pkey" in indexes(week)
    assert {node["Relation Name"] for node in nodes(years) if "Relation Name" in node} == {"sales"}


async def test_customers_of_a_week_are_counted_in_the_index_of_purchases(sold: Database) -> None:
    for query in (queries.repeats(WEEK), queries.conversion(WEEK)):
        assert "purchases_by_time" in indexes(await plan(sold, query))


async def test_a_download_reads_on_in_its_index_and_sorts_nothing(sold: Database) -> None:
    async with sold.transaction() as tx:
        explain = text(f"EXPLAIN {download._OPEN.text}").bindparams(*download._OPEN._bindparams.values())
        rows = await tx.all(explain, {"from_time": YEARS.start, "to_time": YEARS.end})
    found = "\n".join(line for (line,) in rows)

    assert "sold_lines_by_time" in found
    assert "Sort" not in found


async def test_a_late_offer_finds_the_sales_that_it_is_about_by_their_index(sold: Database) -> None:
    async with sold.transaction() as tx:
        explain = text(f"EXPLAIN {projections._STALE.text}").bindparams(*projections._STALE._bindparams.values())
        rows = await tx.all(explain, {"sku": ["GEN-000001"], "time": [UNTIL]})
    found = "\n".join(line for (line,) in rows)

    assert "sold_lines_by_sku" in found
    assert "Seq Scan on sold_lines" not in found


async def test_what_is_generated_is_the_same_each_time_and_the_same_made_anew(
    empty_database: Callable[[str], Awaitable[Database]],
) -> None:
    database = await empty_database("analytics")
    for _ in range(2):  # the second time nothing is new
        shares = [share async for share in fill(database, SMALL)]
    found = await read_models(database)

    async for _ in rebuild(database):
        pass

    assert shares == sorted(shares)
    assert await read_models(database) == found
    assert len(found["purchases"]) == SMALL.count
    assert list(SMALL.events()) == list(SMALL.events())
    assert max(event.time for event in SMALL.events()) <= SMALL.until
