"""A connection that comes and goes with its server."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Final, Generic, TypeVar

from weft.events.broker import BrokerUnavailable

__all__ = ["ANSWER_S", "CLOSE_S", "Link", "ended", "heeding_cancellation", "ignored", "unavailable"]

ANSWER_S: Final = 5.0
"""Longest wait for a connection, and for an answer of a server."""
CLOSE_S: Final = 2.0
"""A server that stands still does not take the last words either."""

C = TypeVar("C")


class Link(Generic[C]):
    """Makes a connection when it is first needed, and anew after it was lost.

    Args:
        connect: Makes one.
        is_open: Whether it is of use still.
        close: Ends it; is given `CLOSE_S`, and what it raises is ignored.
    """

    def __init__(
        self,
        connect: Callable[[], Awaitable[C]],
        *,
        is_open: Callable[[C], bool],
        close: Callable[[C], Awaitable[object]],
    ) -> None:
        self._connect, self._is_open, self._close = connect, is_open, close
        self._current: C | None = None
        self._attempt: asyncio.Task[C] | None = None
        self._closing: set[asyncio.Task[None]] = set()

    async def get(self) -> C:
        """Return the connection. Those who wait for it at the same time share one attempt, and its failure.

        Raises:
            Exception: what *connect* raises; TimeoutError after `ANSWER_S`.
        """
        if self._current is not None:
            if self._is_open(self._current):
                return self._current
            self.drop(self._current)
        if self._attempt is None:
            self._attempt = asyncio.create_task(self._make())
            self._attempt.add_done_callback(self._made)
        attempt = self._attempt
        try:
            return await asyncio.shield(attempt)
        except asyncio.CancelledError:
            if attempt.cancelled() and not _is_being_cancelled():
                raise ConnectionError("closed while it was being opened") from None
            raise

    def drop(self, connection: C) -> None:
        """Use *connection* no more: its server doesn't answer."""
        if connection is self._current:
            self._current = None
            closing = asyncio.create_task(self._end(connection))
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)

    async def end(self) -> None:
        """Close what is open, and give up what is being opened."""
        if self._attempt is not None:
            self._attempt.cancel()
            await asyncio.wait((self._attempt,))
        if self._current is not None:
            self.drop(self._current)
        await asyncio.gather(*self._closing)

    async def _make(self) -> C:
        async with asyncio.timeout(ANSWER_S):
            self._current = await self._connect()
        return self._current

    def _made(self, attempt: asyncio.Task[C]) -> None:
        self._attempt = None
        if not attempt.cancelled():
            attempt.exception()  # nobody may be waiting any more

    async def _end(self, connection: C) -> None:
        await ended(lambda: self._close(connection))


async def ended(close: Callable[[], Awaitable[object]]) -> None:
    """Close a connection in a bounded time; whatever a library says of one that is lost is of no interest."""
    with suppress(Exception):
        async with asyncio.timeout(CLOSE_S):
            await close()


def unavailable() -> BrokerUnavailable:
    """Return the error for whatever a library calls a lost connection.

    Raises:
        CancelledError: the current task is to end, which some libraries report as a lost connection too.
    """
    if _is_being_cancelled():
        raise asyncio.CancelledError
    return BrokerUnavailable("the broker can't be reached", retry_after_s=1.0)


@contextmanager
def ignored(*failures: type[Exception]) -> Iterator[None]:
    """Go on after *failures* of the block, unless the current task is to end."""
    with heeding_cancellation(), suppress(*failures):
        yield


@contextmanager
def heeding_cancellation() -> Iterator[None]:
    """Raise CancelledError after the block if the current task was cancelled during it, and nobody has noticed.

    The `asyncio.wait_for` of Python 3.11, which the libraries use, loses a cancellation that comes together with the
    answer (https://github.com/python/cpython/issues/86296).
    """
    task = asyncio.current_task()
    before = task.cancelling() if task is not None else 0
    yield
    if task is not None and task.cancelling() > before:
        raise asyncio.CancelledError


def _is_being_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
