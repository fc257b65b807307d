"""Who may use a connection next."""

from __future__ import annotations

import asyncio


class Turns:
    """Admit *size* at a time, first come, first served, and let nobody wait longer than *wait_s*.

    The pools themselves are unfair: who gives a connection back and asks again overtakes those who wait, for ever.
    """

    def __init__(self, size: int, *, wait_s: float) -> None:
        self._semaphore = asyncio.Semaphore(size)
        self._wait_s = wait_s

    async def take(self) -> None:
        """Return when it is the caller's turn, who then has to `give_back`. Raises TimeoutError."""
        if not self._semaphore.locked():  # the usual case, which sets no timer
            await self._semaphore.acquire()
            return
        async with asyncio.timeout(self._wait_s):
            await self._semaphore.acquire()

    def give_back(self) -> None:
        self._semaphore.release()
