"""Stock as rows. The transaction is the caller's; reads without one are hot and run outside any.

Locks are taken in one order, so that transactions wait for each other and never in a circle: the reservation first,
then the levels by SKU. Times are the database's, read when what they belong to is locked.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import (
    BigInteger,
    DateTime,
    Integer,
    Text,
    Uuid,
    any_,
    bindparam,
    delete,
    func,
    literal,
    select,
    text,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY, insert

from services.inventory.domain import ENDED, Change, Kind, Level, Line, Reservation, State, StockNotFound, Units
from services.inventory.tables import changes, reservations, stock
from weft.data import prepare

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence
    from uuid import UUID

    from sqlalchemy import Delete

    from weft.data import Database, Transaction

__all__ = [
    "Entry",
    "add_level",
    "delete_ended",
    "find_overdue",
    "get_level",
    "has_overdue",
    "list_changes",
    "list_levels",
    "lock_levels",
    "lock_reservation",
    "open_reservation",
    "record",
    "save_state",
    "save_threshold",
]

Entry = tuple[int, Change, datetime]
"""What the ledger holds of a change: its number, itself, and when it happened."""

_NOW: Final = func.clock_timestamp(type_=DateTime(timezone=True))

_LEVEL: Final = (
    stock.c.sku,
    stock.c.on_hand,
    stock.c.reserved,
    stock.c.sold,
    stock.c.low_stock_threshold,
    stock.c.revision,
    stock.c.update_time,
)
_RESERVATION: Final = (
    reservations.c.order_id,
    reservations.c.state,
    reservations.c.lines,
    reservations.c.expire_time,
)
_CHANGE: Final = (
    changes.c.change_id,
    changes.c.sku,
    changes.c.kind,
    changes.c.on_hand_delta,
    changes.c.reserved_delta,
    changes.c.sold_delta,
    changes.c.order_id,
    changes.c.reason,
    changes.c.create_time,
)

_BY_SKU: Final = prepare(select(*_LEVEL).where(stock.c.sku == bindparam("sku")))
_LEVELS: Final = prepare(
    select(*_LEVEL)
    .where(stock.c.sku > bindparam("after", type_=Text))
    .order_by(stock.c.sku)
    .limit(bindparam("limit", type_=Integer))
)
_CHANGES: Final = prepare(
    select(*_CHANGE)
    .where(changes.c.sku == bindparam("sku"), changes.c.change_id < bindparam("before", type_=BigInteger))
    .order_by(changes.c.change_id.desc())
    .limit(bindparam("limit", type_=Integer))
)
# The state is text and not a parameter: only then may every plan use the index of what is reserved.
_OVERDUE: Final = (text("state = 'reserved'"), reservations.c.expire_time <= func.now())
_ANY_OVERDUE: Final = prepare(select(reservations.c.order_id).where(*_OVERDUE).limit(1))

# See above. The time is the transaction's: one that differs from row to row would keep the index from being used.
_ENDED: Final = text(f"state IN ({', '.join(repr(state.value) for state in ENDED)})")

# Ledger and levels change in one statement, so neither can without the other.
_RECORD: Final = text(
    """
    WITH change AS (
        SELECT * FROM unnest(
            CAST(:skus AS text[]), CAST(:kinds AS text[]), CAST(:on_hand AS bigint[]), CAST(:reserved AS bigint[]),
            CAST(:sold AS bigint[]), CAST(:order_ids AS uuid[]), CAST(:reasons AS text[])
        ) WITH ORDINALITY AS change (sku, kind, on_hand, reserved, sold, order_id, reason, place)
    ), total AS (
        SELECT sku, sum(on_hand) AS on_hand, sum(reserved) AS reserved, sum(sold) AS sold FROM change GROUP BY sku
    ), moved AS (
        UPDATE stock SET
            on_hand = stock.on_hand + total.on_hand,
            reserved = stock.reserved + total.reserved,
            sold = stock.sold + total.sold,
            revision = stock.revision + CAST(stock.sku = ANY(:crossed) AS int),
            update_time = clock_timestamp()
        FROM total WHERE stock.sku = total.sku
    )
    INSERT INTO stock_changes
        (sku, kind, on_hand_delta, reserved_delta, sold_delta, order_id, reason, create_time)
    SELECT sku, kind, on_hand, reserved, sold, order_id, reason, clock_timestamp() FROM change ORDER BY place
    """
).bindparams(
    bindparam("skus", type_=ARRAY(Text)),
    bindparam("kinds", type_=ARRAY(Text)),
    bindparam("on_hand", type_=ARRAY(BigInteger)),
    bindparam("reserved", type_=ARRAY(BigInteger)),
    bindparam("sold", type_=ARRAY(BigInteger)),
    bindparam("order_ids", type_=ARRAY(Uuid)),
    bindparam("reasons", type_=ARRAY(Text)),
    bindparam("crossed", type_=ARRAY(Text)),
)


async def get_level(database: Database, sku: str) -> Level:
    """Raises StockNotFound."""
    row = await database.fetch_one(_BY_SKU, sku=sku)
    if row is None:
        raise StockNotFound(sku)
    return _level(row)


async def list_levels(database: Database, limit: int, after: str) -> list[Level]:
    """Return up to *limit* levels by SKU, those that come after the SKU *after*."""
    return [_level(row) for row in await database.fetch_all(_LEVELS, limit=limit, after=after)]


async def list_changes(database: Database, sku: str, limit: int, before: int) -> list[Entry]:
    """Return up to *limit* changes of a SKU, newest first, those that came before the one numbered *before*."""
    return [_entry(row) for row in await database.fetch_all(_CHANGES, sku=sku, limit=limit, before=before)]


async def open_reservation(
    tx: Transaction, order_id: UUID, state: State, lines: Iterable[Line], *, hold_s: float
) -> Reservation | None:
    """Add an order's reservation and hold it until the transaction ends; None if the order has one.

    Waits for who is adding one at this moment, if any.
    """
    held = frozenset(lines)
    row = insert(reservations).values(
        order_id=order_id,
        state=state.value,
        lines=dict(held),
        expire_time=_NOW + timedelta(seconds=hold_s),
        create_time=_NOW,
        update_time=_NOW,
    )
    opened = row.on_conflict_do_nothing(index_elements=[reservations.c.order_id]).returning(reservations.c.expire_time)
    expire_time = await tx.scalar(opened)
    if expire_time is None:
        return None
    return Reservation(order_id=order_id, state=state, lines=held, expire_time=expire_time)


async def lock_reservation(tx: Transaction, order_id: UUID) -> tuple[Reservation, datetime] | None:
    """Read an order's reservation and hold it until the transaction ends; return it and the time of that moment."""
    statement = select(*_RESERVATION, _NOW).where(reservations.c.order_id == order_id).with_for_update()
    row = await tx.first(statement)
    return None if row is None else (_reservation(row[:-1]), row[-1])


