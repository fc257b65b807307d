"""What the mesh asks of a broker, whichever it is."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Protocol, Self
from urllib.parse import urlsplit

from google.protobuf.message import DecodeError
from mesh.events.v1.event_pb2 import Event

from weft.contract import Subscription
from weft.errors import FailedPrecondition, Unavailable

__all__ = ["Broker", "BrokerUnavailable", "DeadLetter", "Delivery", "Depth", "QueueMismatch", "open_broker"]


class BrokerUnavailable(Unavailable):
    """The broker can't be reached, or did not answer in time."""


class QueueMismatch(FailedPrecondition):
    """A queue of that name was made otherwise, by another build or by hand; it stays so until somebody deletes it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """An event that a subscription could not apply, and why."""

    id: str
    """Of the event; of its message, where it can't be read."""
    subscription: str
    type: str
    source: str
    subject: str
    time: datetime
    """When the event happened."""
    reason: str
    """Stable word."""
    attempts: int
    """To apply it."""
    buried_time: datetime
    data: bytes = field(repr=False)
    """The envelope, as it came."""

    @classmethod
    def read(
        cls,
        data: bytes,
        *,
        subscription: str,
        id: str,  # noqa: A002 (the name of the field)
        reason: str,
        attempts: int,
        buried_time: datetime,
    ) -> Self:
        """Return a letter that says of its event what can be read in *data*."""
        envelope = Event()
        with suppress(DecodeError):
            envelope.ParseFromString(data)
        return cls(
            id=id,
            subscription=subscription,
            type=envelope.type,
            source=envelope.source,
            subject=envelope.subject,
            time=envelope.time.ToDatetime(tzinfo=UTC),
            reason=reason,
            attempts=attempts,
            buried_time=buried_time,
            data=data,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Depth:
    """How many events a subscription has yet to settle, and how many are dead; right within a moment.

    RabbitMQ does not count what a consumer has in hand.
    """

    waiting: int
    dead: int


def open_broker(url: str, *, name: str) -> AbstractAsyncContextManager[Broker]:
    """Open the broker at *url*, `nats://…` or `amqp://…`, as the client *name*. It may be away, and come later.

    Raises:
        ValueError: the scheme is another one.
    """
    # Only the library of the broker in use is loaded.
    match urlsplit(url).scheme:
        case "nats" | "tls":
            from weft.events.brokers.nats import NatsBroker  # noqa: PLC0415

            return NatsBroker.open(url, name=name)
        case "amqp" | "amqps":
            from weft.events.brokers.rabbitmq import RabbitBroker  # noqa: PLC0415

            return RabbitBroker.open(url, name=name)
        case scheme:
            raise ValueError(f"a broker's URL begins with nats:// or amqp://, not {scheme}://")


class Delivery(Protocol):
    """One copy of an event in the hands of a consumer, until exactly one of `ack`, `release` and `bury`."""

    data: bytes
    """A `mesh.events.v1.Event`, if it can be read."""
    message_id: str
    deliveries: int
    """1 for the first; counts those lost with a dead consumer, where the broker knows."""

    async def ack(self) -> None:
        """Have the broker forget it. Raises BrokerUnavailable."""

    async def extend(self) -> None:
        """Say that it is still being worked on; nothing where the broker doesn't ask. Never raises."""

    async def release(self) -> None:
        """Give it back, to be delivered again at once. Never raises: what is not acknowledged comes back anyway."""

    async def bury(self, letter: DeadLetter) -> None:
        """Put *letter* among the subscription's dead letters, durably, then have the broker forget the delivery.

        Raises BrokerUnavailable; it may then be both dead and delivered again.
        """


class Broker(Protocol):
    """One broker, seen by one process. Every method raises BrokerUnavailable within a bounded time."""

    system: str
    """Its kind, as OpenTelemetry names it: `messaging.system`."""

    async def publish(self, event: Event) -> None:
        """Return once the broker has *event* durably. May be called concurrently.

        A copy of an event published within the last minutes is dropped, where the broker can.
        """

    async def declare(self, subscription: Subscription) -> None:
        """Make the durable queue of a subscription and that of its dead letters. Idempotent.

        Raises:
            QueueMismatch: one of them exists, and orders or keeps events otherwise.
        """

    def subscribe(
        self, subscription: Subscription, *, prefetch: int
    ) -> AbstractAsyncContextManager[AsyncIterator[Delivery]]:
        """Receive deliveries in the broker's order, at most *prefetch* of them unsettled.

        The iterator raises BrokerUnavailable when the connection is lost. Leaving the block gives back, in order, what
        is not settled.
        """

    async def dead_letters(self, subscription: str, *, limit: int = 100) -> Sequence[DeadLetter]:
        """Return the oldest dead letters of a subscription, without removing them."""

    async def redrive(self, subscription: str, ids: Collection[str] | None = None) -> int:
        """Move dead letters (None: all) back into the subscription's own queue; return how many."""

    async def drop(self, subscription: str, ids: Collection[str] | None = None) -> int:
        """Remove dead letters (None: all) for good; return how many."""

    async def depths(self, subscriptions: Iterable[str]) -> Mapping[str, Depth]:
        """Return subscription -> how many events wait and how many are dead; 0 for one that was never declared."""
