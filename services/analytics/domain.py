"""What events say, as far as reports need it, and what shoppers did."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Context, Decimal, Inexact
from enum import StrEnum
from typing import TYPE_CHECKING, Final, NamedTuple
from uuid import UUID

from weft.errors import FailedPrecondition, InvalidArgument, ResourceExhausted

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "EXACT",
    "NANOS",
    "Behaviour",
    "Captured",
    "Fact",
    "ForeignCurrency",
    "Forgotten",
    "InvalidFields",
    "Kind",
    "Line",
    "Offer",
    "OrderConfirmedTwice",
    "Refunded",
    "Sale",
    "SoldLine",
    "TooManyDownloads",
    "from_nanos",
    "in_nanos",
    "noted_time",
]

NANOS: Final = 1_000_000_000
EXACT: Final = Context(prec=200, traps=[Inexact])
"""Never rounds: whatever needs more digits than that is no sum of money."""
_NANO_DIGITS: Final = 9
CLOCK_TOLERANCE: Final = timedelta(days=1)
RETRY_AFTER_S: Final = 10.0


class ForeignCurrency(FailedPrecondition):
    """An event speaks of another currency than the shop's, and sums in two currencies are none."""

    def __init__(self, currency: str, expected: str) -> None:
        super().__init__(f"amounts here are in {expected}, not in {currency}", currency=currency, expected=expected)


class OrderConfirmedTwice(FailedPrecondition):
    """Another event has confirmed the order; orders promises one."""

    def __init__(self, order_ids: Iterable[UUID]) -> None:
        names = ",".join(map(str, order_ids))
        super().__init__(f"confirmed by another event already: {names}", order_ids=names)


class InvalidFields(InvalidArgument):
    """What was sent can't be; `violations` lists all of it."""


class TooManyDownloads(ResourceExhausted):
    """Each holds a connection to the database until it ends."""

    def __init__(self, most: int) -> None:
        super().__init__(f"{most} downloads are under way; try later", retry_after_s=RETRY_AFTER_S, most=most)


def from_nanos(nanos: int) -> Decimal:
    """Return a sum of so many nano units in whole units, exactly."""
    return EXACT.scaleb(Decimal(nanos), -_NANO_DIGITS)


def in_nanos(amount: Decimal) -> int:
    """Return how many nano units *amount* is. Raises `decimal.Inexact` for what is no multiple of one."""
    return int(EXACT.to_integral_exact(EXACT.scaleb(amount, _NANO_DIGITS)))


class Line(NamedTuple):
    """Some units of one product."""

    sku: str
    quantity: int
    unit_price: Decimal
    """In whole units of the shop's currency."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sale:
    """An order that was confirmed."""

    order_id: UUID
    user_id: str
    time: datetime
    lines: tuple[Line, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """What a product is called and where it belongs from a time on."""

    sku: str
    time: datetime
    sequence: int
    """Tells which is the later of two of the same time."""
    name: str
    category: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Captured:
    """Money that was taken for an order."""

    time: datetime
    amount: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Refunded:
    """Money that was given back."""

    time: datetime
    amount: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Forgotten:
    """Somebody has deleted their account. What they bought stays in all sums, and what they did in all counts."""

    user_id: str


Fact = Sale | Offer | Captured | Refunded | Forgotten
"""What one event of the history means to reports."""


class Kind(StrEnum):
    """What a shopper did."""

    VIEWED = "viewed"
    SEARCHED = "searched"
    ADDED_TO_CART = "added_to_cart"


@dataclass(frozen=True, slots=True, kw_only=True)
class Behaviour:
    """Something a shopper did."""

    event_id: UUID
    kind: Kind
    visitor_id: str = field(repr=False)
    product_id: UUID | None
    time: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class SoldLine:
    """Some units of one product that somebody bought."""

    order_id: UUID
    position: int
    """In its order."""
    time: datetime
    """When the order was confirmed."""
    sku: str
    name: str
    """Of the time of the sale, as the category."""
    category: str
    quantity: int
    unit_price: Decimal
    """In whole units of the shop's currency."""


def noted_time(told: datetime | None, now: datetime) -> datetime:
    """Return when something was done: as the client says, unless its clock is more than a day off."""
    return now if told is None or abs(told - now) > CLOCK_TOLERANCE else told
