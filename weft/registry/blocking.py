"""Following one blocking query: the loop Consul's documentation asks of its clients.

Source: Consul, "Blocking Queries" (implementation details), and what 1.8.7 was measured to do.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncGenerator, Callable, Coroutine
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from weft.registry.client import Answer
from weft.registry.errors import RegistryError

log = logging.getLogger(__name__)

T = TypeVar("T")

_NOTHING_YET: Final = object()


def next_index(previous: int, answered: int) -> int:
    """Return the index to ask with after the registry *answered* with one to a question asked with *previous*."""
    if answered < previous:
        return 0  # the registry was restored or restarted: start over, without blocking
    return max(answered, 1)  # 0 would not block and turn the loop into a busy one


def backoff_s(attempt: int, *, base_s: float = 0.1, cap_s: float = 2.0) -> float:
    """Return the wait before retry *attempt* (1 is the first), uniform in the upper half of the exponential.

    Source: M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015 ("equal jitter").
    """
    return min(cap_s, base_s * 2.0 ** min(attempt - 1, 32)) * random.uniform(0.5, 1.0)  # noqa: S311 not a secret


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """Token bucket that keeps a registry whose index races from being asked in a tight loop."""

    per_s: float = 20.0
    burst: int = 2


class _TokenBucket:
    def __init__(self, pace: Pace) -> None:
        self._pace = pace
        self._tokens = float(pace.burst)
        self._counted = asyncio.get_running_loop().time()

    async def take(self) -> None:
        now = asyncio.get_running_loop().time()
        self._tokens = min(self._pace.burst, self._tokens + (now - self._counted) * self._pace.per_s) - 1
        self._counted = now
        if self._tokens < 0:
            await asyncio.sleep(-self._tokens / self._pace.per_s)


class BlockingQuery(Generic[T]):
    """Follows one blocking query for as long as somebody iterates over `changes()`."""

    def __init__(
        self,
        subject: str,
        ask: Callable[[int], Coroutine[object, object, Answer[T]]],
        *,
        pace: Pace | None = None,
        on_lost: Callable[[], None] = lambda: None,
    ) -> None:
        self._subject = subject
        self._ask = ask
        self._pace = pace or Pace()
        self._on_lost = on_lost
        self._asking: asyncio.Task[Answer[T]] | None = None
        self._index = 0
        self.stale_since: float | None = None
        """Instant of the event loop's clock since which no answer came; None while the last question was answered."""

    async def changes(self) -> AsyncGenerator[T]:
        """Yield the first value, then every value that differs from the one before.

        An error yields nothing: the last value stays the best one known, `stale_since` tells how old it is, and the
        question is repeated with jittered backoff.
        """
        bucket = _TokenBucket(self._pace)
        failures, last = 0, _NOTHING_YET
        while True:
            await bucket.take()
            try:
                answer = await self._answer()
            except RegistryError as error:
                failures += 1
                self._mark_stale(error)
                # A registry that comes back empty counts from the beginning; asked with the old index it would block
                # for the whole wait before it said so.
                self._index = 0
                await asyncio.sleep(backoff_s(failures))
                continue
            if answer is None:
                continue
            failures = 0
            self._mark_fresh()
            self._index = next_index(self._index, answer.index)
            if answer.value != last:
                last = answer.value
                yield answer.value

    def start_over(self) -> None:
        """Give up the question that waits, if any, and ask for what is there now.

        For a query that shares its registry with one that was lost: whoever asked in the moment of a quick restart has
        seen no error, and would wait with an index that the registry has yet to reach.
        """
        self._index = 0
        if self._asking is not None:
            self._asking.cancel()

    async def _answer(self) -> Answer[T] | None:
        """Return the answer, or None if the question was given up by `start_over`."""
        index = self._index
        self._asking = asyncio.create_task(self._ask(index))
        try:
            await asyncio.wait([self._asking])
        finally:
            asking, self._asking = self._asking, None
            asking.cancel()
        if asking.cancelled():
            return None
        answer = asking.result()
        return answer if index == self._index else None

    def _mark_stale(self, error: RegistryError) -> None:
        if self.stale_since is None:
            self.stale_since = asyncio.get_running_loop().time()
            log.warning("registry watch lost", extra={"weft.watch": self._subject, "error.message": str(error)})
            self._on_lost()

    def _mark_fresh(self) -> None:
        if self.stale_since is not None:
            away_s = asyncio.get_running_loop().time() - self.stale_since
            self.stale_since = None
            log.info("registry watch restored", extra={"weft.watch": self._subject, "weft.away_s": round(away_s, 3)})
