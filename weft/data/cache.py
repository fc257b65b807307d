"""A read-through cache of serialised messages, in process or in Redis, that writers keep honest.

A writer names what it made stale in its own transaction; PostgreSQL carries that to every replica when, and only when,
it commits. Whatever a replica may have missed, it forgets.
"""

from __future__ import annotations

import asyncio
import contextvars
import json
import logging
import time
from collections import OrderedDict
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol

from weft.data.answers import current_answering
from weft.data.listening import MISSED

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Collection

    from weft.data.database import Database
    from weft.data.transaction import Transaction

__all__ = ["Cache", "CacheStore", "MemoryStore", "open_cache"]

log = logging.getLogger(__name__)

CHANNEL: Final = "weft_cache"
PAYLOAD_MAX_BYTES: Final = 7999  # https://www.postgresql.org/docs/18/sql-notify.html


class CacheStore(Protocol):
    """Where values are kept. No method ever fails because the store does: it is then as if it were empty."""

    def peek(self, key: str) -> bytes | None:
        """Return the value if it is here and known, without waiting for anything."""

    async def read(self, key: str, tags: Collection[str]) -> tuple[bytes | None, object]:
        """Return the value or None, and a stamp of *tags* as they now stand, for `write`."""

    async def write(self, key: str, value: bytes, *, ttl_s: float, tags: Collection[str], stamp: object) -> None:
        """Keep *value* unless one of *tags* was dropped after *stamp* was taken."""

    async def drop(self, tags: Collection[str]) -> None:
        """Forget every value written under any of *tags*."""

    async def clear(self) -> None:
        """Forget everything."""

    async def close(self) -> None: ...


class Cache:
    """Values by key, loaded on a miss, once for all who ask meanwhile. Made by `open_cache`."""

    hits: int = 0
    misses: int = 0
    """How often *load* had to be asked. Those who waited together count once."""

    def __init__(self, store: CacheStore, *, namespace: str) -> None:
        self._store = store
        self._namespace = namespace
        self._flights: dict[str, _Flight] = {}
        self.is_following = asyncio.Event()
        """Set once the writers of other replicas are heard."""

    async def get(
        self, key: str, load: Callable[[], Awaitable[bytes]], *, ttl_s: float, tags: Collection[str] = ()
    ) -> bytes:
        """Return the value of *key*, from *load* if it is not known.

        Args:
            key: equal for equal values only: it holds whatever the value depends on.
            load: reads the value; its errors are everybody's who waits, and are not kept. It sees committed data only.
            ttl_s: longest time the value is used.
            tags: names under which the value can be invalidated.
        """
        flight = self._flights.get(key)
        if flight is None:
            value = self._store.peek(key)
            if value is not None:
                self.hits += 1
                return value
            flight = self._flights[key] = _Flight(frozenset(tags))
            context = contextvars.copy_context()
            context.run(current_answering.set, None)  # what is not committed yet is nobody else's business
            flight.task = asyncio.create_task(self._load(key, flight, load, ttl_s), context=context)
        flight.waiting += 1
        try:
            return await asyncio.shield(flight.task)
        finally:
            flight.waiting -= 1
            if not flight.waiting:
                self._abandon(key, flight)

    async def invalidate(self, tx: Transaction, *tags: str) -> None:
        """Have every replica forget what is under *tags* when *tx* commits; this one before `transaction()` returns."""
        payload = json.dumps([self._namespace, *tags])
        if len(payload.encode()) > PAYLOAD_MAX_BYTES:
            payload = json.dumps([self._namespace])  # everything
        await tx.notify(CHANNEL, payload)
        tx.after_commit(lambda: self.drop(*tags))

    async def drop(self, *tags: str) -> None:
        """Forget what is under *tags*, without telling the other replicas."""
        for key, flight in list(self._flights.items()):
            if not flight.tags.isdisjoint(tags):
                self._ground(key, flight)
        await self._store.drop(tags)

    async def clear(self) -> None:
        """Forget everything, without telling the other replicas."""
        for key, flight in list(self._flights.items()):
            self._ground(key, flight)
        await self._store.clear()

    async def follow(self, database: Database) -> None:
        """Forget what any replica's writer invalidates, for ever."""
        async with database.listen(CHANNEL) as messages:
            async for message in messages:
                namespace, *tags = [self._namespace] if message is MISSED else json.loads(message)
                if namespace == self._namespace:
                    await (self.drop(*tags) if tags else self.clear())
                self.is_following.set()

    async def close(self) -> None:
        flights = [flight.task for flight in self._flights.values()]
        for task in flights:
            task.cancel()
        if flights:
            await asyncio.wait(flights)
        await self._store.close()

    async def _load(self, key: str, flight: _Flight, load: Callable[[], Awaitable[bytes]], ttl_s: float) -> bytes:
        try:
            value, stamp = await self._store.read(key, flight.tags)
            if value is not None:
                self.hits += 1
                return value
            self.misses += 1
            value = await load()
            if not flight.is_stale:
                await self._store.write(key, value, ttl_s=ttl_s, tags=flight.tags, stamp=stamp)
            return value
        finally:
            if self._flights.get(key) is flight:
                del self._flights[key]

    def _ground(self, key: str, flight: _Flight) -> None:
        """Keep what *flight* is loading from being stored, and from being given to those who ask from now on."""
        flight.is_stale = True
        del self._flights[key]

    def _abandon(self, key: str, flight: _Flight) -> None:
        if not flight.task.done():
            flight.task.cancel()
            if self._flights.get(key) is flight:
                del self._flights[key]


