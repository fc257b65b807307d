"""Cached values in Redis, shared by the replicas of a service.

Each tag has a generation, a random token. A value is kept together with the generations its loader saw and counts only
while they are current: dropping a tag is writing a new token, and a value loaded before it can't come back, whenever it
is written. A token that Redis evicts is replaced by a new one, which fits no older value.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from typing import TYPE_CHECKING, Any, Final

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Sequence

__all__ = ["RedisStore"]

log = logging.getLogger(__name__)

CONNECTIONS: Final = 10
TIMEOUT_S: Final = 0.25
PAUSE_S: Final = 1.0
LOG_EVERY_S: Final = 30.0
GENERATION_TTL_S: Final = 7 * 86_400
OWED_MAX: Final = 1000
EVERYTHING: Final = ""
"""The tag every value has."""


class RedisStore:
    """A `CacheStore` on the Redis at *url*.

    Its query may set what `redis.asyncio` takes, such as `socket_timeout` (seconds). While Redis does not answer it is
    asked once a second and logged once in a while; what is dropped meanwhile is remembered, and dropped before Redis is
    believed again.
    """

    def __init__(self, url: str, *, namespace: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._redis: Redis = Redis.from_url(
            url,
            socket_timeout=TIMEOUT_S,
            socket_connect_timeout=TIMEOUT_S,
            retry=Retry(NoBackoff(), 1),  # a pooled connection may have died while idle
        )
        self._turns = asyncio.Semaphore(CONNECTIONS)
        self._prefix = f"{{weft:{namespace}}}:"  # braces: one slot of a Redis cluster, so that one MGET reads all
        self._clock = clock
        self._owed: set[str] = set()
        self._paying = asyncio.Lock()
        self._retry_at = 0.0
        self._log_at = 0.0

    def peek(self, key: str) -> bytes | None:
        return None

    async def read(self, key: str, tags: Collection[str]) -> tuple[bytes | None, object]:
        names = [self._generation(tag) for tag in sorted({EVERYTHING, *tags})]
        return await self._attempt(lambda: self._read(self._value(key), names)) or (None, None)

    async def write(self, key: str, value: bytes, *, ttl_s: float, tags: Collection[str], stamp: object) -> None:
        if isinstance(stamp, bytes):  # else Redis was down when it should have told the generations
            await self._attempt(lambda: self._redis.set(self._value(key), stamp + value, px=max(1, int(ttl_s * 1000))))

    async def drop(self, tags: Collection[str]) -> None:
        self._owed.update(tags)
        await self._attempt(self._nothing)

    async def clear(self) -> None:
        await self.drop([EVERYTHING])

    async def close(self) -> None:
        await self._redis.aclose()

    async def _read(self, name: str, generation_names: Sequence[str]) -> tuple[bytes | None, bytes]:
        found: list[Any] = await self._redis.mget(name, *generation_names)
        stored, generations = found[0], found[1:]
        if None in generations:
            async with self._redis.pipeline(transaction=False) as pipeline:
                for each in generation_names:
                    pipeline.set(each, secrets.token_hex(8), nx=True, ex=GENERATION_TTL_S)
                pipeline.mget(*generation_names)
                generations = (await pipeline.execute())[-1]
        stamp = b" ".join(generations) + b"\n"
        return (stored[len(stamp) :] if stored is not None and stored.startswith(stamp) else None), stamp

    async def _attempt(self, work: Callable[[], Awaitable[Any]]) -> Any:
        """Do *work* after what is owed; return None without trying while Redis is known to be down."""
        async with self._turns:
            if self._clock() < self._retry_at:
                return None
            try:
                await self._pay()
                return await work()
            except (RedisError, OSError) as error:
                now = self._clock()
                self._retry_at = now + PAUSE_S
                if now >= self._log_at:
                    self._log_at = now + LOG_EVERY_S
                    log.warning("cache unavailable, loading instead", extra={"error.type": type(error).__name__})
                return None

    async def _pay(self) -> None:
        """Drop what was asked to be dropped; who comes meanwhile waits for that."""
        async with self._paying:
            owed, self._owed = self._owed, set()
            if not owed:
                return
            try:
                async with self._redis.pipeline(transaction=False) as pipeline:
                    for tag in owed if len(owed) <= OWED_MAX else {EVERYTHING}:
                        pipeline.set(self._generation(tag), secrets.token_hex(8), ex=GENERATION_TTL_S)
                    await pipeline.execute()
            except BaseException:
                self._owed |= owed if len(owed) <= OWED_MAX else {EVERYTHING}
                raise

    async def _nothing(self) -> None:
        """Do nothing but pay what is owed."""

    def _value(self, key: str) -> str:
        return f"{self._prefix}v:{key}"

    def _generation(self, tag: str) -> str:
        return f"{self._prefix}g:{tag}"
