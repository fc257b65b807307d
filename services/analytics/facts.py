"""Events read: what each of them means to reports."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Final
from uuid import UUID

from google.protobuf.message import Message
from shop.catalog.v1 import events_pb2 as catalog
from shop.orders.v1 import events_pb2 as orders
from shop.payments.v1 import events_pb2 as payments
from shop.users.v1 import events_pb2 as users

from services.analytics.domain import (
    NANOS,
    Captured,
    Fact,
    ForeignCurrency,
    Forgotten,
    Line,
    Offer,
    Refunded,
    Sale,
    from_nanos,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from google.type.money_pb2 import Money

    from services.analytics.history import Recorded

__all__ = ["HEARD", "fact_of", "require_currency"]

HEARD: Final[tuple[type[Message], ...]] = (
    orders.OrderConfirmed,
    payments.PaymentCaptured,
    payments.PaymentRefunded,
    catalog.ProductOffered,
    users.UserDeleted,
)
"""Messages of the contract's subscriptions."""
_KINDS: Final = {kind.DESCRIPTOR.full_name: kind for kind in HEARD}


def fact_of(event: Recorded) -> Fact:
    """Return what *event*, of one of the types `HEARD`, says. Raises ValueError for one that can't be."""
    match _KINDS[event.type].FromString(event.data):
        case orders.OrderConfirmed() as confirmed:
            lines = (Line(line.sku, line.quantity, _amount(line.unit_price)) for line in confirmed.lines)
            return Sale(
                order_id=UUID(confirmed.order_id), user_id=confirmed.user_id, time=event.time, lines=tuple(lines)
            )
        case payments.PaymentCaptured() as captured:
            return Captured(time=event.time, amount=_amount(captured.amount))
        case payments.PaymentRefunded() as refunded:
            return Refunded(time=event.time, amount=_amount(refunded.amount))
        case catalog.ProductOffered() as offered:
            return Offer(
                sku=offered.sku,
                time=event.time,
                sequence=event.sequence,
                name=offered.name,
                category=offered.category,
            )
        case users.UserDeleted() as deleted:
            return Forgotten(user_id=deleted.user_id)
        case _:
            raise ValueError(f"no report is made of {event.type}")


def require_currency(event: Message, currency: str) -> None:
    """Raise ForeignCurrency if *event* counts in another currency than *currency*.

    Reports have one sum for each line, so such an event must not be part of any, and must not be passed over either:
    it becomes a dead letter, where somebody sees it.
    """
    for sum_ in _sums(event):
        if sum_.currency_code != currency:
            raise ForeignCurrency(sum_.currency_code, currency)


def _sums(event: Message) -> Iterator[Money]:
    match event:
        case orders.OrderConfirmed():
            yield event.total
            yield from (line.unit_price for line in event.lines)
        case payments.PaymentCaptured() | payments.PaymentRefunded():
            yield event.amount
        case _:  # what a product costs is not reported
            return


def _amount(money: Money) -> Decimal:
    return from_nanos(money.units * NANOS + money.nanos)
