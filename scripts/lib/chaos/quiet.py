"""Waits until nothing is under way any more."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

__all__ = ["until_quiet"]

POLL_S: Final = 1.0
IN_A_ROW: Final = 2
"""Looks that find nothing: between one part's end and the next one's beginning there may be a moment of silence."""


async def until_quiet(
    look: Callable[[], Awaitable[Mapping[str, int]]], *, limit_s: float, on_look: Callable[[Mapping[str, int]], None]
) -> Mapping[str, int]:
    """Call *look*, which counts what is under way, until it finds nothing; return what is left after *limit_s*."""
    deadline_s = time.monotonic() + limit_s
    silences = 0
    while True:
        left = {what: count for what, count in (await look()).items() if count}
        on_look(left)
        silences = 0 if left else silences + 1
        if silences >= IN_A_ROW or time.monotonic() > deadline_s:
            return left
        await asyncio.sleep(POLL_S)
