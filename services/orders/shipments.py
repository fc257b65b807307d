"""What becomes of orders when shipping tells of their parcels."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any
from uuid import UUID

from shop.shipping.v1 import events_pb2

from services.orders.events import Delivered, Returned, Shipped

if TYPE_CHECKING:
    from collections.abc import Mapping

    from google.protobuf.message import Message

    from services.orders.events import Event
    from services.orders.journal import Journal
    from weft.data import Transaction
    from weft.events.received import Handler, Received

__all__ = ["handlers"]


def handlers(journal: Journal) -> Mapping[type[Message], Handler]:
    """Return what applies each event of the subscription `shipments`."""
    return {
        events_pb2.ShipmentDispatched: partial(_note, journal, Shipped()),
        events_pb2.ShipmentDelivered: partial(_note, journal, Delivered()),
        events_pb2.ShipmentReturned: partial(_note, journal, Returned()),
    }


async def _note(journal: Journal, event: Event, tx: Transaction, received: Received[Any]) -> None:
    """Append *event*. What says nothing new, being late or told twice, is applied by doing nothing.

    Raises:
        OrderNotFound, IllegalTransition: it can't be true; a person has to look at the dead letter.
    """
    await journal.change(tx, UUID(received.event.order_id), event, now=received.time)
