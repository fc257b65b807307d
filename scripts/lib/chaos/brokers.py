"""What the broker says of the events that passed through it: read with its own client, past the mesh's."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Final, Protocol

import aio_pika
import nats
from mesh.events.v1.event_pb2 import Event
from nats.errors import TimeoutError as NatsTimeout
from nats.js.errors import NotFoundError

from scripts.lib.chaos.evidence import BrokerEvent, DeadLetter
from scripts.lib.chaos.mesh import ChaosFailed, Mesh
from scripts.lib.chaos.rabbitmq import RabbitServer, running_rabbitmq
from weft.cli.state import ProcessRecord
from weft.errors import ServiceError
from weft.events.broker import open_broker

__all__ = ["Broker", "running_broker"]

NATS: Final = "nats"
"""Its name in the mesh's record."""
SUBJECTS: Final = "weft.events.>"
EXCHANGE: Final = "weft.events"
QUEUE: Final = "chaos.witness"
SILENCE_S: Final = 2.0
"""After which no more is expected of a queue that is being read to its end."""
CONNECT_S: Final = 20.0


class Broker:
    """The broker of a run, whoever started it.

    Attributes:
        env: what the mesh needs to know of it.
    """

    def __init__(self, server: RabbitServer | None) -> None:
        self._server = server
        self.env: Mapping[str, str] = {"WEFT_BROKER_URL": server.url} if server else {}

    def find(self, mesh: Mesh) -> ProcessRecord | None:
        """Return its process, if it runs at this moment."""
        return mesh.find(NATS) if self._server is None else self._server.find()

    async def events(self, mesh: Mesh) -> tuple[BrokerEvent, ...]:
        """Return every event that was published, copies included, in the broker's order. Raises ChaosFailed."""
        with _explained():
            return await self._witness(mesh).events()

    async def dead_letters(self, mesh: Mesh, subscriptions: Iterable[str]) -> tuple[DeadLetter, ...]:
        """Return what *subscriptions* gave up, as `weft dlq` sees it. Raises ChaosFailed."""
        with _explained():
            async with open_broker(self.url(mesh), name="chaos") as broker:
                letters = [letter for name in subscriptions for letter in await broker.dead_letters(name)]
        return tuple(
            DeadLetter(subscription=each.subscription, event_id=each.id, type=each.type, reason=each.reason)
            for each in letters
        )

    def url(self, mesh: Mesh) -> str:
        return self._server.url if self._server is not None else mesh.record.urls["broker"]

    def _witness(self, mesh: Mesh) -> Witness:
        url = self.url(mesh)
        return NatsWitness(url) if self._server is None else RabbitWitness(url)


@contextmanager
def running_broker(kind: str, files: Path) -> Iterator[Broker]:
    """Start the broker *kind*, unless it is the one that every mesh brings along. Raises ChaosFailed."""
    if kind == "nats":
        yield Broker(None)
        return
    with running_rabbitmq(files) as server:
        with _explained():
            asyncio.run(RabbitWitness(server.url).listen())  # before the mesh, which publishes as soon as it is up
        yield Broker(server)


class Witness(Protocol):
    """Hears every event there is, beside the subscriptions."""

    async def events(self) -> tuple[BrokerEvent, ...]:
        """Return all events there were, copies included, in the broker's order."""


class NatsWitness:
    """Reads the stream, which keeps everything."""

    def __init__(self, url: str) -> None:
        self._url = url

    async def events(self) -> tuple[BrokerEvent, ...]:
        client = await nats.connect(self._url, connect_timeout=int(CONNECT_S))
        found: list[BrokerEvent] = []
        try:
            stream = client.jetstream()
            with suppress(NotFoundError):  # no event was ever published
                subscription = await stream.subscribe(SUBJECTS, ordered_consumer=True)
                with suppress(NatsTimeout):
                    while True:
                        message = await subscription.next_msg(timeout=SILENCE_S)
                        found.append(_read(message.data))
                        if message.metadata.num_pending == 0:
                            break
        finally:
            await client.close()
        return tuple(found)


class RabbitWitness:
    """Reads a queue of its own, bound to everything."""

    def __init__(self, url: str) -> None:
        self._url = url

    async def listen(self) -> None:
        """Have events kept from now on: what is published while there is no queue is gone."""
        async with self._queue():
            pass

    async def events(self) -> tuple[BrokerEvent, ...]:
        found: list[BrokerEvent] = []
        async with self._queue() as queue:
            with suppress(TimeoutError, aio_pika.exceptions.QueueEmpty):
                while True:
                    message = await queue.get(timeout=SILENCE_S, no_ack=True)
                    found.append(_read(message.body))
        return tuple(found)

    @asynccontextmanager
    async def _queue(self) -> AsyncIterator[aio_pika.abc.AbstractQueue]:
        async with asyncio.timeout(CONNECT_S):
            connection = await aio_pika.connect(self._url)
        async with connection:
            channel = await connection.channel()
            exchange = await channel.declare_exchange(EXCHANGE, aio_pika.ExchangeType.TOPIC, durable=True)
            queue = await channel.declare_queue(QUEUE, durable=True)
            await queue.bind(exchange, "#")
            yield queue


@contextmanager
def _explained() -> Iterator[None]:
    """Say of a broker that does not answer that the run can't be judged."""
    try:
        yield
    except (OSError, TimeoutError, ServiceError, nats.errors.Error, aio_pika.exceptions.AMQPError) as error:
        raise ChaosFailed(f"the broker does not answer: {error!r}") from error


def _read(data: bytes) -> BrokerEvent:
    event = Event.FromString(data)
    return BrokerEvent(
        event_id=event.id, type=event.type, source=event.source, subject=event.subject, sequence=event.sequence
    )
