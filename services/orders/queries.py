"""Orders to look at, from the read models. All of these are hot and run outside any transaction."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from itertools import groupby
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import DateTime, Integer, Text, Uuid, bindparam, select, tuple_

from services.orders.domain import Order, State
from services.orders.events import Address, Line, Tax
from services.orders.money import Money
from services.orders.refusals import OrderNotFound
from services.orders.tables import lines, orders
from weft.data import Prepared, prepare

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from sqlalchemy import ColumnElement

    from weft.data import Database

__all__ = ["Search", "get_order", "list_page"]

_ORDER: Final = (
    orders.c.order_id,
    orders.c.user_id,
    orders.c.state,
    orders.c.currency,
    orders.c.shipping_units,
    orders.c.shipping_nanos,
    orders.c.taxes,
    orders.c.total_units,
    orders.c.total_nanos,
    orders.c.create_time,
    orders.c.update_time,
    orders.c.confirm_time,
    orders.c.cancel_reason,
    orders.c.version,
    orders.c.destination,
)
_LINE: Final = (
    lines.c.product_id,
    lines.c.sku,
    lines.c.name,
    lines.c.price_units,
    lines.c.price_nanos,
    lines.c.quantity,
)
_NEWEST_FIRST: Final = (orders.c.create_time.desc(), orders.c.order_id.desc())
_TIME: Final = DateTime(timezone=True)

_BY_ID: Final = prepare(
    select(*_ORDER, *_LINE)
    .join_from(orders, lines)
    .where(orders.c.order_id == bindparam("order_id"), orders.c.user_id == bindparam("user_id"))
    .order_by(lines.c.position)
)
_FILTERS: Final[dict[str, ColumnElement[bool]]] = {
    "user_id": orders.c.user_id == bindparam("user_id", type_=Text),
    "state": orders.c.state == bindparam("state", type_=Text),
    "from_time": orders.c.create_time >= bindparam("from_time", type_=_TIME),
    "to_time": orders.c.create_time < bindparam("to_time", type_=_TIME),
    "after": tuple_(orders.c.create_time, orders.c.order_id)
    < tuple_(bindparam("after_time", type_=_TIME), bindparam("after_id", type_=Uuid)),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """Which orders; what is None does not matter."""

    user_id: str | None = None
    state: State | None = None
    from_time: datetime | None = None
    """Placed then or later."""
    to_time: datetime | None = None
    """Placed before that."""


async def get_order(database: Database, order_id: str, user_id: str) -> Order:
    """Return one of the user's own orders. Raises OrderNotFound."""
    found = _whole_orders(await database.fetch_all(_BY_ID, order_id=order_id, user_id=user_id))
    if not found:
        raise OrderNotFound(order_id)
    return found[0]


async def list_page(database: Database, search: Search, limit: int, after: tuple[Any, ...] | None) -> list[Order]:
    """Return up to *limit* orders, newest first, that come after *after*: create_time, order_id."""
    wanted = {
        "user_id": search.user_id,
        "state": search.state.value if search.state else None,
        "from_time": search.from_time,
        "to_time": search.to_time,
    }
    values = {name: value for name, value in wanted.items() if value is not None}
    filters = tuple(values)
    if after is not None:
        filters = (*filters, "after")
        values["after_time"], values["after_id"] = after
    return _whole_orders(await database.fetch_all(_page(filters), limit=limit, **values))


@cache
def _page(filters: tuple[str, ...]) -> Prepared:
    """Return the statement of a page under *filters*, names of `_FILTERS`."""
    heads = select(*_ORDER).where(*(_FILTERS[name] for name in filters))
    page = heads.order_by(*_NEWEST_FIRST).limit(bindparam("limit", type_=Integer)).subquery("page")
    whole = select(*page.c, *_LINE).join_from(page, lines, page.c.order_id == lines.c.order_id)
    return prepare(whole.order_by(page.c.create_time.desc(), page.c.order_id.desc(), lines.c.position))


def _whole_orders(rows: Iterable[Iterable[Any]]) -> list[Order]:
    """Return the orders of rows that hold one line each, those of an order following one another."""
    width = len(_ORDER)
    return [
        _order(order_rows[0][:width], [row[width:] for row in order_rows])
        for order_rows in (list(group) for _, group in groupby(map(tuple, rows), key=lambda row: row[0]))
    ]


def _order(head: Sequence[Any], bought: Iterable[Sequence[Any]]) -> Order:
    (
        order_id, user_id, state, currency, shipping_units, shipping_nanos, taxes, total_units, total_nanos,
        create_time, update_time, confirm_time, cancel_reason, version, destination,
    ) = head  # fmt: skip
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
        shipping=Money(currency, shipping_units, shipping_nanos),
        taxes=tuple(map(Tax.from_json, taxes)),
        total=Money(currency, total_units, total_nanos),
        destination=Address.from_json(destination) if destination else None,
        create_time=create_time,
        update_time=update_time,
        confirm_time=confirm_time,
        cancel_reason=cancel_reason,
        version=version,
    )
