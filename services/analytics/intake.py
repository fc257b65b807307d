"""Takes what shoppers did without keeping them waiting: a queue with a bound, and one who empties it."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from itertools import islice
from typing import TYPE_CHECKING, Final

from prometheus_client import Counter, Gauge

from services.analytics import behaviour_store

if TYPE_CHECKING:
    from collections.abc import Sequence

    from services.analytics.domain import Behaviour
    from weft.data import Database

__all__ = ["BEHAVIOUR", "MOST_WAITING", "Intake"]

MOST_WAITING: Final = 10_000
"""A few megabytes; some ten seconds of writing."""
BATCH: Final = 500
GATHER_S: Final = 0.05
"""How long a batch may gather: one statement for many costs little more than one for one."""
BACKOFF_S: Final = (0.1, 5.0)
FLUSH_S: Final = 2.0

BEHAVIOUR: Final = Counter(
    "analytics_behaviour_total",
    "What shoppers did: written, repeated (there already, or of a forgotten user), or dropped: too much was waiting",
    ("outcome",),
)
WAITING: Final = Gauge("analytics_behaviour_waiting", "What shoppers did and is not written yet")
_log = logging.getLogger(__name__)


class Intake:
    """Of one replica. What waits is lost if its process is killed, and written if it is stopped.

    Args:
        database: Of the service.
        most_waiting: Beyond that many, what comes is dropped.
    """

    def __init__(self, database: Database, *, most_waiting: int = MOST_WAITING) -> None:
        self._database = database
        self._most_waiting = most_waiting
        self._waiting: deque[Behaviour] = deque()
        self._filled = asyncio.Event()
        WAITING.set_function(lambda: len(self._waiting))

    def take(self, done: Sequence[Behaviour]) -> int:
        """Have *done* written as soon as possible; return how many there was no room for."""
        room = self._most_waiting - len(self._waiting)
        self._waiting.extend(done[:room])
        self._filled.set()
        dropped = max(0, len(done) - room)
        if dropped:
            BEHAVIOUR.labels("dropped").inc(dropped)
        return dropped

    async def run(self) -> None:
        """Write what is taken, until cancelled. A database that is away is waited for; what finds no room is lost."""
        wait_s, longest_s = BACKOFF_S
        while True:
            await self._filled.wait()
            await asyncio.sleep(GATHER_S)
            try:
                await self._write_all()
                wait_s = BACKOFF_S[0]
            except Exception as error:  # noqa: BLE001  # whatever it is, the next time may do
                reason = getattr(error, "reason", type(error).__name__)
                _log.warning("cannot write what shoppers did", extra={"reason": reason})
                await asyncio.sleep(wait_s)
                wait_s = min(longest_s, 2 * wait_s)

    async def flush(self) -> None:
        """Write what waits, once nobody else does, as far as that takes no more than two seconds."""
        try:
            async with asyncio.timeout(FLUSH_S):
                await self._write_all()
        except Exception as error:  # noqa: BLE001  # the process ends all the same
            _log.warning(
                "what shoppers did is lost", extra={"count": len(self._waiting), "error.type": type(error).__name__}
            )

    async def _write_all(self) -> None:
        """Write what waits; what fails goes on waiting, in its place."""
        while self._waiting:
            batch = list(islice(self._waiting, BATCH))
            async with self._database.transaction() as tx:
                new = await behaviour_store.write(tx, batch)
            for _ in batch:
                self._waiting.popleft()
            BEHAVIOUR.labels("written").inc(new)
            BEHAVIOUR.labels("repeated").inc(len(batch) - new)
        self._filled.clear()
