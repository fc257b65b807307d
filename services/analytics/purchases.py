"""What one user bought, line by line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import DateTime, Integer, Text, Uuid, bindparam, or_, select, tuple_

from services.analytics.domain import SoldLine
from services.analytics.tables import purchases, sold_lines
from weft.data import prepare

if TYPE_CHECKING:
    from weft.data import Database

__all__ = ["list_of_user"]

_ORDER: Final = tuple_(purchases.c.time, purchases.c.order_id)
_ORDER_AFTER: Final = tuple_(bindparam("time", type_=DateTime(timezone=True)), bindparam("order_id", type_=Uuid))
_OF_USER: Final = (
    select(
        sold_lines.c.order_id,
        sold_lines.c.position,
        purchases.c.time,
        sold_lines.c.sku,
        sold_lines.c.name,
        sold_lines.c.category,
        sold_lines.c.quantity,
        sold_lines.c.unit_price,
    )
    .join_from(purchases, sold_lines, sold_lines.c.order_id == purchases.c.order_id)
    .where(purchases.c.user_id == bindparam("user_id", type_=Text))
    .order_by(purchases.c.time.desc(), purchases.c.order_id.desc(), sold_lines.c.position)
    .limit(bindparam("limit", type_=Integer))
)
_FIRST_PAGE: Final = prepare(_OF_USER)
_NEXT_PAGE: Final = prepare(
    # Up to the order that the page before ended in, which may have more lines.
    _OF_USER.where(
        _ORDER <= _ORDER_AFTER,
        or_(_ORDER < _ORDER_AFTER, sold_lines.c.position > bindparam("position", type_=Integer)),
    )
)


async def list_of_user(database: Database, user_id: str, limit: int, after: tuple[Any, ...] | None) -> list[SoldLine]:
    """Return up to *limit* lines that a user bought, newest first, after *after*: time, order_id, position."""
    if after is None:
        rows = await database.fetch_all(_FIRST_PAGE, user_id=user_id, limit=limit)
    else:
        position = dict(zip(("time", "order_id", "position"), after, strict=True))
        rows = await database.fetch_all(_NEXT_PAGE, user_id=user_id, limit=limit, **position)
    return [SoldLine(**row) for row in rows]