async def has_overdue(database: Database) -> bool:
    """Tell whether some reservation has expired and still holds units."""
    return await database.fetch_one(_ANY_OVERDUE) is not None


async def find_overdue(tx: Transaction, limit: int) -> list[Reservation]:
    """Lock up to *limit* reservations that have expired and still hold units, skipping those others have locked."""
    overdue = select(*_RESERVATION).where(*_OVERDUE).order_by(reservations.c.expire_time).limit(limit)
    return [_reservation(row) for row in await tx.all(overdue.with_for_update(skip_locked=True))]


async def save_state(tx: Transaction, order_ids: Collection[UUID], state: State) -> None:
    await tx.execute(
        update(reservations)
        .where(reservations.c.order_id == any_(literal(list(order_ids), ARRAY(Uuid))))
        .values(state=state.value, update_time=_NOW)
    )


async def delete_ended(tx: Transaction, kept: timedelta, limit: int) -> int:
    """Delete up to *limit* reservations that were over more than *kept* ago, skipping those others have locked."""
    return await tx.execute(_delete_ended(kept, limit))


def _delete_ended(kept: timedelta, limit: int) -> Delete:
    ended = select(reservations.c.order_id).where(_ENDED, reservations.c.update_time < func.now() - kept)
    ended = ended.order_by(reservations.c.update_time).limit(limit).with_for_update(skip_locked=True)
    return delete(reservations).where(reservations.c.order_id.in_(ended))


async def lock_levels(tx: Transaction, skus: Collection[str]) -> dict[str, Level]:
    """Return the levels of *skus*, those that have any, and hold them until the transaction ends."""
    statement = select(*_LEVEL).where(stock.c.sku == any_(literal(list(skus), ARRAY(Text))))
    rows = await tx.all(statement.order_by(stock.c.sku).with_for_update())
    return {level.sku: level for level in map(_level, rows)}


async def add_level(tx: Transaction, sku: str) -> None:
    """Add a level without any units, unless the SKU has one."""
    row = {"sku": sku, "on_hand": 0, "reserved": 0, "sold": 0, "low_stock_threshold": 0, "update_time": _NOW}
    await tx.execute(insert(stock).values(row).on_conflict_do_nothing(index_elements=[stock.c.sku]))


async def save_threshold(tx: Transaction, sku: str, threshold: int) -> None:
    await tx.execute(update(stock).where(stock.c.sku == sku).values(low_stock_threshold=threshold, update_time=_NOW))


async def record(tx: Transaction, entries: Sequence[Change], crossed: Iterable[Level]) -> None:
    """Write *entries* into the ledger and move their units; those *crossed* get the next revision. All are locked."""
    await tx.execute(
        _RECORD,
        {
            "skus": [entry.sku for entry in entries],
            "kinds": [entry.kind.value for entry in entries],
            "on_hand": [entry.units.on_hand for entry in entries],
            "reserved": [entry.units.reserved for entry in entries],
            "sold": [entry.units.sold for entry in entries],
            "order_ids": [entry.order_id for entry in entries],
            "reasons": [entry.reason for entry in entries],
            "crossed": [level.sku for level in crossed],
        },
    )


def _level(row: Iterable[Any]) -> Level:
    sku, on_hand, reserved, sold, threshold, revision, update_time = row
    units = Units(on_hand, reserved, sold)
    return Level(sku=sku, units=units, low_stock_threshold=threshold, revision=revision, update_time=update_time)


def _reservation(row: Iterable[Any]) -> Reservation:
    order_id, state, lines, expire_time = row
    held = frozenset(Line(sku, quantity) for sku, quantity in lines.items())
    return Reservation(order_id=order_id, state=State(state), lines=held, expire_time=expire_time)


def _entry(row: Iterable[Any]) -> Entry:
    change_id, sku, kind, on_hand, reserved, sold, order_id, reason, create_time = row
    units = Units(on_hand, reserved, sold)
    change = Change(sku=sku, kind=Kind(kind), units=units, order_id=order_id, reason=reason)
    return change_id, change, create_time
