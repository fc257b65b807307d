"""What becomes of carts and addresses when users tells that somebody has deleted their account.

A history is never changed, with this one exception: where an order was to go is taken out of the event that placed it.
To add an event that says so would leave the address in place; to encrypt addresses, and throw the key away, would have
every reader of a history ask for keys. Nothing else of a history is anybody's in particular once users has forgotten
who its `user_id` was. The address decides nothing any more once an order is at rest: what is made of the history,
`weft rebuild` included, is the same before and after, but for the address.

An order that is on its way still needs it, and loses it when it comes to rest. Who brings it there has the order's row
locked, and looks whether its user is forgotten when it is. So rows are locked here before they are looked at: either we
see that an order came to rest, or they see that its user is forgotten.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from shop.users.v1 import events_pb2
from sqlalchemy import ARRAY, Text, Uuid, any_, bindparam, delete, func, null, select, text, update
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.dialects.postgresql import insert as upsert

from services.orders.domain import FOLLOWED
from services.orders.tables import carts, forgotten_users, order_events, orders
from weft.data import forget_answers

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from uuid import UUID

    from google.protobuf.message import Message
    from sqlalchemy import Update

    from weft.data import Transaction
    from weft.events import Handler, Received

__all__ = ["forget_at_rest", "forget_carts", "handlers"]

_USER: Final = bindparam("of_user", type_=Text)
_UNDER_WAY: Final = orders.c.state.in_([state.value for state in FOLLOWED])
_REMEMBER: Final = (
    upsert(forgotten_users).values(user_id=_USER, delete_time=func.clock_timestamp()).on_conflict_do_nothing()
)
# Of the kind that updates take: after a rebuild's batch or before it, and never in a circle with it.
_LOCK_TABLE: Final = text("LOCK TABLE orders IN ROW EXCLUSIVE MODE")
_LOCK_UNDER_WAY: Final = (
    select(orders.c.order_id).where(orders.c.user_id == _USER, _UNDER_WAY).order_by(orders.c.order_id).with_for_update()
)
_AT_REST: Final = (
    update(orders)
    .where(orders.c.user_id == forgotten_users.c.user_id, ~_UNDER_WAY, orders.c.destination.is_not(None))
    .values(destination=null())
    .returning(orders.c.order_id, orders.c.user_id)
)
_AT_REST_OF: Final = _AT_REST.where(forgotten_users.c.user_id == _USER)
_AT_REST_AMONG: Final = _AT_REST.where(orders.c.order_id == any_(bindparam("ids", type_=ARRAY(Uuid))))
_REDACT: Final = (
    update(order_events)
    .where(order_events.c.order_id == any_(bindparam("ids", type_=ARRAY(Uuid))), order_events.c.version == 1)
    .values(data=func.jsonb_set(order_events.c.data, text("'{destination}'"), text("'null'"), type_=JSONB))
)
_DELETE_CART: Final = delete(carts).where(carts.c.user_id == _USER)
_CARTS: Final = select(carts.c.user_id).join(forgotten_users, carts.c.user_id == forgotten_users.c.user_id)


def handlers() -> Mapping[type[Message], Handler]:
    """Return what applies each event of the subscription `users`."""
    return {events_pb2.UserDeleted: _forget}


async def _forget(tx: Transaction, received: Received[Any]) -> None:
    """Forget what somebody meant to buy and where they live, and remember to forget it of orders that are on their way.

    Orders and carts are locked in the order in which an order that becomes certain locks them.
    """
    user = {"of_user": received.event.user_id}
    await tx.execute(_LOCK_TABLE)
    await tx.execute(_REMEMBER, user)
    await tx.execute(_LOCK_UNDER_WAY, user)
    await _redact(tx, _AT_REST_OF, user)
    await tx.execute(_DELETE_CART, user)
    await forget_answers(tx, about=received.event.user_id)


async def forget_at_rest(tx: Transaction, ids: Sequence[UUID]) -> None:
    """Forget where those of some orders were to go that are at rest, and whose users are forgotten.

    Their rows are locked by *tx*, which has just written them.
    """
    for row in await _redact(tx, _AT_REST_AMONG, {"ids": list(ids)}):
        # What was answered while the order was on its way still tells the address.
        await forget_answers(tx, about=row.user_id)


async def forget_carts(tx: Transaction, limit: int) -> int:
    """Delete up to *limit* carts of users who are forgotten; return how many were.

    For some minutes after that the tokens go on that they had, so they may have put something in again.
    """
    theirs = _CARTS.limit(limit).with_for_update(of=carts, skip_locked=True)
    return await tx.execute(delete(carts).where(carts.c.user_id.in_(theirs)))


async def _redact(tx: Transaction, which: Update, values: Mapping[str, object]) -> Sequence[Any]:
    """Take the address out of read model and history of *which*; return the order and user of each that had one."""
    forgotten = await tx.all(which, values)
    if forgotten:
        await tx.execute(_REDACT, {"ids": [row.order_id for row in forgotten]})
    return forgotten
