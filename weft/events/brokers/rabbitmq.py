"""RabbitMQ: a topic exchange for events, a quorum queue per subscription, and one for its dead letters.

Quorum queues keep what they have confirmed on a majority of nodes, and put what a lost consumer held back in its place.
What is published before a subscription was first declared is not kept for it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Self, TypeVar

import aio_pika
from aio_pika.abc import (
    AbstractChannel,
    AbstractConnection,
    AbstractExchange,
    AbstractIncomingMessage,
    AbstractQueue,
)
from aio_pika.exceptions import AMQPError, ChannelNotFoundEntity, ChannelPreconditionFailed, DeliveryError, QueueEmpty
from aiormq.exceptions import ChannelInvalidStateError
from mesh.events.v1.event_pb2 import Event

from weft.contract import Subscription
from weft.events.broker import BrokerUnavailable, DeadLetter, Depth, QueueMismatch
from weft.events.brokers.link import ANSWER_S, CLOSE_S, Link, ended, heeding_cancellation, ignored, unavailable
from weft.events.retention import DEAD_KEPT_S

__all__ = ["RabbitBroker"]

T = TypeVar("T")

EVENTS: Final = "weft.events"
DEAD: Final = "weft.dead"
HEARTBEAT_S: Final = 5
"""RabbitMQ cuts a client off that was silent for twice as long: one that stands still must not keep its events."""
_QUORUM: Final[dict[str, Any]] = {
    "x-queue-type": "quorum",
    # RabbitMQ 4 drops what came back more than 20 times, as whatever waits behind a failing event may.
    "x-delivery-limit": 2**31 - 1,
}
_IN_ORDER: Final[dict[str, Any]] = {"x-single-active-consumer": True}
"""Whoever takes over gets nothing until what the one before had in hand is back in its place."""
for _library in ("aio_pika", "aiormq"):
    # They write whole messages at level DEBUG, and an error for each attempt to connect.
    logging.getLogger(_library).setLevel(logging.CRITICAL)
_LAST_TURNS: Final = 20
"""Of the event loop, in which aio-pika tells its channels, in tasks that nobody can wait for, that they are closed."""
_FAILURES: Final = (AMQPError, ChannelInvalidStateError, OSError, TimeoutError, RuntimeError)
"""RuntimeError is what aio-pika says of a connection that was closed under it."""


@dataclass(frozen=True, slots=True)
class _Sender:
    """A connection for publishing only: while RabbitMQ is short of memory or disk, it reads nothing from such a one."""

    connection: AbstractConnection
    channel: AbstractChannel
    exchanges: Mapping[str, AbstractExchange]


class RabbitBroker:
    """A `Broker`. It connects when it is first used, and again when the connection was lost."""

    system = "rabbitmq"

    def __init__(self, url: str, name: str) -> None:
        async def connect() -> AbstractConnection:
            properties: Any = {"connection_name": name}
            return await aio_pika.connect(url, timeout=ANSWER_S, heartbeat=HEARTBEAT_S, client_properties=properties)

        async def begin_sending() -> _Sender:
            connection = await connect()
            try:
                channel = await connection.channel(publisher_confirms=True, on_return_raises=True)
                return _Sender(connection, channel, await _exchanges(channel))
            except BaseException:
                await ended(connection.close)
                raise

        self._consuming = Link(connect, is_open=_is_open, close=lambda connection: connection.close())
        self._sending = Link(
            begin_sending,
            is_open=lambda sender: _is_open(sender.connection) and not sender.channel.is_closed,
            close=lambda sender: sender.connection.close(),
        )

    @classmethod
    @asynccontextmanager
    async def open(cls, url: str, *, name: str) -> AsyncIterator[Self]:
        broker = cls(url, name)
        try:
            yield broker
        finally:
            await asyncio.gather(broker._sending.end(), broker._consuming.end())
            for _ in range(_LAST_TURNS):
                await asyncio.sleep(0)

    async def publish(self, event: Event) -> None:
        message = _message(event.SerializeToString(), event.id, type=event.type)
        # An event that nobody has subscribed to leads nowhere, and that is well.
        await self._send(EVENTS, event.type, message, must_arrive=False)

    async def declare(self, subscription: Subscription) -> None:
        async with self._channel() as channel, _in_time():
            exchanges = await _exchanges(channel)
            burial = {"x-dead-letter-exchange": DEAD, "x-dead-letter-routing-key": subscription.name}
            queue = await _queue(channel, subscription.name, _QUORUM | _IN_ORDER | burial)
            for event in subscription.events:
                await queue.bind(exchanges[EVENTS], event)
            graves = await _queue(channel, _graves(subscription.name), _QUORUM)
            await graves.bind(exchanges[DEAD], subscription.name)

    @asynccontextmanager
    async def subscribe(
        self, subscription: Subscription, *, prefetch: int
    ) -> AsyncGenerator[AsyncIterator[RabbitDelivery]]:
        async with self._channel() as channel:  # closing it puts what is not acknowledged back in its place
            arrived: asyncio.Queue[AbstractIncomingMessage | None] = asyncio.Queue()

            def note_loss(*_: object) -> None:
                arrived.put_nowait(None)

            try:
                async with _in_time():
                    channel.close_callbacks.add(note_loss)
                    underlay = await channel.get_underlay_channel()
                    underlay.on_consumer_cancel_callbacks.add(note_loss)
                    await channel.set_qos(prefetch_count=prefetch)
                    queue = await channel.get_queue(subscription.name)
                    await queue.consume(arrived.put)
            except ChannelNotFoundEntity as error:  # it was never declared, or the server has lost it
                raise unavailable() from error
            yield self._deliveries(arrived)

    async def _deliveries(
        self, arrived: asyncio.Queue[AbstractIncomingMessage | None]
    ) -> AsyncIterator[RabbitDelivery]:
        while (message := await arrived.get()) is not None:
            yield RabbitDelivery(self, message)
        raise unavailable()

    async def dead_letters(self, subscription: str, *, limit: int = 100) -> Sequence[DeadLetter]:
        letters: list[DeadLetter] = []
        async with self._dead(subscription) as messages:
            async for message in messages:
                letters.append(_letter(subscription, message))
                if len(letters) == limit:
                    break
        return letters

    async def redrive(self, subscription: str, ids: Collection[str] | None = None) -> int:
        async def move(message: AbstractIncomingMessage) -> None:
            # The default exchange leads to the one queue of that name: nobody else hears of it again.
            await self._send("", subscription, _message(message.body, message.message_id or ""))

        return await self._clear(subscription, ids, move)

    async def drop(self, subscription: str, ids: Collection[str] | None = None) -> int:
        async def let_go(_: AbstractIncomingMessage) -> None:
            pass

        return await self._clear(subscription, ids, let_go)

    async def depths(self, subscriptions: Iterable[str]) -> Mapping[str, Depth]:
        return {
            name: Depth(waiting=await self._count(name), dead=await self._count(_graves(name)))
            for name in subscriptions
        }

    async def bury(self, letter: DeadLetter) -> None:
        headers = {
            "weft-reason": letter.reason,
            "weft-attempts": letter.attempts,
            "weft-buried-time": letter.buried_time.isoformat(),
        }
        # Kept by its message and not by its queue, whose arguments nobody can change any more.
        message = _message(letter.data, letter.id, headers=headers, expiration=DEAD_KEPT_S)
        await self._send(DEAD, letter.subscription, message)

    async def _send(self, exchange: str, key: str, message: aio_pika.Message, *, must_arrive: bool = True) -> None:
        """Return when the message is in every queue it leads to; with *must_arrive* that is at least one."""
        async with _in_time():
            sender = await self._sending.get()
        try:
            with heeding_cancellation():
                async with asyncio.timeout(ANSWER_S):
                    await sender.exchanges[exchange].publish(message, key, mandatory=must_arrive)
        except DeliveryError as error:
            raise BrokerUnavailable("the broker did not take it", reason="BROKER_REFUSES") from error
        except TimeoutError as error:  # nobody is there, whatever the connection says
            self._sending.drop(sender)
            raise unavailable() from error
        except _FAILURES as error:
            raise unavailable() from error

    async def _clear(
        self,
        subscription: str,
        ids: Collection[str] | None,
        before: Callable[[AbstractIncomingMessage], Awaitable[None]],
    ) -> int:
        """Remove dead letters, each after *before* was done with it; return how many."""
        count = 0
        async with self._dead(subscription) as messages:
            async for message in messages:
                if ids is None or message.message_id in ids:
                    await before(message)
                    async with _in_time():
                        await message.ack()
                    count += 1
        return count

    @asynccontextmanager
    async def _dead(self, subscription: str) -> AsyncGenerator[AsyncIterator[AbstractIncomingMessage]]:
        """Give the dead letters that are there now, oldest first; those not acknowledged go back when it is left."""
        async with self._channel() as channel:
            try:
                async with _in_time():
                    messages = _each(await channel.get_queue(_graves(subscription)))
            except ChannelNotFoundEntity:
                messages = _none()
            yield messages

    async def _count(self, queue: str) -> int:
        try:
            async with self._channel() as channel, _in_time():
                found = await channel.declare_queue(queue, passive=True)
        except ChannelNotFoundEntity:
            return 0
        return found.declaration_result.message_count or 0

    @asynccontextmanager
    async def _channel(self) -> AsyncGenerator[AbstractChannel]:
        """Open a channel for the block: most mistakes make the server close the one they were made on."""
        async with _in_time():
            connection = await self._consuming.get()
            channel = await connection.channel()
        try:
            yield channel
        finally:
            with ignored(*_FAILURES):
                try:
                    async with asyncio.timeout(CLOSE_S):
                        await channel.close()
                except TimeoutError:  # what it held comes back when the connection is gone
                    self._consuming.drop(connection)


class RabbitDelivery:
    """One copy of an event; see `Delivery`."""

    def __init__(self, broker: RabbitBroker, message: AbstractIncomingMessage) -> None:
        self._broker, self._message = broker, message
        self.data = message.body
        self.message_id = message.message_id or ""
        returned = message.headers.get("x-delivery-count", 0)
        self.deliveries = 1 + (returned if isinstance(returned, int) else 0)

    async def ack(self) -> None:
        async with _in_time():
            await self._message.ack()

    async def extend(self) -> None:
        """Do nothing: RabbitMQ waits for as long as the connection lives, half an hour by default."""

    async def release(self) -> None:
        with ignored(*_FAILURES):
            await self._message.nack(requeue=True)

    async def bury(self, letter: DeadLetter) -> None:
        await self._broker.bury(letter)
        await self.ack()


def _is_open(connection: AbstractConnection) -> bool:
    return connection.connected.is_set()  # is_closed says only whether we have closed it


async def _exchanges(channel: AbstractChannel) -> Mapping[str, AbstractExchange]:
    """Return the exchanges by their names, made where they are missing."""
    events = await channel.declare_exchange(EVENTS, aio_pika.ExchangeType.TOPIC, durable=True)
    dead = await channel.declare_exchange(DEAD, aio_pika.ExchangeType.DIRECT, durable=True)
    return {EVENTS: events, DEAD: dead, "": channel.default_exchange}


async def _queue(channel: AbstractChannel, name: str, arguments: Mapping[str, Any]) -> AbstractQueue:
    """Return a queue, made where it is missing. Raises QueueMismatch: RabbitMQ changes no arguments of one that is."""
    try:
        return await channel.declare_queue(name, durable=True, arguments=dict(arguments))
    except ChannelPreconditionFailed as error:
        todo = f"once it is empty, run: rabbitmqctl delete_queue {name}"
        raise QueueMismatch(f"queue {name} was declared with other arguments; {todo}", queue=name) from error


def _message(data: bytes, message_id: str, **properties: Any) -> aio_pika.Message:
    return aio_pika.Message(
        data,
        message_id=message_id,
        content_type="application/protobuf",
        delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
        **properties,
    )


def _letter(subscription: str, message: AbstractIncomingMessage) -> DeadLetter:
    headers = message.headers
    buried, attempts = headers.get("weft-buried-time"), headers.get("weft-attempts", 0)
    return DeadLetter.read(
        message.body,
        subscription=subscription,
        id=message.message_id or "",
        reason=str(headers.get("weft-reason", "REJECTED")),  # without our headers the broker itself has buried it
        attempts=attempts if isinstance(attempts, int) else 0,
        buried_time=datetime.fromisoformat(str(buried)) if buried else datetime.now(UTC),
    )


def _graves(subscription: str) -> str:
    return f"{subscription}.dead"


async def _each(queue: AbstractQueue) -> AsyncIterator[AbstractIncomingMessage]:
    with suppress(QueueEmpty):
        while True:
            async with _in_time():
                message = await queue.get(no_ack=False)
            yield message


async def _none() -> AsyncIterator[AbstractIncomingMessage]:
    return
    yield


@asynccontextmanager
async def _in_time() -> AsyncGenerator[None]:
    """Bound what is asked of the broker, and call its failures by one name."""
    try:
        with heeding_cancellation():
            async with asyncio.timeout(ANSWER_S):
                yield
    except (BrokerUnavailable, ChannelNotFoundEntity, QueueEmpty):
        raise
    except _FAILURES as error:
        raise unavailable() from error
