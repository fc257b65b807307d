"""Tells those who wait for an order that it has changed: one LISTEN connection, however many they are."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from services.orders.store import CHANNEL
from weft.data import MISSED

if TYPE_CHECKING:
    from collections.abc import Iterator, KeysView
    from uuid import UUID

    from weft.data import Database

__all__ = ["Changes", "Watcher"]


class Watcher:
    """One who waits for changes of one order.

    What is waiting for them is at most one "it has changed": who is slow reads the newest state and has missed nothing
    that is still true, and nobody's backlog grows.
    """

    def __init__(self) -> None:
        self._changed = asyncio.Event()

    def tell(self) -> None:
        self._changed.set()

    async def changed(self, *, timeout_s: float | None = None) -> None:
        """Return when the order may have changed since the last time this returned, or after *timeout_s*."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._changed.wait()
        self._changed.clear()


class Changes:
    """Changes of all orders, whichever replica makes them.

    Args:
        database: Of the service.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._watchers: dict[str, set[Watcher]] = {}

    async def run(self) -> None:
        """Listen, for ever; a database that is away is waited for."""
        async with self._database.listen(CHANNEL) as messages:
            async for message in messages:
                if message is MISSED:  # something may have happened to any order
                    for watchers in self._watchers.values():
                        _tell(watchers)
                else:
                    _tell(self._watchers.get(str(message), set()))

    @property
    def watched(self) -> KeysView[str]:
        """Return the orders that somebody waits for."""
        return self._watchers.keys()

    @contextmanager
    def watching(self, order_id: UUID) -> Iterator[Watcher]:
        """Have a watcher told of every change from now on. Read the order after this, not before."""
        key, watcher = str(order_id), Watcher()
        self._watchers.setdefault(key, set()).add(watcher)
        try:
            yield watcher
        finally:
            watchers = self._watchers[key]
            watchers.discard(watcher)
            if not watchers:
                del self._watchers[key]


def _tell(watchers: set[Watcher]) -> None:
    for watcher in watchers:
        watcher.tell()
