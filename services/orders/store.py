"""Orders as rows. The transaction is the caller's; reads without one are hot and run outside any."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import DateTime, Integer, Text, Uuid, bindparam, insert, select, tuple_, update

from services.orders.domain import Line, Money, Order, OrderNotFound, State
from services.orders.tables import lines, orders
from weft.data import Prepared, prepare

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from uuid import UUID

    from weft.data import Database, Transaction

__all__ = ["add_order", "get_order", "list_page", "lock_order", "save_order"]

_ORDER: Final = (
    orders.c.order_id,
    orders.c.user_id,
    orders.c.state,
    orders.c.currency,
    orders.c.total_units,
    orders.c.total_nanos,
    orders.c.create_time,
    orders.c.update_time,
)
_LINE: Final = (
    lines.c.product_id,
    lines.c.sku,
    lines.c.name,
    lines.c.price_units,
    lines.c.price_nanos,
    lines.c.quantity,
)

_WHOLE: Final = select(*_ORDER, *_LINE).join_from(orders, lines)
_BY_ID: Final = prepare(
    _WHOLE.where(orders.c.order_id == bindparam("order_id"), orders.c.user_id == bindparam("user_id")).order_by(
        lines.c.position
    )
)


def _page(*, after: bool) -> Prepared:
    heads = select(*_ORDER).where(orders.c.user_id == bindparam("user_id", type_=Text))
    if after:
        heads = heads.where(
            tuple_(orders.c.create_time, orders.c.order_id)
            < tuple_(bindparam("create_time", type_=DateTime(timezone=True)), bindparam("order_id", type_=Uuid))
        )
    newest_first = (orders.c.create_time.desc(), orders.c.order_id.desc())
    page = heads.order_by(*newest_first).limit(bindparam("limit", type_=Integer)).subquery("page")
    whole = select(*page.c, *_LINE).join_from(page, lines, page.c.order_id == lines.c.order_id)
    return prepare(whole.order_by(page.c.create_time.desc(), page.c.order_id.desc(), lines.c.position))


_FIRST_PAGE: Final = _page(after=False)
_NEXT_PAGE: Final = _page(after=True)


async def get_order(database: Database, order_id: str, user_id: str) -> Order:
    """Return one of the user's own orders. Raises OrderNotFound."""
    found = _whole_orders(await database.fetch_all(_BY_ID, order_id=order_id, user_id=user_id))
    if not found:
        raise OrderNotFound(order_id)
    return found[0]


async def list_page(database: Database, user_id: str, limit: int, after: tuple[Any, ...] | None) -> list[Order]:
    """Return up to *limit* orders of the user, newest first, that come after *after*: create_time, order_id."""
    if after is None:
        return _whole_orders(await database.fetch_all(_FIRST_PAGE, user_id=user_id, limit=limit))
    create_time, order_id = after
    rows = await database.fetch_all(
        _NEXT_PAGE, user_id=user_id, limit=limit, create_time=create_time, order_id=order_id
    )
    return _whole_orders(rows)


async def add_order(tx: Transaction, order: Order) -> None:
    row = {
        "order_id": order.order_id,
        "user_id": order.user_id,
        "state": order.state.value,
        "currency": order.total.currency,
        "total_units": order.total.units,
        "total_nanos": order.total.nanos,
        "create_time": order.create_time,
        "update_time": order.update_time,
    }
    await tx.execute(insert(orders).values(row))
    await tx.execute(
        insert(lines),
        [
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
            for position, line in enumerate(order.lines)
        ],
    )


async def lock_order(tx: Transaction, order_id: UUID, user_id: str) -> Order:
    """Read one of the user's own orders and hold it until the transaction ends. Raises OrderNotFound."""
    statement = (
        _WHOLE.where(orders.c.order_id == order_id, orders.c.user_id == user_id)
        .order_by(lines.c.position)
        .with_for_update(of=orders)
    )
    found = _whole_orders(await tx.all(statement))
    if not found:
        raise OrderNotFound(order_id)
    return found[0]


async def save_order(tx: Transaction, order: Order) -> None:
    """Write what can change of *order*: its state."""
    await tx.execute(
        update(orders)
        .where(orders.c.order_id == order.order_id)
        .values(state=order.state.value, update_time=order.update_time)
    )


def _whole_orders(rows: Iterable[Iterable[Any]]) -> list[Order]:
    """Return the orders of rows that hold one line each, those of an order following one another."""
    width = len(_ORDER)
    return [
        _order(head, [row[width:] for row in group])
        for head, group in groupby(map(tuple, rows), key=lambda row: row[:width])
    ]


def _order(head: Sequence[Any], bought: Iterable[Sequence[Any]]) -> Order:
    order_id, user_id, state, currency, total_units, total_nanos, create_time, update_time = head
    return Order(
        order_id=order_id,
        user_id=user_id,
        state=State(state),
        lines=tuple(
            Line(
                product_id=product_id,
                sku=sku,
                name=name,
                unit_price=Money(currency, units, nanos),
                quantity=quantity,
            )
            for product_id, sku, name, units, nanos, quantity in bought
        ),
        total=Money(currency, total_units, total_nanos),
        create_time=create_time,
        update_time=update_time,
    )
