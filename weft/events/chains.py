"""Work that is done in order within a key, and side by side between keys."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from heapq import heappop, heappush
from typing import Generic, TypeVar

__all__ = ["Chains"]

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")


class Chains(Generic[K, T]):
    """One task for each key that has work, in *group*; it does the key's items in order of their number.

    Args:
        group: Cancels the work; what *work* raises ends it.
        work: Does one item.
    """

    def __init__(self, group: asyncio.TaskGroup, work: Callable[[T], Awaitable[None]]) -> None:
        self._group, self._work = group, work
        self._waiting: dict[K, list[tuple[int, int, T]]] = {}
        self._arrivals = 0

    def add(self, key: K, number: int, item: T) -> None:
        """Do *item* after those of *key* with a smaller number, and after the one being done."""
        self._arrivals += 1  # of equal numbers the earlier is first, and items are never compared
        entry = (number, self._arrivals, item)
        if key in self._waiting:
            heappush(self._waiting[key], entry)
        else:
            self._waiting[key] = [entry]
            self._group.create_task(self._run(key))

    async def _run(self, key: K) -> None:
        waiting = self._waiting[key]
        while waiting:
            *_, item = heappop(waiting)
            await self._work(item)
        del self._waiting[key]
