"""Orders as the contracts write them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from google.protobuf.timestamp_pb2 import Timestamp
from google.type.money_pb2 import Money as MoneyMessage
from shop.orders.v1 import orders_pb2 as pb
from shop.shipping.v1 import shipping_pb2

from services.orders.domain import State
from services.orders.events import Address
from services.orders.money import Money

if TYPE_CHECKING:
    from services.orders.cart import PricedCart
    from services.orders.domain import Order
    from services.orders.events import Line, Tax

__all__ = [
    "STATES",
    "address_message",
    "address_of",
    "cart_message",
    "money_message",
    "money_of",
    "order_message",
    "tax_message",
    "time_of",
]

STATES: Final = {
    State.PENDING: pb.Order.STATE_PENDING,
    State.CONFIRMED: pb.Order.STATE_CONFIRMED,
    State.CANCELLING: pb.Order.STATE_CANCELLING,
    State.CANCELLED: pb.Order.STATE_CANCELLED,
    State.SHIPPED: pb.Order.STATE_SHIPPED,
    State.DELIVERED: pb.Order.STATE_DELIVERED,
    State.RETURNED: pb.Order.STATE_RETURNED,
}
_NANOS_IN_MICROSECOND: Final = 1000
_FIRST_SECOND: Final = int(datetime(1, 1, 1, tzinfo=UTC).timestamp())
_LAST_SECOND: Final = int(datetime(9999, 12, 31, tzinfo=UTC).timestamp())


def order_message(order: Order) -> pb.Order:
    return pb.Order(
        order_id=str(order.order_id),
        user_id=order.user_id,
        state=STATES[order.state],
        lines=map(_line, order.lines),
        total=money_message(order.total),
        create_time=_timestamp(order.create_time),
        update_time=_timestamp(order.update_time),
        cancel_reason=order.cancel_reason,
        destination=address_message(order.destination) if order.destination else None,
        shipping=money_message(order.shipping),
        taxes=map(tax_message, order.taxes),
    )


def cart_message(cart: PricedCart) -> pb.Cart:
    return pb.Cart(
        lines=map(_line, cart.lines),
        subtotal=money_message(cart.subtotal) if cart.subtotal else None,
        unavailable_product_ids=map(str, cart.unavailable),
        sold_out_product_ids=map(str, cart.sold_out),
        update_time=_timestamp(cart.update_time) if cart.update_time else None,
    )


def money_message(money: Money) -> MoneyMessage:
    return MoneyMessage(currency_code=money.currency, units=money.units, nanos=money.nanos)


def money_of(message: MoneyMessage) -> Money:
    return Money(message.currency_code, message.units, message.nanos)


def tax_message(tax: Tax) -> pb.TaxLine:
    return pb.TaxLine(rate_percent=tax.rate_percent, gross=money_message(tax.gross), tax=money_message(tax.tax))


def address_message(address: Address) -> shipping_pb2.Address:
    return shipping_pb2.Address(
        recipient=address.recipient,
        street_lines=address.street_lines,
        postal_code=address.postal_code,
        city=address.city,
        country_code=address.country_code,
    )


def address_of(message: shipping_pb2.Address) -> Address:
    return Address(
        recipient=message.recipient,
        street_lines=tuple(message.street_lines),
        postal_code=message.postal_code,
        city=message.city,
        country_code=message.country_code,
    )


def time_of(message: Timestamp) -> datetime:
    """Return the first instant that a database can keep and that isn't before *message*'s.

    Times beyond the years 1 to 9999, in which no order was placed, become the nearest within.
    """
    seconds = min(max(message.seconds, _FIRST_SECOND), _LAST_SECOND)
    micros = -(-message.nanos // _NANOS_IN_MICROSECOND)
    return Timestamp(seconds=seconds + micros // 1_000_000, nanos=micros % 1_000_000 * 1000).ToDatetime(UTC)


def _line(line: Line) -> pb.OrderLine:
    return pb.OrderLine(
        product_id=str(line.product_id),
        sku=line.sku,
        name=line.name,
        unit_price=money_message(line.unit_price),
        quantity=line.quantity,
        total=money_message(line.total),
    )


def _timestamp(time: datetime) -> Timestamp:
    stamp = Timestamp()
    stamp.FromDatetime(time)
    return stamp
