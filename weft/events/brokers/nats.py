"""NATS JetStream: one stream for all events, one durable consumer per subscription, one stream for dead letters.

Needs nats-server 2.14 or newer: a subscription that is taken over starts again just behind what was acknowledged
(ADR-60), so that what its last consumer held comes before what is new.
Streams that exist are used as they are: how many copies a cluster keeps, and how much, may be decided by its operator.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from typing import Final, Self, TypeVar

from mesh.events.v1.event_pb2 import Event
from nats.errors import MaxPayloadError
from nats.js import JetStreamContext, api
from nats.js.errors import APIError, NoStreamResponseError, NotFoundError

from weft.contract import Subscription
from weft.events.broker import BrokerUnavailable, DeadLetter, Depth
from weft.events.brokers.link import ANSWER_S, Link, ended, heeding_cancellation, unavailable
from weft.events.brokers.nats_pull import FAILURES, NatsDelivery, Pull, Session
from weft.events.retention import BROKER_KEPT_S, DEAD_KEPT_S

__all__ = ["NatsBroker"]

T = TypeVar("T")

EVENTS: Final = "WEFT_EVENTS"
DEAD: Final = "WEFT_DEAD"
EVENT_SUBJECT: Final = "weft.events"
REDRIVE_SUBJECT: Final = "weft.redrive"
DEAD_SUBJECT: Final = "weft.dead"
DUPLICATES_S: Final = 120.0
"""How long a copy of an event is known as one."""
ACK_WAIT_S: Final = 10.0
"""After which the server gives what nobody has acknowledged or extended to somebody else."""
PING_S: Final = 3
"""A connection is lost when two pings, sent so far apart, have no answer."""
COPIES: Final = 3
"""Servers of a cluster that have an event before it is confirmed."""
_OLDEST: Final = (2, 14)
_STREAM_NOT_FOUND: Final = 10059
_STREAM_EXISTS: Final = 10058
_FAR_AWAY: Final = datetime.fromtimestamp(0, UTC)


class NatsBroker:
    """A `Broker`. It connects when it is first used, and again when the connection was lost."""

    system = "nats"

    def __init__(self, url: str, name: str) -> None:
        self._link = Link(
            lambda: _connect(url, name), is_open=lambda client: client.is_connected, close=lambda client: client.close()
        )

    @classmethod
    @asynccontextmanager
    async def open(cls, url: str, *, name: str) -> AsyncIterator[Self]:
        broker = cls(url, name)
        try:
            yield broker
        finally:
            await broker._link.end()

    async def publish(self, event: Event) -> None:
        headers = {"Nats-Msg-Id": event.id}
        await self._send(f"{EVENT_SUBJECT}.{event.type}", event.SerializeToString(), headers)

    async def declare(self, subscription: Subscription) -> None:
        await self._do(lambda js: js.add_consumer(EVENTS, _consumer(subscription)))

    @asynccontextmanager
    async def subscribe(
        self, subscription: Subscription, *, prefetch: int
    ) -> AsyncGenerator[AsyncIterator[NatsDelivery]]:
        consumer = _consumer_name(subscription.name)
        try:
            info = await self._do(lambda js: js.consumer_info(EVENTS, consumer))
            await self._do(lambda js: js.reset_consumer(EVENTS, consumer))
        except NotFoundError as error:  # it was never declared, or the server has lost it
            raise unavailable() from error
        seen = info.delivered.stream_seq if info.delivered else 0
        next_subject = f"$JS.API.CONSUMER.MSG.NEXT.{EVENTS}.{consumer}"
        pull = Pull(self, await self._client(), next_subject, prefetch, seen)
        try:
            await pull.begin()
            yield pull.deliveries()
        finally:
            await pull.end()

    async def dead_letters(self, subscription: str, *, limit: int = 100) -> Sequence[DeadLetter]:
        return [letter async for _, letter in self._dead(subscription, limit=limit)]

    async def redrive(self, subscription: str, ids: Collection[str] | None = None) -> int:
        count = 0
        async for number, letter in self._dead(subscription):
            if ids is None or letter.id in ids:
                # Known by its place among the dead, so that one that is moved twice arrives once.
                headers = {"Nats-Msg-Id": f"redrive/{number}", "Weft-Id": letter.id}
                await self._send(f"{REDRIVE_SUBJECT}.{subscription}", letter.data, headers)
                await self._forget(number)
                count += 1
        return count

    async def drop(self, subscription: str, ids: Collection[str] | None = None) -> int:
        count = 0
        async for number, letter in self._dead(subscription):
            if ids is None or letter.id in ids:
                await self._forget(number)
                count += 1
        return count

    async def depths(self, subscriptions: Iterable[str]) -> Mapping[str, Depth]:
        dead = await self._do(lambda js: js.stream_info(DEAD, subjects_filter=f"{DEAD_SUBJECT}.>"))
        buried = dead.state.subjects or {}
        depths = {}
        for name in subscriptions:
            try:
                info = await self._do(lambda js, name=name: js.consumer_info(EVENTS, _consumer_name(name)))  # type: ignore[misc]
            except NotFoundError:
                waiting = 0
            else:
                waiting = (info.num_pending or 0) + (info.num_ack_pending or 0)
            depths[name] = Depth(waiting=waiting, dead=buried.get(f"{DEAD_SUBJECT}.{name}", 0))
        return depths

    async def bury(self, letter: DeadLetter, key: str) -> None:
        """Keep *letter* once, however often it is buried as *key*."""
        headers = {"Nats-Msg-Id": key, **_headers(letter)}
        await self._send(f"{DEAD_SUBJECT}.{letter.subscription}", letter.data, headers)

    async def _send(self, subject: str, data: bytes, headers: dict[str, str]) -> None:
        try:
            await self._do(lambda js: js.publish(subject, data, timeout=ANSWER_S, headers=headers))
        except MaxPayloadError as error:
            message = f"the broker takes no message of {len(data)} bytes"
            raise BrokerUnavailable(message, reason="BROKER_REFUSES", bytes=len(data)) from error

    async def _forget(self, number: int) -> None:
        with suppress(NotFoundError):
            await self._do(lambda js: js.delete_msg(DEAD, number))

    async def _dead(self, subscription: str, limit: int | None = None) -> AsyncIterator[tuple[int, DeadLetter]]:
        """Yield the dead letters that are there now, oldest first, and their numbers in the stream."""
        subject = f"{DEAD_SUBJECT}.{subscription}"
        number, count = 1, 0
        while limit is None or count < limit:
            try:
                found = await self._do(lambda js, at=number: js.get_msg(DEAD, at, subject=subject, next=True))  # type: ignore[misc]
            except NotFoundError:
                return
            assert found.seq is not None, "a stored message has a number"
            yield found.seq, _letter(subscription, found.headers or {}, found.data or b"")
            number, count = found.seq + 1, count + 1

    async def _do(self, work: Callable[[JetStreamContext], Awaitable[T]]) -> T:
        """Return what *work* does, making the streams where they are missing.

        Raises:
            BrokerUnavailable: after twice `ANSWER_S` at the latest.
            NotFoundError: there is no such consumer or message.
        """
        client = await self._client()
        try:
            with heeding_cancellation():
                async with asyncio.timeout(ANSWER_S):
                    return await _with_streams(client, work)
        except (NotFoundError, MaxPayloadError):
            raise
        except APIError as error:
            raise BrokerUnavailable("the broker refuses", reason="BROKER_REFUSES", code=error.err_code) from error
        except TimeoutError as error:  # nobody is there, whatever the connection says
            self._link.drop(client)
            raise unavailable() from error
        except FAILURES as error:
            raise unavailable() from error

    async def _client(self) -> Session:
        try:
            return await self._link.get()
        except FAILURES as error:
            raise unavailable() from error


async def _connect(url: str, name: str) -> Session:
    client = Session()
    try:
        await client.connect(
            url.split(","),
            name=name,
            # Reconnecting is ours: nats-py would keep what is published meanwhile, and confirm nothing.
            allow_reconnect=False,
            max_reconnect_attempts=1,  # of each server at first; 0 would mean for ever
            reconnect_time_wait=0,
            connect_timeout=2,
            ping_interval=PING_S,
            error_cb=_keep_silent,
            closed_cb=client.note_loss,
        )
        _refuse_old(client)
    except BaseException:
        await ended(client.close)
        raise
    return client


async def _keep_silent(_error: Exception) -> None:
    """Log nothing: whoever uses the connection hears of it."""


def _refuse_old(client: Session) -> None:
    version = client.connected_server_version
    if (version.major, version.minor) < _OLDEST:
        raise BrokerUnavailable(
            f"nats-server {version} is too old: 2.14 or newer is needed", reason="BROKER_TOO_OLD", version=str(version)
        )


async def _with_streams(client: Session, work: Callable[[JetStreamContext], Awaitable[T]]) -> T:
    context = client.jetstream(timeout=ANSWER_S)
    try:
        return await work(context)
    except NoStreamResponseError:
        pass
    except NotFoundError as error:
        if error.err_code != _STREAM_NOT_FOUND:
            raise
    # A cluster has a name, and a server of its own has none.
    copies = COPIES if client._server_info.get("cluster") else 1  # noqa: SLF001 (nowhere else)
    for stream in _streams(copies):
        try:
            await context.add_stream(stream)
        except APIError as error:
            if error.err_code != _STREAM_EXISTS:  # set up by hand
                raise
    return await work(context)


def _streams(copies: int) -> Iterable[api.StreamConfig]:
    yield api.StreamConfig(
        name=EVENTS,
        description="Events of the mesh, and those that are redriven",
        subjects=[f"{EVENT_SUBJECT}.>", f"{REDRIVE_SUBJECT}.>"],
        retention=api.RetentionPolicy.LIMITS,
        storage=api.StorageType.FILE,
        max_age=BROKER_KEPT_S,
        duplicate_window=DUPLICATES_S,
        num_replicas=copies,
    )
    yield api.StreamConfig(
        name=DEAD,
        description="Events of the mesh that a subscription could not apply",
        subjects=[f"{DEAD_SUBJECT}.>"],
        retention=api.RetentionPolicy.LIMITS,
        storage=api.StorageType.FILE,
        max_age=DEAD_KEPT_S,
        num_replicas=copies,
    )


def _consumer(subscription: Subscription) -> api.ConsumerConfig:
    subjects = [f"{EVENT_SUBJECT}.{event}" for event in subscription.events]
    return api.ConsumerConfig(
        durable_name=_consumer_name(subscription.name),
        filter_subjects=[*subjects, f"{REDRIVE_SUBJECT}.{subscription.name}"],
        deliver_policy=api.DeliverPolicy.ALL,
        ack_policy=api.AckPolicy.EXPLICIT,
        ack_wait=ACK_WAIT_S,
        max_deliver=-1,  # how often is tried is for the consumer to decide
        max_ack_pending=10_000,
    )


def _consumer_name(subscription: str) -> str:
    return subscription.replace(".", "_")  # which names of services and subscriptions don't have


def _headers(letter: DeadLetter) -> dict[str, str]:
    """Return what the envelope in the letter doesn't say."""
    return {
        "Weft-Id": letter.id,
        "Weft-Reason": letter.reason,
        "Weft-Attempts": str(letter.attempts),
        "Weft-Buried-Time": letter.buried_time.isoformat(),
    }


def _letter(subscription: str, headers: Mapping[str, str], data: bytes) -> DeadLetter:
    return DeadLetter.read(
        data,
        subscription=subscription,
        id=headers.get("Weft-Id", ""),
        reason=headers.get("Weft-Reason", ""),
        attempts=int(headers.get("Weft-Attempts", "0")),
        buried_time=datetime.fromisoformat(headers["Weft-Buried-Time"]) if "Weft-Buried-Time" in headers else _FAR_AWAY,
    )
