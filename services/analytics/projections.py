"""The read models: kept with the history they are derived from, and made anew from it.

They are the same whatever the order in which events came. Sums don't mind it. What a line was called and where it
belonged does: that is what the catalog said at the time of the sale by the times in the events, not by when they were
heard. Where an offer comes after sales that it is about, those are attributed anew. A sale from before the first offer
that is known has that one's name and category, one without any has neither. So a report of last year stays as it is
when a product is moved to another category, and a rebuild, which hears everything in order, changes nothing.

One at a time writes them: who attributes a sale and who adds an offer must see each other.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import BigInteger, DateTime, Integer, Numeric, Text, Uuid, bindparam, delete, text
from sqlalchemy.dialects.postgresql import ARRAY

from services.analytics import history
from services.analytics.domain import Captured, Fact, Offer, OrderConfirmedTwice, Refunded, Sale
from services.analytics.facts import fact_of
from services.analytics.tables import READ_MODELS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Sequence
    from uuid import UUID

    from sqlalchemy.types import TypeEngine

    from services.analytics.history import Recorded
    from weft.data import Database, Transaction

__all__ = ["keep", "rebuild"]

BATCH: Final = 1000

_TIME: Final = DateTime(timezone=True)
_TYPES: Final[dict[str, TypeEngine[Any]]] = {
    "order_id": Uuid(),
    "user_id": Text(),
    "time": _TIME,
    "position": Integer(),
    "sku": Text(),
    "name": Text(),
    "category": Text(),
    "sequence": BigInteger(),
    "quantity": Integer(),
    "unit_price": Numeric(),
    "captured": Numeric(),
    "refunded": Numeric(),
}


def _statement(sql: str, *names: str) -> Any:
    """Return a statement that takes an array for each of *names*."""
    return text(sql).bindparams(*(bindparam(name, type_=ARRAY(_TYPES[name])) for name in names))


# Numbers of locks are the service's own: its database has no other user.
_LOCK: Final = text("SELECT pg_advisory_xact_lock(1)")

_ADD_OFFERS: Final = _statement(
    """
    INSERT INTO offers (sku, time, sequence, name, category)
    SELECT * FROM unnest(:sku, :time, :sequence, :name, :category)
    ON CONFLICT DO NOTHING
    """,
    *("sku", "time", "sequence", "name", "category"),
)
_ATTRIBUTION: Final = """
    LEFT JOIN LATERAL (
        SELECT name, category FROM offers WHERE offers.sku = line.sku AND offers.time <= line.time
        ORDER BY offers.time DESC, offers.sequence DESC LIMIT 1
    ) AS at_sale ON true
    LEFT JOIN LATERAL (
        SELECT name, category FROM offers WHERE offers.sku = line.sku AND at_sale IS NULL
        ORDER BY offers.time, offers.sequence LIMIT 1
    ) AS first ON true
