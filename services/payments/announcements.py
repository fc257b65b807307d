"""What others hear of a payment, as `shop.payments.v1` writes it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from google.type.money_pb2 import Money as MoneyMessage
from shop.payments.v1 import events_pb2

from services.payments.domain import Happening, Payment, happened
from services.payments.money import Money

if TYPE_CHECKING:
    from google.protobuf.message import Message

    from weft.data import Transaction

__all__ = ["Publisher", "announce", "message_of"]


class Publisher(Protocol):
    """Where events go: the service's outbox."""

    async def publish(self, tx: Transaction, event: Message) -> None:
        """Publish *event* if and when *tx* commits."""


async def announce(publisher: Publisher, tx: Transaction, before: Payment, after: Payment) -> None:
    """Publish what happened when *before* became *after*, in the transaction that makes it true."""
    for happening in happened(before, after):
        await publisher.publish(tx, _event(happening, before, after))


def message_of(money: Money) -> MoneyMessage:
    units, nanos = money.units_and_nanos
    return MoneyMessage(currency_code=money.currency, units=units, nanos=nanos)


def _event(happening: Happening, before: Payment, after: Payment) -> Message:
    order_id, user_id, amount = str(after.order_id), after.user_id, message_of(after.amount)
    match happening:
        case Happening.AUTHORIZED:
            return events_pb2.PaymentAuthorized(order_id=order_id, user_id=user_id, amount=amount)
        case Happening.DECLINED:
            return events_pb2.PaymentDeclined(
                order_id=order_id, user_id=user_id, amount=amount, decline_code=after.decline_code
            )
        case Happening.CAPTURED:
            return events_pb2.PaymentCaptured(order_id=order_id, user_id=user_id, amount=amount)
        case Happening.VOIDED:
            return events_pb2.PaymentVoided(order_id=order_id, user_id=user_id, amount=amount)
        case Happening.REFUNDED:
            currency = after.amount.currency
            return events_pb2.PaymentRefunded(
                order_id=order_id,
                user_id=user_id,
                amount=message_of(Money(currency, after.refunded_minor - before.refunded_minor)),
                refunded=message_of(Money(currency, after.refunded_minor)),
            )
