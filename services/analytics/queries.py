"""What reports ask the database, each in one statement: all of an answer is of one moment."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from sqlalchemy import BigInteger, DateTime, Text, bindparam, func, literal, select, true, union_all
from sqlalchemy.dialects.postgresql import ARRAY

from services.analytics.domain import Kind
from services.analytics.ranges import Period, Span, spans
from services.analytics.tables import behaviour_counts, category_sales, offers, purchases, sales, sku_sales
from weft.data import Prepared, prepare

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, FromClause, Subquery, Table

    from services.analytics.ranges import DayRange

__all__ = ["WIDTH", "Query", "best_sellers", "by_category", "by_day", "by_sku", "conversion", "repeats"]

WIDTH: Final = 5
"""Columns of a line: key, name, orders, units, revenue. Those of the sum of all follow: orders and on, and refunds."""
_TIME: Final = DateTime(timezone=True)
_FROM: Final = bindparam("from_time", type_=_TIME)
_TO: Final = bindparam("to_time", type_=_TIME)
_SPANS: Final = 7
"""Most that a range has."""


class Query(NamedTuple):
    """A statement, and what it asks for."""

    statement: Prepared
    parameters: dict[str, Any]


def by_day(days: DayRange) -> Query:
    """Ask for the number of each day from 1, orders, units, revenue and refunds, in order."""
    return Query(_DAYS, {"midnights": days.midnights(), **_times(days)})


def by_sku(days: DayRange, limit: int) -> Query:
    """Ask for up to *limit* products, most revenue first, and the sums of all: see `WIDTH`."""
    return Query(_SKUS, {"limit": limit, **_spans(days)})


def by_category(days: DayRange, limit: int) -> Query:
    """Ask for categories as `by_sku` does for products."""
    return Query(_CATEGORIES, {"limit": limit, **_spans(days)})


def best_sellers(days: DayRange, limit: int) -> Query:
    """Ask for the lines of the *limit* products of which most units were sold."""
    return Query(_BEST_SELLERS, {"limit": limit, **_spans(days)})


def conversion(days: DayRange) -> Query:
    """Ask for visitors who looked and filled a cart, and customers who bought."""
    return Query(_CONVERSION, {**_times(days), **_spans(days)})


def repeats(days: DayRange) -> Query:
    """Ask for customers, and those who had bought before."""
    return Query(_REPEATS, _times(days))


def _times(days: DayRange) -> dict[str, Any]:
    return {"from_time": days.start, "to_time": days.end}


def _within(table: Table) -> Subquery:
    """Return the rows of *table*, a rollup, that are the range.

    One branch for each span, since only then does the planner know from each one's values how few rows it has.
    """
    branches = [
        select(table).where(
            table.c.period == bindparam(f"period_{number}", type_=Text),
            table.c.start >= bindparam(f"start_{number}", type_=_TIME),
            table.c.start < bindparam(f"end_{number}", type_=_TIME),
        )
        for number in range(_SPANS)
    ]
    return union_all(*branches).subquery(f"range_of_{table.name}")


def _sum(summed: ColumnElement[Any]) -> ColumnElement[Any]:
    """Return a sum of whole numbers as PostgreSQL's own sum isn't: as a whole number, and 0 of nothing."""
    return func.coalesce(func.sum(summed), 0).cast(BigInteger)


def _sold(table: FromClause) -> tuple[ColumnElement[Any], ...]:
    return (
        _sum(table.c.orders).label("orders"),
        _sum(table.c.units).label("units"),
        func.coalesce(func.sum(table.c.revenue), 0).label("revenue"),
    )


def _name_of(sku: ColumnElement[str]) -> ColumnElement[str]:
    """Return what a product is called now, as far as is known."""
    latest = select(offers.c.name).where(offers.c.sku == sku)
    latest = latest.order_by(offers.c.time.desc(), offers.c.sequence.desc()).limit(1)
    return func.coalesce(latest.scalar_subquery(), "")


_DAY_NUMBER: Final = func.width_bucket(sales.c.start, bindparam("midnights", type_=ARRAY(_TIME))).label("number")
_DAYS: Final = prepare(
    select(_DAY_NUMBER, *_sold(sales), func.sum(sales.c.refunded).label("refunded"))
    .where(sales.c.period == Period.SLOT.value, sales.c.start >= _FROM, sales.c.start < _TO)
    .group_by(_DAY_NUMBER)
    .having((func.sum(sales.c.orders) > 0) | (func.sum(sales.c.refunded) > 0))
    .order_by(_DAY_NUMBER)
)


def _by_key(table: Table, key: str) -> Prepared:
    """Return lines by *key*, each with the sums of all at its end; where nothing was sold, those sums alone."""
    rows, all_rows = _within(table), _within(sales)
    lines = select(rows.c[key].label("key"), *_sold(rows)).group_by(rows.c[key]).having(func.sum(rows.c.orders) > 0)
    top = lines.order_by(func.sum(rows.c.revenue).desc(), rows.c[key])
    listed = top.limit(bindparam("limit", type_=BigInteger)).subquery("listed")
    refunded = func.coalesce(func.sum(all_rows.c.refunded), 0).label("refunded")
    total = select(*_sold(all_rows), refunded).subquery("total")
    name = _name_of(listed.c.key) if table is sku_sales else literal("", Text)
    columns: list[Any] = [listed.c.key, name.label("name"), *listed.c[1:], *total.c]
    both = select(*columns).join_from(total, listed, true(), isouter=True)
    return prepare(both.order_by(listed.c.revenue.desc(), listed.c.key))


_SKUS: Final = _by_key(sku_sales, "sku")
_CATEGORIES: Final = _by_key(category_sales, "category")
_SKU_ROWS: Final = _within(sku_sales)
_BEST: Final = (
    select(_SKU_ROWS.c.sku, *_sold(_SKU_ROWS))
    .group_by(_SKU_ROWS.c.sku)
    .order_by(func.sum(_SKU_ROWS.c.units).desc(), _SKU_ROWS.c.sku)
    .limit(bindparam("limit", type_=BigInteger))
    .subquery("best")
)
_BEST_SELLERS: Final = prepare(
    select(_BEST.c.sku, _name_of(_BEST.c.sku).label("name"), *_BEST.c[1:]).order_by(_BEST.c.units.desc(), _BEST.c.sku)
)
_BOUGHT: Final = (purchases.c.time >= _FROM, purchases.c.time < _TO)
_COUNTS: Final = _within(behaviour_counts)
_BUYERS: Final = select(func.count()).where(*_BOUGHT, purchases.c.is_first_of_day).scalar_subquery()
_VISITED: Final = [
    func.coalesce(func.sum(_COUNTS.c.visitors).filter(_COUNTS.c.kind == kind.value), 0).cast(BigInteger)
    for kind in (Kind.VIEWED, Kind.ADDED_TO_CART)
]
_CONVERTED: Any = select(*_VISITED, _BUYERS.label("buyers"))
_CONVERSION: Final = prepare(_CONVERTED)
# Who bought in the range did so first with an order whose customer's previous one was before it. And who had bought
# before did it again first with an order that is no first one, and whose previous one was a first one or before it.
_IS_FIRST_HERE: Final = func.coalesce(purchases.c.previous_time < _FROM, true())
_COMING_BACK: Any = select(
    func.count().filter(_IS_FIRST_HERE).label("customers"),
    func.count().filter(purchases.c.is_second | (purchases.c.previous_time < _FROM)).label("repeat_customers"),
).where(*_BOUGHT)
_REPEATS: Final = prepare(_COMING_BACK)


def _spans(days: DayRange) -> dict[str, Any]:
    """Return the parameters of `_within`; spans that the range doesn't have are empty ones."""
    found = spans(days.start, days.end)
    found += [Span(Period.SLOT, days.end, days.end)] * (_SPANS - len(found))
    return {f"{name}_{number}": value for number, span in enumerate(found) for name, value in span._asdict().items()}