"""
_NAME: Final = "coalesce(at_sale.name, first.name, '')"
_CATEGORY: Final = "coalesce(at_sale.category, first.category, '')"

# An offer is about the sales since then; the first one of its product about those before, too.
_STALE: Final = _statement(
    f"""
    WITH offered AS (SELECT sku, min(time) AS time FROM unnest(:sku, :time) AS offered (sku, time) GROUP BY sku)
    SELECT line.order_id, line.position, {_NAME} AS name, {_CATEGORY} AS category
    FROM offered
    JOIN sold_lines AS line ON line.sku = offered.sku AND line.time >= CASE
        WHEN offered.time = (SELECT min(time) FROM offers WHERE offers.sku = offered.sku) THEN '-infinity'
        ELSE offered.time END
    {_ATTRIBUTION}
    WHERE (line.name, line.category) <> ({_NAME}, {_CATEGORY})
    """,  # noqa: S608  # of constants
    *("sku", "time"),
)
_ATTRIBUTE: Final = _statement(
    """
    UPDATE sold_lines SET name = stale.name, category = stale.category
    FROM unnest(:order_id, :position, :name, :category) AS stale (order_id, position, name, category)
    WHERE sold_lines.order_id = stale.order_id AND sold_lines.position = stale.position
    """,
    *("order_id", "position", "name", "category"),
)

_ADD_PURCHASES: Final = _statement(
    """
    INSERT INTO purchases (order_id, user_id, time, is_second, is_first_of_day)
    SELECT *, false, false FROM unnest(:order_id, :user_id, :time)
    ON CONFLICT (order_id) DO NOTHING RETURNING order_id
    """,
    *("order_id", "user_id", "time"),
)
# New purchases change what is before them and the two that come after; read from the two before the first of them on.
_CHAIN: Final = _statement(
    """
    WITH bought AS (
        SELECT DISTINCT ON (user_id) user_id, time, order_id
        FROM unnest(:user_id, :time, :order_id) AS bought (user_id, time, order_id)
        ORDER BY user_id, time, order_id
    ), chained AS (
        SELECT own.order_id, own.time, bought.time AS from_time, bought.order_id AS from_id,
               lag(own.time) OVER customer AS previous_time, lag(own.time, 2) OVER customer AS earlier_time
        FROM bought JOIN purchases AS own ON own.user_id = bought.user_id AND own.time >= coalesce((
            SELECT min(time) FROM (
                SELECT past.time FROM purchases AS past
                WHERE past.user_id = bought.user_id AND (past.time, past.order_id) < (bought.time, bought.order_id)
                ORDER BY past.time DESC, past.order_id DESC LIMIT 2
            ) AS past
        ), '-infinity')
        WINDOW customer AS (PARTITION BY own.user_id ORDER BY own.time, own.order_id)
    )
    UPDATE purchases SET
        previous_time = chained.previous_time,
        is_second = chained.previous_time IS NOT NULL AND chained.earlier_time IS NULL,
        is_first_of_day = chained.previous_time IS NULL
            OR date_trunc('day', chained.previous_time, 'UTC') < date_trunc('day', chained.time, 'UTC')
    FROM chained
    WHERE purchases.order_id = chained.order_id AND (chained.time, chained.order_id) >= (from_time, from_id)
    """,
    *("user_id", "time", "order_id"),
)
_ADD_LINES: Final = _statement(
    f"""
    INSERT INTO sold_lines (order_id, position, time, sku, name, category, quantity, unit_price)
    SELECT line.order_id, line.position, line.time, line.sku, {_NAME}, {_CATEGORY}, line.quantity, line.unit_price
    FROM unnest(:order_id, :position, :time, :sku, :quantity, :unit_price)
        AS line (order_id, position, time, sku, quantity, unit_price)
    {_ATTRIBUTION}
    """,  # noqa: S608  # of constants
    *("order_id", "position", "time", "sku", "quantity", "unit_price"),
)


def _roll_up(table: str, key: str, sign: str = "") -> Any:
    """Return what adds the lines of some orders to a rollup of *table*; with `-` it takes them away again."""
    names = f"period, start{key and ', ' + key}"
    others = ", captured, refunded" if table == "sales" else ""
    return _statement(
        f"""
        INSERT INTO {table} ({names}, orders, units, revenue{others})
        SELECT {names}, {sign}count(DISTINCT order_id), {sign}sum(quantity), {sign}sum(quantity * unit_price)
               {others and ", 0, 0"}
        FROM sold_lines, LATERAL (VALUES
            ('slot', date_bin('15 minutes', time, '2000-01-01Z')),
            ('day', date_trunc('day', time, 'UTC')),
            ('month', date_trunc('month', time, 'UTC')),
            ('year', date_trunc('year', time, 'UTC'))
        ) AS rollup (period, start)
        WHERE order_id = ANY (:order_id) GROUP BY {names}
        ON CONFLICT ({names}) DO UPDATE SET
            orders = {table}.orders + excluded.orders,
            units = {table}.units + excluded.units,
            revenue = {table}.revenue + excluded.revenue
        """,  # noqa: S608  # of names from this module
        "order_id",
    )


_ADD_SALES: Final = (_roll_up("sales", ""), _roll_up("sku_sales", "sku"), _roll_up("category_sales", "category"))
_ADD_TO_CATEGORIES: Final = _ADD_SALES[-1]
_TAKE_FROM_CATEGORIES: Final = _roll_up("category_sales", "category", "-")
_ADD_MONEY: Final = _statement(
    """
    INSERT INTO sales (period, start, orders, units, revenue, captured, refunded)
    SELECT period, start, 0, 0, 0, sum(captured), sum(refunded)
    FROM unnest(:time, :captured, :refunded) AS moved (time, captured, refunded), LATERAL (VALUES
        ('slot', date_bin('15 minutes', time, '2000-01-01Z')),
        ('day', date_trunc('day', time, 'UTC')),
        ('month', date_trunc('month', time, 'UTC')),
        ('year', date_trunc('year', time, 'UTC'))
    ) AS rollup (period, start)
    GROUP BY period, start
    ON CONFLICT (period, start) DO UPDATE SET
        captured = sales.captured + excluded.captured, refunded = sales.refunded + excluded.refunded
    """,
    *("time", "captured", "refunded"),
)


async def keep(tx: Transaction, events: Sequence[Recorded]) -> None:
    """Add *events* to the history and show them in the read models; those that are there already change nothing.

    Raises:
        OrderConfirmedTwice: an order was confirmed by another event.
        ValueError: an event is not what its type says.
    """
    new = await history.append(tx, events)
    facts = {event.event_id: fact_of(event) for event in events if event.event_id in new}
    if facts:
        await tx.execute(_LOCK)
        await _fold(tx, facts.values())


async def rebuild(database: Database) -> AsyncIterator[int]:
    """Make the read models anew from the history, and yield how many events are done after each batch.

    May run beside live traffic. It is one transaction: until it ends, reports show what they showed before, and events
    that come meanwhile wait. What shoppers did is no part of it and stays.
    """
    done = 0
    async with database.transaction() as tx:
        await tx.execute(_LOCK)
        for table in READ_MODELS:
            await tx.execute(delete(table))
        async for events in history.replay(tx, batch=BATCH):
            await _fold(tx, map(fact_of, events))
            done += len(events)
            yield done


async def _fold(tx: Transaction, facts: Iterable[Fact]) -> None:
    """Show *facts*, of events that weren't shown before, in the read models. The lock is held."""
    # Whoever is forgotten stays in all of them: as a number, without which nobody could tell how many come back.
    kinds: defaultdict[type[Fact], list[Any]] = defaultdict(list)
    for fact in facts:
        kinds[type(fact)].append(fact)
    if kinds[Offer]:
        await _offer(tx, kinds[Offer])
    if kinds[Sale]:
        await _sell(tx, kinds[Sale])
    if kinds[Captured] or kinds[Refunded]:
        await _move_money(tx, kinds[Captured], kinds[Refunded])