@dataclass(slots=True, eq=False)
class _Flight:
    """One read and load under way."""

    tags: frozenset[str]
    task: asyncio.Task[bytes] = field(init=False)
    waiting: int = 0
    is_stale: bool = False


class MemoryStore:
    """Values of this process: at most *max_entries*, the least recently used leaving first."""

    def __init__(self, *, max_entries: int = 10_000, clock: Callable[[], float] = time.monotonic) -> None:
        self._max_entries = max_entries
        self._clock = clock
        self._entries: OrderedDict[str, tuple[bytes, float, Collection[str]]] = OrderedDict()
        self._keys_by_tag: dict[str, set[str]] = {}

    def peek(self, key: str) -> bytes | None:
        entry = self._entries.get(key)
        if entry is None:
            return None
        value, expires_at, _ = entry
        if expires_at <= self._clock():
            self._remove(key)
            return None
        self._entries.move_to_end(key)
        return value

    async def read(self, key: str, tags: Collection[str]) -> tuple[bytes | None, object]:
        return self.peek(key), None

    async def write(self, key: str, value: bytes, *, ttl_s: float, tags: Collection[str], stamp: object) -> None:
        self._remove(key)
        self._entries[key] = (value, self._clock() + ttl_s, tags)
        for tag in tags:
            self._keys_by_tag.setdefault(tag, set()).add(key)
        while len(self._entries) > self._max_entries:
            self._remove(next(iter(self._entries)))

    async def drop(self, tags: Collection[str]) -> None:
        for tag in tags:
            for key in tuple(self._keys_by_tag.get(tag, ())):
                self._remove(key)

    async def clear(self) -> None:
        self._entries.clear()
        self._keys_by_tag.clear()

    async def close(self) -> None:
        await self.clear()

    def _remove(self, key: str) -> None:
        entry = self._entries.pop(key, None)
        for tag in entry[2] if entry else ():
            keys = self._keys_by_tag[tag]
            keys.discard(key)
            if not keys:
                del self._keys_by_tag[tag]


@asynccontextmanager
async def open_cache(
    url: str, *, namespace: str, database: Database | None = None, max_entries: int = 10_000
) -> AsyncIterator[Cache]:
    """Open the cache of one service.

    Args:
        url: `memory://` for one in this process, `redis://…` or `rediss://…` for one shared by all replicas.
        namespace: the service's name: keeps apart those that share a Redis, or a database.
        database: where writers say what they made stale; without one every replica is on its own.
        max_entries: of `memory://`.
    """
    if url.startswith("memory:"):
        store: CacheStore = MemoryStore(max_entries=max_entries)
    else:
        from weft.data.redis_store import RedisStore  # noqa: PLC0415  # the client is for those who have a Redis

        store = RedisStore(url, namespace=namespace)
    cache = Cache(store, namespace=namespace)
    follower = asyncio.create_task(cache.follow(database), name="follow cache") if database is not None else None
    try:
        yield cache
    finally:
        if follower is not None:
            follower.cancel()
            await asyncio.wait([follower])
        await cache.close()
