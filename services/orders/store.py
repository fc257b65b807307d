"""Histories of orders, and which request placed which, as rows. The transaction is the caller's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from sqlalchemy import DateTime, Text, bindparam, delete, func, insert, select, text, tuple_, update
from sqlalchemy import Uuid as UuidType
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.dialects.postgresql import insert as upsert

from services.orders.domain import Order, Recorded, fold
from services.orders.events import from_json, to_json, type_of
from services.orders.refusals import OrderNotFound
from services.orders.tables import order_events, payment_methods, placements
from weft.data import prepare

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import timedelta
    from uuid import UUID

    from sqlalchemy import Delete

    from weft.data import Database, Transaction

__all__ = [
    "CHANNEL",
    "Placement",
    "add_payment_method",
    "add_placement",
    "append",
    "delete_payment_method",
    "delete_placements",
    "find_order",
    "find_payment_method",
    "find_placement",
    "get_order",
    "lock_placement",
    "recorded",
    "replace_placement",
]

CHANNEL: Final = "orders"
"""Tells the id of every order that changes, when the change is committed."""

_HISTORY: Final = select(
    order_events.c.version, order_events.c.type, order_events.c.data, order_events.c.time
).order_by(order_events.c.version)
_HISTORY_OF: Final = prepare(_HISTORY.where(order_events.c.order_id == bindparam("order_id")))

# A version that somebody else is adding is waited for: if they commit, ours is too late, and nothing is added.
_APPEND: Final = text(
    """
    WITH appended AS (
        INSERT INTO order_events (order_id, version, type, data, time)
        VALUES (:order_id, :version, :type, :data, :time)
        ON CONFLICT DO NOTHING
        RETURNING order_id
    )
    SELECT pg_notify(:channel, CAST(order_id AS text)) FROM appended
    """
).bindparams(
    bindparam("order_id", type_=UuidType),
    bindparam("type", type_=Text),
    bindparam("data", type_=JSONB),
    bindparam("time", type_=DateTime(timezone=True)),
)

_PLACEMENT: Final = select(placements.c.order_id, placements.c.fingerprint)
_PLACEMENT_OF: Final = prepare(
    _PLACEMENT.where(placements.c.user_id == bindparam("user_id"), placements.c.request_id == bindparam("request_id"))
)
_PAYMENT_METHOD_OF: Final = prepare(
    select(payment_methods.c.payment_method).where(payment_methods.c.order_id == bindparam("order_id"))
)


class Placement(NamedTuple):
    """What became of a request to place an order."""

    order_id: UUID
    fingerprint: bytes
    """Digest of the request without its id."""


async def find_order(tx: Transaction, order_id: UUID) -> Order | None:
    """Return an order as its history says, which others may be adding to."""
    rows = await tx.all(_HISTORY.where(order_events.c.order_id == order_id))
    return fold(order_id, recorded(rows))


async def get_order(database: Database, order_id: UUID) -> Order:
    """Return an order as its history says, whoever's it is. Raises OrderNotFound."""
    order = fold(order_id, recorded(await database.fetch_all(_HISTORY_OF, order_id=order_id)))
    if order is None:
        raise OrderNotFound(order_id)
    return order


async def append(tx: Transaction, order_id: UUID, entry: Recorded) -> bool:
    """Add *entry* to a history; return False where it has another entry of that version, so is not what it was."""
    version, event, time = entry
    row = await tx.first(
        _APPEND,
        {
            "order_id": order_id,
            "version": version,
            "type": type_of(event),
            "data": to_json(event),
            "time": time,
            "channel": CHANNEL,
        },
    )
    return row is not None


def recorded(rows: Iterable[Any]) -> Iterable[Recorded]:
    """Return the entries of rows of version, type, data and time."""
    return (Recorded(version, from_json(kind, data), time) for version, kind, data, time in rows)


async def find_placement(database: Database, user_id: str, request_id: str) -> Placement | None:
    row = await database.fetch_one(_PLACEMENT_OF, user_id=user_id, request_id=request_id)
    return Placement(row["order_id"], bytes(row["fingerprint"])) if row else None


async def add_placement(tx: Transaction, user_id: str, request_id: str, placement: Placement) -> bool:
    """Say what a request places; return False where that is said already. Waits for a concurrent one to commit."""
    row = upsert(placements).values(user_id=user_id, request_id=request_id, **placement._asdict())
    return await tx.execute(row.on_conflict_do_nothing()) > 0


async def lock_placement(tx: Transaction, user_id: str, request_id: str) -> Placement | None:
    """Read a placement, if there is one, that nobody else may change until the transaction ends."""
    of_request = (placements.c.user_id == user_id, placements.c.request_id == request_id)
    row = await tx.first(_PLACEMENT.where(*of_request).with_for_update())
    return Placement(row.order_id, bytes(row.fingerprint)) if row else None


async def replace_placement(tx: Transaction, user_id: str, request_id: str, placement: Placement) -> None:
    """Say what a request places now; from this moment on it counts as new."""
    of_request = (placements.c.user_id == user_id, placements.c.request_id == request_id)
    await tx.execute(update(placements).where(*of_request).values(**placement._asdict(), create_time=func.now()))


async def delete_placements(tx: Transaction, kept: timedelta, limit: int) -> int:
    """Delete up to *limit* placements older than *kept*, skipping those others have locked; return how many."""
    return await tx.execute(_delete_placements(kept, limit))


def _delete_placements(kept: timedelta, limit: int) -> Delete:
    old = select(*placements.primary_key.columns).where(placements.c.create_time < func.now() - kept)
    old = old.order_by(placements.c.create_time).limit(limit).with_for_update(skip_locked=True)
    return delete(placements).where(tuple_(*placements.primary_key.columns).in_(old))


async def add_payment_method(tx: Transaction, order_id: UUID, payment_method: str) -> None:
    await tx.execute(insert(payment_methods).values(order_id=order_id, payment_method=payment_method))


async def find_payment_method(database: Database, order_id: UUID) -> str | None:
    row = await database.fetch_one(_PAYMENT_METHOD_OF, order_id=order_id)
    return str(row["payment_method"]) if row else None


async def delete_payment_method(tx: Transaction, order_id: UUID) -> None:
    await tx.execute(delete(payment_methods).where(payment_methods.c.order_id == order_id))