async def _offer(tx: Transaction, offers: Sequence[Offer]) -> None:
    await tx.execute(_ADD_OFFERS, _columns(offers, "sku", "time", "sequence", "name", "category"))
    stale = await tx.all(_STALE, _columns(offers, "sku", "time"))
    if stale:
        orders = {"order_id": list({row.order_id for row in stale})}
        await tx.execute(_TAKE_FROM_CATEGORIES, orders)
        await tx.execute(_ATTRIBUTE, _columns(stale, "order_id", "position", "name", "category"))
        await tx.execute(_ADD_TO_CATEGORIES, orders)


async def _sell(tx: Transaction, sales: Sequence[Sale]) -> None:
    bought = _columns(sales, "order_id", "user_id", "time")
    added = {row.order_id for row in await tx.all(_ADD_PURCHASES, bought)}
    if len(added) < len(sales):
        raise OrderConfirmedTwice(_repeated(sales, added))
    await tx.execute(_CHAIN, bought)
    lines = [(sale, position, line) for sale in sales for position, line in enumerate(sale.lines)]
    await tx.execute(
        _ADD_LINES,
        {
            "order_id": [sale.order_id for sale, _, _ in lines],
            "position": [position for _, position, _ in lines],
            "time": [sale.time for sale, _, _ in lines],
            "sku": [line.sku for _, _, line in lines],
            "quantity": [line.quantity for _, _, line in lines],
            "unit_price": [line.unit_price for _, _, line in lines],
        },
    )
    for statement in _ADD_SALES:
        await tx.execute(statement, {"order_id": bought["order_id"]})


async def _move_money(tx: Transaction, captured: Sequence[Captured], refunded: Sequence[Refunded]) -> None:
    await tx.execute(
        _ADD_MONEY,
        {
            "time": [*(moved.time for moved in captured), *(moved.time for moved in refunded)],
            "captured": [*(moved.amount for moved in captured), *(0 for _ in refunded)],
            "refunded": [*(0 for _ in captured), *(moved.amount for moved in refunded)],
        },
    )


def _columns(rows: Iterable[Any], *names: str) -> dict[str, list[Any]]:
    return {name: [getattr(row, name) for row in rows] for name in names}


def _repeated(sales: Iterable[Sale], added: set[UUID]) -> Iterable[UUID]:
    """Return the orders that were there already, or come twice."""
    for sale in sales:
        if sale.order_id in added:
            added = added - {sale.order_id}
        else:
            yield sale.order_id
