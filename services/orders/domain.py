"""Orders: what was bought, at which price, and what may become of it.

An order is what its history says: the fold of the events that were appended to it, one after another.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from services.orders.events import (
    Address,
    CancellationRefused,
    CancellationRequested,
    Cancelled,
    Confirmed,
    Delivered,
    Event,
    Line,
    Placed,
    Returned,
    Shipped,
    Tax,
)
from services.orders.money import Money
from services.orders.pricing import sum_of
from services.orders.refusals import CANCELLED_BY_USER, CancelledByUser, IllegalTransition

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from uuid import UUID

__all__ = [
    "FOLLOWED",
    "REPEATS",
    "TRANSITIONS",
    "Order",
    "Recorded",
    "State",
    "after",
    "changes",
    "first",
    "fold",
]


class State(StrEnum):
    """Where an order stands."""

    PENDING = "pending"
    CONFIRMED = "confirmed"
    CANCELLING = "cancelling"
    CANCELLED = "cancelled"
    SHIPPED = "shipped"
    DELIVERED = "delivered"
    RETURNED = "returned"


TRANSITIONS: Final[Mapping[tuple[State | None, type[Any]], State]] = {
    (None, Placed): State.PENDING,
    (State.PENDING, Confirmed): State.CONFIRMED,
    (State.PENDING, CancellationRequested): State.CANCELLING,
    (State.PENDING, Cancelled): State.CANCELLED,
    (State.CONFIRMED, CancellationRequested): State.CANCELLING,
    (State.CANCELLING, CancellationRefused): State.CONFIRMED,
    (State.CANCELLING, Cancelled): State.CANCELLED,
    # A parcel that leaves while its order is being called off has won: shipping then refuses to call it off.
    (State.CANCELLING, Shipped): State.SHIPPED,
    # What tells of a step may have been lost in a dead-letter queue; what tells of the next one says it all.
    (State.CANCELLING, Delivered): State.DELIVERED,
    (State.CANCELLING, Returned): State.RETURNED,
    (State.CONFIRMED, Shipped): State.SHIPPED,
    (State.CONFIRMED, Delivered): State.DELIVERED,
    (State.CONFIRMED, Returned): State.RETURNED,
    (State.SHIPPED, Delivered): State.DELIVERED,
    (State.SHIPPED, Returned): State.RETURNED,
    (State.DELIVERED, Returned): State.RETURNED,
}
"""What an event makes of an order; what is missing here, and is no repeat, is not allowed."""

REPEATS: Final = frozenset(
    {
        (State.CONFIRMED, Confirmed),
        (State.CANCELLING, CancellationRequested),
        (State.CANCELLED, CancellationRequested),
        (State.CANCELLED, Cancelled),
        # The parcel had won before shipping's refusal arrived.
        (State.SHIPPED, CancellationRefused),
        (State.DELIVERED, CancellationRefused),
        (State.RETURNED, CancellationRefused),
        (State.CONFIRMED, CancellationRefused),
        # Told twice, or late.
        (State.SHIPPED, Shipped),
        (State.DELIVERED, Shipped),
        (State.RETURNED, Shipped),
        (State.DELIVERED, Delivered),
        (State.RETURNED, Delivered),
        (State.RETURNED, Returned),
    }
)
"""Events that tell nothing new, and change nothing."""

FOLLOWED: Final = frozenset({State.PENDING, State.CONFIRMED, State.CANCELLING, State.SHIPPED})
"""States in which something is under way. What was delivered may come back one day, but nobody waits for that."""

_VERBS: Final[Mapping[type[Any], str]] = {
    Placed: "place",
    Confirmed: "confirm",
    CancellationRequested: "cancel",
    CancellationRefused: "keep",
    Cancelled: "cancel",
    Shipped: "ship",
    Delivered: "deliver",
    Returned: "return",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What one shopper bought."""

    order_id: UUID
    user_id: str
    state: State
    lines: tuple[Line, ...]
    shipping: Money
    """What sending it costs; nothing in orders from before that was charged."""
    taxes: tuple[Tax, ...]
    """Contained in the total; none in orders from before they were told."""
    total: Money
    """Of the lines and shipping."""
    destination: Address | None
    """None in orders from before there were shipments, and in those at rest whose users are forgotten."""
    create_time: datetime
    update_time: datetime
    """When its state last changed."""
    confirm_time: datetime | None = None
    """When it became certain, whatever became of it later."""
    cancel_reason: str = ""
    """Why it is, or is being, called off; empty otherwise."""
    version: int
    """Number of events that made it so."""

    @property
    def is_confirmed(self) -> bool:
        """Tell whether it has ever been certain."""
        return self.confirm_time is not None

    @property
    def is_refused(self) -> bool:
        """Tell whether it could never be had."""
        return self.state is State.CANCELLED and not self.is_confirmed

    @property
    def may_be_tried_again(self) -> bool:
        """Tell whether a repeat of the request may place another order: not where the shopper called this one off."""
        return self.is_refused and self.cancel_reason != CANCELLED_BY_USER

    @property
    def is_called_off(self) -> bool:
        """Tell whether it is, or is being, cancelled."""
        return self.state in (State.CANCELLING, State.CANCELLED)

    @property
    def unit_count(self) -> int:
        return sum(line.quantity for line in self.lines)


