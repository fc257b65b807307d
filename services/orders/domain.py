"""Orders: what was bought, at which price, and what may become of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Final, NamedTuple

from weft.errors import FailedPrecondition, InvalidArgument, NotFound, Unavailable, Violation

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from uuid import UUID

__all__ = [
    "Action",
    "CurrenciesDiffer",
    "DuplicateProducts",
    "Line",
    "Money",
    "Offer",
    "Order",
    "OrderNotFound",
    "PeerUnavailable",
    "ProductNotFound",
    "State",
    "UserDeactivated",
    "UserNotFound",
    "Wanted",
    "place",
    "require_distinct",
]

NANOS: Final = 1_000_000_000


class OrderNotFound(NotFound):
    """The caller has no order with this id; somebody else may have."""

    def __init__(self, order_id: object) -> None:
        super().__init__(f"no order {order_id}", order_id=order_id)


class ProductNotFound(NotFound):
    """Products don't exist or are off sale; `violations` names the line of each, as does the metadata `lines`."""


class DuplicateProducts(InvalidArgument):
    """A product stands in more than one line; `violations` names each line after its first."""


class CurrenciesDiffer(FailedPrecondition):
    """The products are priced in different currencies, which have no sum."""


class IllegalTransition(FailedPrecondition):
    """The order's state does not allow it."""


class UserDeactivated(FailedPrecondition):
    """The caller's account may not be used any more."""

    def __init__(self, user_id: str) -> None:
        super().__init__(f"user {user_id} is deactivated", user_id=user_id)


class UserNotFound(NotFound):
    """The caller has no account."""

    def __init__(self, user_id: str) -> None:
        super().__init__(f"no user {user_id}", user_id=user_id)


class PeerUnavailable(Unavailable):
    """A service that is needed can't answer now; nothing was done."""

    def __init__(self, peer: str, *, retry_after_s: float) -> None:
        super().__init__(f"{peer} can't answer at the moment; try again", retry_after_s=retry_after_s, peer=peer)


class Money(NamedTuple):
    """A sum in a currency (ISO 4217): whole units, and nano units in [0, 999,999,999]. Never negative."""

    currency: str
    units: int
    nanos: int

    def times(self, factor: int) -> Money:
        """Return *factor* times this, exactly."""
        units, nanos = divmod((self.units * NANOS + self.nanos) * factor, NANOS)
        return Money(self.currency, units, nanos)

    def plus(self, other: Money) -> Money:
        """Return the exact sum. Raises CurrenciesDiffer."""
        if other.currency != self.currency:
            raise CurrenciesDiffer("products in different currencies can't be in one order")
        carry, nanos = divmod(self.nanos + other.nanos, NANOS)
        return Money(self.currency, self.units + other.units + carry, nanos)


class State(StrEnum):
    """Where an order stands."""

    CONFIRMED = "confirmed"
    CANCELLED = "cancelled"


class Action(StrEnum):
    """What may be done to an order."""

    CANCEL = "cancel"


TRANSITIONS: Final[Mapping[tuple[State, Action], State]] = {
    (State.CONFIRMED, Action.CANCEL): State.CANCELLED,
    (State.CANCELLED, Action.CANCEL): State.CANCELLED,  # cancelling twice changes nothing
}
"""What is missing here is not allowed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """How many of which product somebody asks for."""

    product_id: UUID
    quantity: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """A product as the catalog has it at this moment."""

    sku: str
    name: str
    unit_price: Money


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One product of an order, as it was when the order was placed."""

    product_id: UUID
    sku: str
    name: str
    unit_price: Money
    quantity: int

    @property
    def total(self) -> Money:
        return self.unit_price.times(self.quantity)


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What one shopper bought. Only its state ever changes."""

    order_id: UUID
    user_id: str
    state: State
    lines: tuple[Line, ...]
    total: Money
    create_time: datetime
    update_time: datetime

    def apply(self, action: Action, *, now: datetime) -> Order:
        """Return the order after *action*; where that changes nothing, the order itself.

        Raises:
            IllegalTransition: the order's state does not allow it.
        """
        state = TRANSITIONS.get((self.state, action))
        if state is None:
            raise IllegalTransition(f"an order that is {self.state} can't {action}", state=self.state, action=action)
        return self if state is self.state else replace(self, state=state, update_time=now)


def require_distinct(lines: Sequence[Wanted]) -> None:
    """Raise DuplicateProducts if a product stands in more than one line."""
    first: dict[UUID, int] = {}
    violations = [
        Violation(f"lines[{index}].productId", f"is the product of lines[{first[line.product_id]}] too")
        for index, line in enumerate(lines)
        if first.setdefault(line.product_id, index) != index
    ]
    if violations:
        raise DuplicateProducts("each product may stand in one line only", violations=violations)


def place(
    lines: Sequence[Wanted], offers: Mapping[UUID, Offer], *, order_id: UUID, user_id: str, now: datetime
) -> Order:
    """Return the order for *lines*, at least one, at the prices of *offers*.

    Raises:
        ProductNotFound: for some lines there is no offer.
        CurrenciesDiffer: the sum does not exist.
    """
    missing = [index for index, line in enumerate(lines) if line.product_id not in offers]
    if missing:
        names = [f"lines[{index}]" for index in missing]
        raise ProductNotFound(
            f"no product on sale for {', '.join(names)}",
            violations=[Violation(f"{name}.productId", "is no product on sale") for name in names],
            lines=",".join(map(str, missing)),
            product_ids=",".join(str(lines[index].product_id) for index in missing),
        )
    bought = tuple(_line(line, offers[line.product_id]) for line in lines)
    total = bought[0].total
    for line in bought[1:]:
        total = total.plus(line.total)
    return Order(
        order_id=order_id,
        user_id=user_id,
        state=State.CONFIRMED,
        lines=bought,
        total=total,
        create_time=now,
        update_time=now,
    )


def _line(wanted: Wanted, offer: Offer) -> Line:
    return Line(
        product_id=wanted.product_id,
        sku=offer.sku,
        name=offer.name,
        unit_price=offer.unit_price,
        quantity=wanted.quantity,
    )
