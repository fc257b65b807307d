"""A loop's rest, which ends early when there is something to do."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from random import uniform

__all__ = ["Bell"]


class Bell:
    """Wakes one loop of this process; what happens in other replicas is found by looking now and then."""

    def __init__(self) -> None:
        self._rung = asyncio.Event()

    def ring(self) -> None:
        """Have the loop look, at once or as soon as it is done with what it does."""
        self._rung.set()

    async def wait(self, poll_s: float) -> None:
        """Return when rung, and after about *poll_s* at the latest."""
        with suppress(TimeoutError):
            async with asyncio.timeout(poll_s * uniform(0.5, 1.5)):  # noqa: S311  # replicas spread out
                await self._rung.wait()
        self._rung.clear()
