"""What was found after a run: plain values, each from the part that owns it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from scripts.lib.chaos.records import (
    Invoice,
    Mail,
    Notice,
    Notification,
    Person,
    Quote,
    Refund,
    Reports,
    Tax,
)

__all__ = [
    "LIVE",
    "Answer",
    "BrokerEvent",
    "Charge",
    "DeadLetter",
    "Evidence",
    "Order",
    "OutboxEvent",
    "Payment",
    "Request",
    "Reservation",
    "Saga",
    "SagaEntry",
    "Shipment",
    "StockChange",
    "StockLevel",
    "money",
]

LIVE: Final = frozenset({"CONFIRMED", "SHIPPED", "DELIVERED", "RETURNED"})
"""States of an order that is paid, and whose goods are sold."""
EPOCH: Final = datetime.fromtimestamp(0, UTC)
NANOS: Final = 1_000_000_000


def money(nanos: int) -> str:
    """Return an amount as a person writes it."""
    sign = "-" if nanos < 0 else ""
    units, rest = divmod(abs(nanos), NANOS)
    return f"{sign}{units}.{rest // 10_000_000:02d}" if rest % 10_000_000 == 0 else f"{sign}{units}.{rest:09d}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a shopper was told.

    Attributes:
        asked_s, at_s: when it was asked for, and when it came.
        call: `place`, `cancel`, `get`, `list` or `watch`.
        key: the idempotency key, where the call had one.
        stream: which of the shopper's watches it came from, counted over all shoppers.
        state: of the order, without `STATE_`; empty where the answer is a refusal.
        reason: of a refusal, or why an order that is CANCELLED is off; empty otherwise.
    """

    asked_s: float
    at_s: float
    call: str
    user_id: str
    order_id: str
    state: str = ""
    reason: str = ""
    key: str = ""
    stream: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """An order somebody asked for, under one idempotency key, however often.

    Attributes:
        lines: SKU -> units.
        is_from_cart: whether it was a check-out of what is in the cart.
        total: what the shopper saw that the cart costs, in nanos.
    """

    user_id: str
    payment_method: str
    lines: Mapping[str, int]
    is_from_cart: bool = False
    total: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """A row of orders.

    Attributes:
        total: in nanos of the currency, as all amounts here.
        shipping: the part of the total that is for sending it.
        lines: SKU -> units.
        goods: SKU -> what all units of it cost.
        taxes: contained in the total.
        was_confirmed: whether it ever was certain, whatever became of it.
        history: types of the events it is made of, in order.
    """

    order_id: str
    user_id: str
    state: str
    cancel_reason: str
    total: int
    lines: Mapping[str, int]
    shipping: int = 0
    goods: Mapping[str, int] = field(default_factory=dict)
    taxes: tuple[Tax, ...] = ()
    was_confirmed: bool = False
    history: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Saga:
    """A row of the sagas. *failure* is the reason of what went wrong, if anything."""

    saga_id: str
    order_id: str
    definition: str
    status: str
    failure: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SagaEntry:
    """A line of a saga's log. *kind* is one of `weft.saga`'s; *holder* the replica that wrote it."""

    saga_id: str
    number: int
    time: datetime
    step: str
    kind: str
    attempt: int
    holder: str
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Payment:
    """A row of payments; amounts in nanos."""

    order_id: str
    state: str
    amount: int
    refunded: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Charge:
    """What the provider held, took and gave back for one order; amounts in nanos.

    Attributes:
        authorisations: times that money was held, whatever became of it.
        held: what is neither taken nor let go.
    """

    order_id: str
    authorisations: int
    held: int
    captured: int
    refunded: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StockLevel:
    """A row of stock. *threshold* is how many on hand are few."""

    sku: str
    on_hand: int
    reserved: int
    sold: int
    threshold: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class StockChange:
    """A line of the stock's ledger: what it added to each level, in the order of the ledger."""

    sku: str
    number: int
    kind: str
    order_id: str
    on_hand: int
    reserved: int
    sold: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Reservation:
    """A row of reservations."""

    order_id: str
    state: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Shipment:
    """A row of shipments."""

    order_id: str
    shipment_id: str
    state: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboxEvent:
    """A row of an outbox. *user_id* and *reason* are of the message, where it has them."""

    source: str
    sequence: int
    event_id: str
    type: str
    subject: str
    time: datetime
    is_published: bool
    user_id: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerEvent:
    """A message on the broker, in its order."""

    event_id: str
    type: str
    source: str
    subject: str
    sequence: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """What a subscription gave up."""

    subscription: str
    event_id: str
    type: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """All of it.

    Attributes:
        stocked: SKU -> units put on the shelves.
        cancels: orders that their shopper asked to cancel, whatever came of it.
        subscriptions: name -> types of events.
        inbox: subscription -> id of each event it has applied -> when.
        began: when the clock of the answers was at 0.
        on_broker: every event that reached the broker, copies included; None where it can't be asked.
        requests: idempotency key -> what was asked for.
        cards_kept: orders for which a token of a payment method is still stored.
        undoable: definition of a saga -> its steps that have something to undo.
        lease_s: the shortest time for which a replica holds a saga.
        scarce: SKUs of which shoppers want more than there are.
        people: by their ids.
        reports: what analytics had derived when all was quiet.
        rebuilt: the same after it was told to derive it anew.
        shown: SKU -> every word that the catalog had for how much there is of it, asked several times.
        added: user and SKU -> units that were put into their cart.
        removed: user and SKU of what was, perhaps, taken out of a cart.
        carts: user and SKU -> units that are in their cart.
        quotes: what shoppers were told that their carts would cost.
    """

    answers: tuple[Answer, ...] = ()
    requests: Mapping[str, Request] = field(default_factory=dict)
    scarce: frozenset[str] = frozenset()
    cancels: frozenset[str] = frozenset()
    stocked: Mapping[str, int] = field(default_factory=dict)
    orders: tuple[Order, ...] = ()
    sagas: tuple[Saga, ...] = ()
    saga_log: tuple[SagaEntry, ...] = ()
    undoable: Mapping[str, frozenset[str]] = field(default_factory=dict)
    lease_s: float = 0.0
    payments: tuple[Payment, ...] = ()
    cards_kept: frozenset[str] = frozenset()
    charges: tuple[Charge, ...] = ()
    levels: tuple[StockLevel, ...] = ()
    changes: tuple[StockChange, ...] = ()
    reservations: tuple[Reservation, ...] = ()
    shipments: tuple[Shipment, ...] = ()
    outbox: tuple[OutboxEvent, ...] = ()
    subscriptions: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    inbox: Mapping[str, Mapping[str, datetime]] = field(default_factory=dict)
    began: datetime = EPOCH
    on_broker: tuple[BrokerEvent, ...] | None = None
    dead_letters: tuple[DeadLetter, ...] = ()
    people: Mapping[str, Person] = field(default_factory=dict)
    notices: tuple[Notice, ...] = ()
    notifications: tuple[Notification, ...] = ()
    mails: tuple[Mail, ...] = ()
    invoices: tuple[Invoice, ...] = ()
    refunds: tuple[Refund, ...] = ()
    reports: Reports = field(default_factory=Reports)
    rebuilt: Reports = field(default_factory=Reports)
    shown: Mapping[str, frozenset[str]] = field(default_factory=dict)
    added: Mapping[tuple[str, str], int] = field(default_factory=dict)
    removed: frozenset[tuple[str, str]] = frozenset()
    carts: Mapping[tuple[str, str], int] = field(default_factory=dict)
    quotes: tuple[Quote, ...] = ()
