"""Deliveries read into events."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

from google.protobuf.message import DecodeError, Message
from mesh.events.v1.event_pb2 import Event

from weft.events.broker import DeadLetter, Delivery
from weft.events.received import Handler, Received

__all__ = ["UNKNOWN_TYPE", "UNPARSABLE", "Arrival", "Route", "Routes", "Unreadable", "dead_letter", "read"]

UNPARSABLE: Final = "UNPARSABLE"
UNKNOWN_TYPE: Final = "UNKNOWN_TYPE"


@dataclass(frozen=True, slots=True)
class Route:
    message: type[Message]
    handler: Handler


Routes = Mapping[str, Route]
"""Full name of an event's message -> what to do with it."""


class Unreadable(Exception):
    """No attempt will ever apply this delivery."""

    def __init__(self, reason: str, event: Event) -> None:
        super().__init__(reason)
        self.reason = reason
        self.event = event
        """What could be read of it."""


@dataclass(frozen=True, slots=True, eq=False)
class Arrival:
    """A delivery that can be applied."""

    delivery: Delivery
    envelope: Event
    event_id: UUID
    route: Route
    message: Message

    def received(self, attempt: int) -> Received[Message]:
        """Return what a handler gets."""
        envelope = self.envelope
        return Received(
            id=envelope.id,
            type=envelope.type,
            source=envelope.source,
            subject=envelope.subject,
            sequence=envelope.sequence,
            time=envelope.time.ToDatetime(tzinfo=UTC),
            attempt=attempt,
            event=self.message,
        )


def read(delivery: Delivery, routes: Routes) -> Arrival:
    """Read a delivery. Raises Unreadable."""
    envelope = Event()
    try:
        envelope.ParseFromString(delivery.data)
        event_id = UUID(envelope.id)
    except (DecodeError, ValueError):
        raise Unreadable(UNPARSABLE, envelope) from None
    route = routes.get(envelope.type)
    if route is None:
        raise Unreadable(UNKNOWN_TYPE, envelope)
    try:
        message = route.message.FromString(envelope.data)
    except DecodeError:
        raise Unreadable(UNPARSABLE, envelope) from None
    return Arrival(delivery, envelope, event_id, route, message)


def dead_letter(subscription: str, delivery: Delivery, event: Event, reason: str, attempts: int) -> DeadLetter:
    return DeadLetter(
        id=event.id or delivery.message_id,
        subscription=subscription,
        type=event.type,
        source=event.source,
        subject=event.subject,
        time=event.time.ToDatetime(tzinfo=UTC),
        reason=reason,
        attempts=attempts,
        buried_time=datetime.now(UTC),
        data=delivery.data,
    )