class Recorded(NamedTuple):
    """One event of a history."""

    version: int
    """From 1 on, without gaps."""
    event: Event
    time: datetime


def changes(order: Order, event: Event) -> bool:
    """Return whether *event* may happen to *order* and would change it; False where it tells nothing new.

    Raises:
        CancelledByUser: it would be confirmed, and is being called off.
        IllegalTransition: its state does not allow it.
    """
    if (order.state, type(event)) in REPEATS:
        return False
    if order.state is State.CANCELLING and not order.is_confirmed:
        if isinstance(event, Confirmed):
            raise CancelledByUser
        if not isinstance(event, Cancelled):  # there is nothing that it could be again, and no parcel
            raise _illegal(order.state, event)
    if (order.state, type(event)) not in TRANSITIONS:
        raise _illegal(order.state, event)
    return True


def after(order: Order, event: Event, *, now: datetime) -> Order:
    """Return what *event* makes of *order*; its times never go back, whatever the clocks of replicas say."""
    state = TRANSITIONS.get((order.state, type(event)))
    if state is None:
        raise _illegal(order.state, event)
    time = max(now, order.update_time)
    return replace(
        order,
        state=state,
        version=order.version + 1,
        update_time=time,
        confirm_time=time if isinstance(event, Confirmed) else order.confirm_time,
        cancel_reason=event.reason if isinstance(event, CancellationRequested | Cancelled) else "",
    )


def first(order_id: UUID, event: Event, *, now: datetime) -> Order:
    """Return the order that begins with *event*."""
    if not isinstance(event, Placed):
        raise _illegal("not placed", event)
    goods = sum_of(event.lines)
    shipping = event.shipping or Money.of_nanos(goods.currency, 0)
    return Order(
        order_id=order_id,
        user_id=event.user_id,
        state=TRANSITIONS[None, Placed],
        lines=event.lines,
        shipping=shipping,
        taxes=event.taxes,
        total=goods.plus(shipping),
        destination=event.destination,
        create_time=now,
        update_time=now,
        version=1,
    )


def fold(order_id: UUID, history: Iterable[Recorded]) -> Order | None:
    """Return what a history, oldest first, says of an order; None where it is empty."""
    order: Order | None = None
    for _, event, time in history:
        order = after(order, event, now=time) if order else first(order_id, event, now=time)
    return order


def _illegal(state: str, event: Event) -> IllegalTransition:
    verb = _VERBS[type(event)]
    return IllegalTransition(f"an order that is {state} can't {verb}", state=state, action=verb)
