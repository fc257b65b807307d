"""What those keep who follow the orders, and what they show: mails, invoices, reports, shelves, carts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = [
    "Invoice",
    "Mail",
    "Notice",
    "Notification",
    "Period",
    "Person",
    "Quote",
    "Refund",
    "Reports",
    "Sold",
    "Tax",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """A row of users."""

    user_id: str
    email: str
    is_admin: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """What notifications has to tell because of an event; without a user to all administrators."""

    event_id: str
    template: str
    user_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Notification:
    """A notice for one user by one channel."""

    notification_id: str
    event_id: str
    user_id: str
    channel: str
    state: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Mail:
    """What the mail server has taken.

    Attributes:
        notification_id: as its Message-ID says.
        recipients: to whom it was handed over.
        to: to whom it says it is.
        digest: of all of it.
    """

    message_id: str
    notification_id: str
    recipients: tuple[str, ...]
    to: str
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Tax:
    """A tax that a total contains; amounts in nanos."""

    rate_percent: str
    gross: int
    tax: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Invoice:
    """An invoice or a credit note; amounts in nanos.

    Attributes:
        issued_s: when it says that it was issued, since 1970.
        corrects: of a credit note, the number of the invoice that it takes back.
        sums: what its lines and the sending sum to.
        lines: SKU -> units.
    """

    year: int
    ordinal: int
    kind: str
    order_id: str
    issued_s: float
    total: int
    sums: int
    lines: Mapping[str, int]
    taxes: tuple[Tax, ...] = ()
    corrects: tuple[int, int] | None = None

    @property
    def number(self) -> str:
        return f"{self.year:04d}-{self.ordinal:06d}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Refund:
    """A row of refunds; *amount* in nanos."""

    order_id: str
    amount: int
    state: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Period:
    """What reports say of all days together, made of periods of one kind; amounts in nanos."""

    orders: int
    units: int
    revenue: int
    captured: int
    refunded: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Sold:
    """What reports say of one SKU or one category, made of periods of one kind; *revenue* in nanos."""

    orders: int
    units: int
    revenue: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Reports:
    """All that analytics has derived.

    Attributes:
        sales: kind of period -> the sum of all periods of that kind.
        by_sku: kind of period and SKU -> the same for one product.
        by_category: kind of period and category -> the same for one category.
        rows: table -> its rows, in words.
    """

    sales: Mapping[str, Period] = field(default_factory=dict)
    by_sku: Mapping[tuple[str, str], Sold] = field(default_factory=dict)
    by_category: Mapping[tuple[str, str], Sold] = field(default_factory=dict)
    rows: Mapping[str, frozenset[str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Quote:
    """What a shopper was told that their cart would cost; amounts in nanos."""

    user_id: str
    number: int
    goods: int
    shipping: int
    total: int
    taxes: tuple[Tax, ...]
