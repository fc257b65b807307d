"""Reports, from the read models alone; what they ask is in `queries`."""

from __future__ import annotations

from decimal import Decimal
from enum import Enum
from functools import reduce
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from services.analytics import queries
from services.analytics.domain import EXACT

if TYPE_CHECKING:
    from services.analytics.queries import Query
    from services.analytics.ranges import DayRange
    from weft.data import Database

__all__ = ["Conversion", "GroupBy", "Repeats", "Report", "Sold", "best_sellers", "conversion", "repeats", "report"]

MOST_LINES: Final = 1000
_NOTHING: Final = Decimal(0)


class GroupBy(Enum):
    """By what lines are summed up."""

    DAY = "day"
    CATEGORY = "category"
    SKU = "sku"


class Sold(NamedTuple):
    """What was sold."""

    key: str
    """The day, the category or the SKU; empty for all of them, and for a category that is not known."""
    name: str
    orders: int
    units: int
    revenue: Decimal
    refunded: Decimal = _NOTHING


class Report(NamedTuple):
    """Lines, and the sum of all, those that are not listed too."""

    lines: list[Sold]
    total: Sold


class Conversion(NamedTuple):
    """Visitors and customers, each once a day (UTC)."""

    viewers: int
    carts: int
    buyers: int


class Repeats(NamedTuple):
    """Customers who bought, and those of them who had bought before."""

    customers: int
    repeat_customers: int


async def report(database: Database, days: DayRange, group_by: GroupBy) -> Report:
    """Return the sales of *days*: by day in their order, else most revenue first."""
    if group_by is GroupBy.DAY:
        return await _by_day(database, days)
    ask = queries.by_category if group_by is GroupBy.CATEGORY else queries.by_sku
    rows = await _rows(database, ask(days, MOST_LINES))  # at least one, with the sums
    listed = [Sold(*row[: queries.WIDTH]) for row in rows if row[0] is not None]
    return Report(listed, Sold("", "", *rows[0][queries.WIDTH :]))


async def best_sellers(database: Database, days: DayRange, limit: int) -> list[Sold]:
    """Return the *limit* products of which most units were sold in *days*, most first, equal ones by SKU."""
    return [Sold(*row) for row in await _rows(database, queries.best_sellers(days, limit))]


async def conversion(database: Database, days: DayRange) -> Conversion:
    [row] = await _rows(database, queries.conversion(days))
    return Conversion(*row)


async def repeats(database: Database, days: DayRange) -> Repeats:
    [row] = await _rows(database, queries.repeats(days))
    return Repeats(*row)


async def _by_day(database: Database, days: DayRange) -> Report:
    rows = await _rows(database, queries.by_day(days))
    lines = [Sold(days.day(number).isoformat(), "", *sums) for number, *sums in rows]
    total = Sold(
        key="",
        name="",
        orders=sum(line.orders for line in lines),
        units=sum(line.units for line in lines),
        revenue=reduce(EXACT.add, (line.revenue for line in lines), _NOTHING),
        refunded=reduce(EXACT.add, (line.refunded for line in lines), _NOTHING),
    )
    return Report(lines[:MOST_LINES], total)


async def _rows(database: Database, query: Query) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in await database.fetch_all(query.statement, **query.parameters)]
