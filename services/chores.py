"""What a service does beside its calls: a batch at a time, in every replica, for ever."""

from __future__ import annotations

import asyncio
import logging
from random import uniform
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Awaitable

__all__ = ["Work", "chore"]

_log = logging.getLogger(__name__)


class Work(Protocol):
    """Something of which there may be more at any time."""

    def __call__(self, *, limit: int) -> Awaitable[int]:
        """Do up to *limit* of what is due; return how many were done. Other replicas may do the same."""


async def chore(work: Work, *, name: str, batch: int, poll_s: float) -> None:
    """Have *work* done, until cancelled; a database that is away is waited for.

    Args:
        work: What is to be done.
        name: What the log calls it.
        batch: How many to do at a time.
        poll_s: How long to wait, about, when fewer than that were due.
    """
    while True:
        try:
            done = await work(limit=batch)
        except Exception as error:  # noqa: BLE001  # whatever it is, the next time may do
            _log.warning("cannot do a chore", extra={"chore": name, "error.type": type(error).__name__})
            done = 0
        if done < batch:
            await asyncio.sleep(poll_s * uniform(0.5, 1.5))  # noqa: S311  # replicas spread out
