"""What a consumer of NATS asks for and has in hand."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Any, Final, Protocol

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error

from weft.events.broker import DeadLetter
from weft.events.brokers.link import ANSWER_S, heeding_cancellation, ignored, unavailable

__all__ = ["FAILURES", "NatsDelivery", "Pull", "Session"]

PULL_S: Final = 1.0
"""How long the server keeps a pull. A process that stands still leaves its last one behind, which takes events from
whoever has taken over: it must be over before a lease is (see `weft.events.lease`)."""
SILENCE_S: Final = 6.0
"""After which a server that ends no pull is taken for lost."""
FAILURES: Final = (Error, OSError, TimeoutError)
"""What the library raises where the server is away, or does not answer."""
_PENDING: Final = "Nats-Pending-Messages"


class Session(Client):
    """A connection that tells when it is lost."""

    def __init__(self) -> None:
        super().__init__()
        self.when_lost: set[Callable[[], None]] = set()

    async def note_loss(self) -> None:
        for tell in tuple(self.when_lost):
            tell()


class Cemetery(Protocol):
    """Where dead letters go."""

    async def bury(self, letter: DeadLetter, key: str) -> None:
        """Keep *letter* once, however often it is buried as *key*. Raises BrokerUnavailable."""


class NatsDelivery:
    """One copy of an event; see `Delivery`."""

    def __init__(self, pull: Pull, message: Msg, *, seen: int) -> None:
        self._pull, self._message = pull, message
        metadata = message.metadata
        headers = message.headers or {}
        self.data = message.data
        self.message_id = headers.get("Weft-Id") or headers.get("Nats-Msg-Id", "")
        self.number: int = metadata.sequence.stream
        # The server counts anew for each consumer; that there was one is all it tells of those before.
        self.deliveries = (metadata.num_delivered or 1) + (1 if self.number <= seen else 0)

    async def ack(self) -> None:
        try:
            with heeding_cancellation():
                await self._message.ack_sync(timeout=ANSWER_S)
        except FAILURES as error:
            raise unavailable() from error
        self._pull.settled(self)

    async def extend(self) -> None:
        with ignored(*FAILURES):
            await self._message.in_progress()

    async def release(self) -> None:
        with ignored(*FAILURES):
            await self._message.nak()
        self._pull.settled(self)

    async def bury(self, letter: DeadLetter) -> None:
        await self._pull.cemetery.bury(letter, f"{letter.subscription}/{self.number}")
        await self.ack()


class Pull:
    """What one consumer asks the server for: never more than it may hold."""

    def __init__(self, cemetery: Cemetery, client: Session, next_subject: str, prefetch: int, seen: int) -> None:
        """*seen* is the last event of the stream that an earlier consumer got."""
        self.cemetery = cemetery
        self._client, self._next_subject, self._prefetch, self._seen = client, next_subject, prefetch, seen
        self._inbox = client.new_inbox()
        self._arrived: asyncio.Queue[Msg | None] = asyncio.Queue()
        self._held: dict[int, NatsDelivery] = {}
        self._asked = 0
        self._room = asyncio.Event()
        self._subscription: Any = None

    async def begin(self) -> None:
        self._client.when_lost.add(self._note_loss)
        try:
            self._subscription = await self._client.subscribe(self._inbox, cb=self._arrived.put)
        except FAILURES as error:
            raise unavailable() from error

    async def end(self) -> None:
        self._client.when_lost.discard(self._note_loss)
        if self._subscription is not None:
            with suppress(*FAILURES):
                await self._subscription.unsubscribe()
        for delivery in sorted(self._held.values(), key=lambda each: each.number):
            await delivery.release()

    def settled(self, delivery: NatsDelivery) -> None:
        self._held.pop(delivery.number, None)
        self._room.set()

    async def deliveries(self) -> AsyncIterator[NatsDelivery]:
        """Yield deliveries for ever. Raises BrokerUnavailable when the server is silent or the connection lost."""
        while True:
            try:
                await self._ask()
                delivery = await self._next()
            except FAILURES as error:
                raise unavailable() from error
            if delivery is not None:
                self._held[delivery.number] = delivery
                yield delivery

    async def _ask(self) -> None:
        """Ask for as much as there is room for, once that is half of what may be held."""
        room = self._prefetch - len(self._held) - self._asked
        if room * 2 < self._prefetch and self._asked:
            return
        if room > 0:
            request = {"batch": room, "expires": int(PULL_S * 1e9)}
            await self._client.publish(self._next_subject, json.dumps(request).encode(), self._inbox)
            self._asked += room

    async def _next(self) -> NatsDelivery | None:
        """Return what came; None when it is time to look whether to ask for more."""
        if not self._asked:
            self._room.clear()
            await self._room.wait()
            return None
        async with asyncio.timeout(SILENCE_S):
            message = await self._arrived.get()
        if message is None:
            raise ConnectionError("the connection is lost")
        if message.reply.startswith("$JS.ACK."):
            self._asked -= 1
            return NatsDelivery(self, message, seen=self._seen)
        self._note_status(message.headers or {})
        return None

    def _note_status(self, headers: dict[str, str]) -> None:
        match headers.get("Status", ""):
            case "100":  # a heartbeat
                pass
            case "404" | "408":  # the pull has ended, with so much of it not used
                self._asked = max(0, self._asked - int(headers.get(_PENDING, self._asked)))
            case status:
                raise ConnectionError(f"the pull ended with status {status}")

    def _note_loss(self) -> None:
        self._arrived.put_nowait(None)
        self._room.set()
