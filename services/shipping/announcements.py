"""What others hear of a shipment, as `shop.shipping.v1` writes it. Where it goes is none of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from shop.shipping.v1 import events_pb2

from services.shipping.domain import Shipment, State

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from google.protobuf.message import Message

    from weft.data import Transaction

__all__ = ["Publisher", "announce"]

_EVENTS: Final[Mapping[State, Callable[..., Message]]] = {
    State.CREATED: events_pb2.ShipmentCreated,
    State.IN_TRANSIT: events_pb2.ShipmentDispatched,
    State.DELIVERED: events_pb2.ShipmentDelivered,
    State.RETURNED: events_pb2.ShipmentReturned,
    State.CANCELLED: events_pb2.ShipmentCancelled,
}


class Publisher(Protocol):
    """Where events go: the service's outbox."""

    async def publish(self, tx: Transaction, event: Message) -> None:
        """Publish *event* if and when *tx* commits."""


async def announce(publisher: Publisher, tx: Transaction, shipment: Shipment) -> None:
    """Publish that *shipment* has come to its state, in the transaction that makes it true.

    That an order was called off before it had a parcel is no news.
    """
    if shipment.parcel:
        event = _EVENTS[shipment.state](
            order_id=str(shipment.order_id),
            user_id=shipment.parcel.user_id,
            tracking_number=shipment.parcel.booking.tracking_number,
        )
        await publisher.publish(tx, event)
