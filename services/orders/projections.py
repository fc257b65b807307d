"""The read models: kept with the histories they are derived from, and made anew from them."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from sqlalchemy import ARRAY, Uuid, any_, bindparam, delete, insert, literal_column, select, text
from sqlalchemy.dialects.postgresql import insert as upsert

from services.orders.domain import Order, fold
from services.orders.forgetting import forget_at_rest
from services.orders.store import recorded
from services.orders.tables import lines, order_events, orders

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from weft.data import Database, Transaction

__all__ = ["project", "rebuild"]

BATCH: Final = 500

_NO_ID: Final = UUID(int=0)
_CHANGING: Final = ("state", "update_time", "confirm_time", "cancel_reason", "version")
_COLUMNS: Final = tuple(column.name for column in orders.c if column.name != "order_id")
_WITHOUT_HISTORY: Final = ~select(order_events.c.order_id).where(order_events.c.order_id == orders.c.order_id).exists()


async def project(tx: Transaction, order: Order) -> None:
    """Make the read models show *order*, in the transaction that appended to its history.

    An order that isn't there is added whole: a rebuild may not have come to it yet.
    """
    row = upsert(orders).values(_row(order))
    written = row.on_conflict_do_update(
        index_elements=["order_id"], set_={name: row.excluded[name] for name in _CHANGING}
    )
    if await tx.scalar(written.returning(literal_column("xmax = 0"))):  # inserted, not updated
        await tx.execute(insert(lines), _line_rows([order]))


async def rebuild(database: Database) -> AsyncIterator[int]:
    """Make the read models anew from the histories, and yield how many orders are done after each batch.

    May run beside live traffic: a batch is one transaction, in which nobody else writes the read models, so that what
    is appended meanwhile is projected after it. Whoever reads finds each order as it was or as it is made anew, and
    never a gap.
    """
    done, after = 0, _NO_ID
    while True:
        async with database.transaction() as tx:
            await _lock(tx)
            ids = await _ids_after(tx, after)
            if not ids:
                await tx.execute(delete(orders).where(_WITHOUT_HISTORY))
                break
            await _remake(tx, ids)
        done, after = done + len(ids), ids[-1]
        yield done


async def _lock(tx: Transaction) -> None:
    """Wait for those who write the read models, and let nobody else write them until *tx* ends. Readers go on.

    Whoever appends to a history writes its read model afterwards, in the same transaction. So what is appended and not
    seen here is projected when this lock is gone.
    """
    await tx.execute(text("LOCK TABLE orders, order_lines IN SHARE ROW EXCLUSIVE MODE"))


async def _ids_after(tx: Transaction, order_id: UUID) -> list[UUID]:
    firsts = select(order_events.c.order_id).where(order_events.c.version == 1, order_events.c.order_id > order_id)
    rows = await tx.all(firsts.order_by(order_events.c.order_id).limit(BATCH))
    return [row.order_id for row in rows]


async def _remake(tx: Transaction, ids: Sequence[UUID]) -> None:
    found = [
        order
        for order_id, rows in groupby(await _histories(tx, ids), key=lambda row: row[0])
        if (order := fold(order_id, recorded(row[1:] for row in rows)))
    ]
    row = upsert(orders)
    await tx.execute(
        row.on_conflict_do_update(index_elements=["order_id"], set_={name: row.excluded[name] for name in _COLUMNS}),
        [_row(order) for order in found],
    )
    await tx.execute(delete(lines).where(lines.c.order_id == any_(_array(ids))))
    await tx.execute(insert(lines), _line_rows(found))
    await forget_at_rest(tx, ids)  # where they weren't in the read models when their users were forgotten


async def _histories(tx: Transaction, ids: Sequence[UUID]) -> Sequence[Any]:
    columns = (order_events.c.order_id, order_events.c.version, order_events.c.type)
    rows = select(*columns, order_events.c.data, order_events.c.time).where(
        order_events.c.order_id == any_(_array(ids))
    )
    return await tx.all(rows.order_by(order_events.c.order_id, order_events.c.version))


def _array(ids: Sequence[UUID]) -> Any:
    return bindparam("ids", list(ids), type_=ARRAY(Uuid))


def _row(order: Order) -> dict[str, Any]:
    return {
        "order_id": order.order_id,
        "user_id": order.user_id,
        "state": order.state.value,
        "currency": order.total.currency,
        "shipping_units": order.shipping.units,
        "shipping_nanos": order.shipping.nanos,
        "taxes": [tax.to_json() for tax in order.taxes],
        "total_units": order.total.units,
        "total_nanos": order.total.nanos,
        "create_time": order.create_time,
        "update_time": order.update_time,
        "confirm_time": order.confirm_time,
        "cancel_reason": order.cancel_reason,
        "destination": order.destination.to_json() if order.destination else None,
        "version": order.version,
    }


def _line_rows(found: Sequence[Order]) -> list[dict[str, Any]]:
    return [
        {
            "order_id": order.order_id,
            "position": position,
            "product_id": line.product_id,
            "sku": line.sku,
            "name": line.name,
            "price_units": line.unit_price.units,
            "price_nanos": line.unit_price.nanos,
            "quantity": line.quantity,
        }
        for order in found
        for position, line in enumerate(order.lines)
    ]
