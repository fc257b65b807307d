"""What others' events are reasons to tell somebody, written down in the transaction that notes the event as applied.

Nobody is asked here how to reach whom, so an event is applied whatever becomes of `users` or of a channel.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from shop.inventory.v1 import events_pb2 as inventory
from shop.orders.v1 import events_pb2 as orders
from shop.payments.v1 import events_pb2 as payments
from shop.shipping.v1 import events_pb2 as shipping
from shop.users.v1 import events_pb2 as users

from services.notifications import forgetting_store, store
from services.notifications.domain import Notice, Template

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from google.protobuf.message import Message
    from google.type.money_pb2 import Money

    from weft.data import Transaction
    from weft.events import Handler, Received

    Occasion = tuple[Template, str | None, str, Mapping[str, Any]]
    """What, whom (None: all administrators), about what, and what there is to say of it."""

__all__ = ["handlers", "occasion"]

PAYMENT_DECLINED: Final = "PAYMENT_DECLINED"


def handlers(wake: Callable[[], object]) -> Mapping[type[Message], Handler]:
    """Return what applies each event of the contract's subscriptions; *wake* is called when there is more to do."""
    return {**{kind: partial(_note, wake) for kind in _OCCASIONS}, users.UserDeleted: _forget}


async def _note(wake: Callable[[], object], tx: Transaction, received: Received[Any]) -> None:
    if (found := occasion(received.event)) is None:
        return
    template, user_id, subject, facts = found
    notice = Notice(event_id=UUID(received.id), template=template, user_id=user_id, subject=subject, facts=facts)
    await store.add_notice(tx, notice)

    async def tell() -> None:
        wake()

    tx.after_commit(tell)


async def _forget(tx: Transaction, received: Received[users.UserDeleted]) -> None:
    """Forget a user. Whoever is sending them something has asked `users` just before, and writes nothing down."""
    await forgetting_store.forget(tx, received.event.user_id)


def occasion(event: Message) -> Occasion | None:
    """Return what *event* is a reason to tell; None where nobody needs to hear of it."""
    return _OCCASIONS[type(event)](event)


def _registered(event: users.UserRegistered) -> Occasion:
    return Template.WELCOME, event.user_id, "", {}


def _confirmed(event: orders.OrderConfirmed) -> Occasion:
    lines = [
        {
            "sku": line.sku,
            "name": line.name or line.sku,
            "quantity": line.quantity,
            "unit_price": _money(line.unit_price),
        }
        for line in event.lines
    ]
    sending = _money(event.shipping) if event.HasField("shipping") else None
    return (
        Template.ORDER_CONFIRMED,
        event.user_id,
        event.order_id,
        {"lines": lines, "shipping": sending, "total": _money(event.total)},
    )


def _cancelled(event: orders.OrderCancelled) -> Occasion | None:
    """What a shopper calls off needs no mail: they know, and hear of their money from payments."""
    if event.reason != PAYMENT_DECLINED:
        return None
    return Template.PAYMENT_FAILED, event.user_id, event.order_id, {"total": _money(event.total)}


def _dispatched(event: shipping.ShipmentDispatched) -> Occasion:
    return Template.ORDER_SHIPPED, event.user_id, event.order_id, {"tracking_number": event.tracking_number}


def _delivered(event: shipping.ShipmentDelivered) -> Occasion:
    return Template.ORDER_DELIVERED, event.user_id, event.order_id, {}


def _refunded(event: payments.PaymentRefunded) -> Occasion:
    facts = {"amount": _money(event.amount), "refunded": _money(event.refunded)}
    return Template.REFUNDED, event.user_id, event.order_id, facts


def _low(event: inventory.StockLow) -> Occasion:
    facts = {"on_hand": event.on_hand, "low_stock_threshold": event.low_stock_threshold}
    return Template.STOCK_LOW, None, event.sku, facts


def _money(money: Money) -> Mapping[str, Any]:
    return {"currency": money.currency_code, "units": money.units, "nanos": money.nanos}


_OCCASIONS: Final[Mapping[type[Message], Callable[[Any], Occasion | None]]] = {
    users.UserRegistered: _registered,
    orders.OrderConfirmed: _confirmed,
    orders.OrderCancelled: _cancelled,
    shipping.ShipmentDispatched: _dispatched,
    shipping.ShipmentDelivered: _delivered,
    payments.PaymentRefunded: _refunded,
    inventory.StockLow: _low,
}
