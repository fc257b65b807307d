"""What others hear of an order, as `shop.orders.v1` writes it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shop.orders.v1 import events_pb2

from services.orders.events import Cancelled, Confirmed, Delivered, Event, Placed, Shipped
from services.orders.messages import money_message

if TYPE_CHECKING:
    from google.protobuf.message import Message

    from services.orders.domain import Order

__all__ = ["announcement"]


def announcement(order: Order, event: Event) -> Message | None:
    """Return what to publish when *event* has made *order* what it is: not where anybody lives."""
    order_id, user_id = str(order.order_id), order.user_id
    match event:
        case Placed():
            return events_pb2.OrderPlaced(
                order_id=order_id, user_id=user_id, lines=_lines(order), total=money_message(order.total)
            )
        case Confirmed():
            return events_pb2.OrderConfirmed(
                order_id=order_id,
                user_id=user_id,
                lines=_lines(order),
                total=money_message(order.total),
                shipping=money_message(order.shipping),
            )
        case Cancelled(reason):
            return events_pb2.OrderCancelled(
                order_id=order_id, user_id=user_id, reason=reason, total=money_message(order.total)
            )
        case Shipped():
            return events_pb2.OrderShipped(order_id=order_id, user_id=user_id)
        case Delivered():
            return events_pb2.OrderDelivered(order_id=order_id, user_id=user_id)
        case _:
            return None


def _lines(order: Order) -> list[events_pb2.OrderedLine]:
    return [
        events_pb2.OrderedLine(
            product_id=str(line.product_id),
            sku=line.sku,
            quantity=line.quantity,
            unit_price=money_message(line.unit_price),
            name=line.name,
        )
        for line in order.lines
    ]
