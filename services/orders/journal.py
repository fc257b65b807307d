"""Writes what happens to orders: history, read models and published event in one transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from services.orders import announcements, projections, store
from services.orders.domain import FOLLOWED, Order, Recorded, after, changes, first
from services.orders.forgetting import forget_at_rest
from services.orders.refusals import OrderChanged, OrderNotFound

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime
    from uuid import UUID

    from services.orders.events import Event, Placed
    from weft.data import Transaction
    from weft.events.outbox import Outbox

__all__ = ["Journal", "Written"]

ATTEMPTS: Final = 10
"""Each is lost to a change of somebody else's that was committed: all are, only where an order never rests."""


class Written(NamedTuple):
    """What became of a change."""

    order: Order
    """As it is in the transaction."""
    is_new: bool
    """False where the change said nothing new."""


class Journal:
    """The histories of orders, as they are written.

    Args:
        outbox: Takes the events that others hear.
    """

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox

    async def begin(self, tx: Transaction, order_id: UUID, event: Placed, *, now: datetime) -> Order:
        """Begin the history of a new order. *order_id* must never have been used."""
        order = first(order_id, event, now=now)
        if not await self._write(tx, order, event):
            raise OrderChanged(order_id)
        return order

    async def change(
        self, tx: Transaction, order_id: UUID, event: Event | Callable[[Order], Event], *, now: datetime
    ) -> Written:
        """Append *event*, or what it says of the order as it is, unless that tells nothing new.

        Others who change the order at the same time are waited for; the decision is made anew on what they made of it.

        Raises:
            OrderNotFound: it has no history.
            IllegalTransition, CancelledByUser: it may not happen to the order as it is.
            OrderChanged: it never was the same for long enough.
        """
        for _ in range(ATTEMPTS):
            order = await store.find_order(tx, order_id)
            if order is None:
                raise OrderNotFound(order_id)
            chosen = event(order) if callable(event) else event
            if not changes(order, chosen):
                return Written(order, is_new=False)
            changed = after(order, chosen, now=now)
            if await self._write(tx, changed, chosen):
                return Written(changed, is_new=True)
        raise OrderChanged(order_id)

    async def _write(self, tx: Transaction, order: Order, event: Event) -> bool:
        """Write that *event* made *order* what it is; return False where something else happened first."""
        if not await store.append(tx, order.order_id, Recorded(order.version, event, order.update_time)):
            return False
        await projections.project(tx, order)
        if order.state not in FOLLOWED:  # after that: see there
            await forget_at_rest(tx, [order.order_id])
        if (message := announcements.announcement(order, event)) is not None:
            await self._outbox.publish(tx, message)
        return True
