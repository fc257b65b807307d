"""What catalog knows of stock: told by inventory's events, and compared with inventory itself every minute.

An event is applied once and in order, so what it says is shown a moment later. Should events be lost, or inventory be
restored to an earlier state, the next comparison puts it right. Should neither come, what is known grows old, and is no
longer shown.

Answers that replicas keep in their caches hold availability too. Whoever changes it makes them forget those answers in
the same transaction, so they are never older than the row; and whether it is too old is asked each time one is given.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from math import inf
from random import uniform
from typing import TYPE_CHECKING, Final

from prometheus_client import Counter, Gauge

from services.catalog import availability_store as store
from services.catalog.peers import AVAILABILITIES
from weft.errors import ServiceError

if TYPE_CHECKING:
    from shop.inventory.v1 import events_pb2

    from services.catalog.answers import Answers
    from services.catalog.peers import Inventory
    from weft.data import Database, Transaction
    from weft.events import Received

__all__ = ["AGE_S", "COMPARED", "FRESH_S", "Knowledge"]

FRESH_S: Final = 300.0
"""Age beyond which availability is not shown: the contract's five minutes."""
COMPARE_S: Final = 60.0
LEASE_S: Final = 60.0
"""After which a comparison that did not come to an end may be begun by another replica."""
POLL_S: Final = 5.0

AGE_S: Final = Gauge(
    "catalog_availability_age_seconds",
    "Time since the last complete comparison with inventory began, or the last event that was heard happened",
)
COMPARED: Final = Counter("catalog_availability_comparisons_total", "Comparisons with inventory", ("outcome",))
_log = logging.getLogger(__name__)


class Knowledge:
    """Of one replica. What is known is in the database, the same for all; a replica remembers only how old it is.

    Args:
        database: Of the service.
        inventory: Whom to ask.
        answers: That hold availability.
        clock: Seconds, never going back.
    """

    def __init__(
        self, database: Database, inventory: Inventory, answers: Answers, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._database, self._inventory, self._answers = database, inventory, answers
        self._clock = clock
        self._known_s = -inf
        """Instant of the clock as of which everything is known, as far as this replica has looked."""
        AGE_S.set_function(self.age_s)

    def age_s(self) -> float:
        """Return how old what is known is, infinite where nothing is. At most *POLL_S* too old: see `look`."""
        return self._clock() - self._known_s

    def is_fresh(self) -> bool:
        """Tell whether availability may be shown."""
        return self.age_s() <= FRESH_S

    async def hear(self, tx: Transaction, received: Received[events_pb2.AvailabilityChanged]) -> None:
        """Apply an event of the subscription `availability`. One that says nothing new, being late, changes nothing."""
        event = received.event
        word = (event.sku, AVAILABILITIES[event.level], event.revision)
        product_ids = await store.hear(tx, word, received.time)
        if product_ids:
            await self._answers.forget_products(tx, product_ids)

    async def run(self, *, poll_s: float = POLL_S) -> None:
        """Compare when it is due, in one replica at a time, until cancelled; what is away is waited for."""
        while True:
            try:
                await self.look()
                if await self.compare():
                    await self.look()
            except Exception as error:  # noqa: BLE001  # whatever it is, the next time may do
                COMPARED.labels("failed").inc()
                reason = getattr(error, "reason", type(error).__name__)
                _log.warning("availability can't be compared with inventory", extra={"reason": reason})
            await asyncio.sleep(poll_s * uniform(0.5, 1.0))  # noqa: S311  # replicas spread out

    async def look(self) -> None:
        """Find out how old what all replicas know is."""
        asked_s = self._clock()
        age_s = await store.age_s(self._database)
        self._known_s = -inf if age_s is None else asked_s - max(0.0, age_s)

    async def compare(self, *, every_s: float = COMPARE_S) -> bool:
        """Take over what inventory says of all SKUs, if that is due and no other replica is at it; tell whether it was.

        Raises:
            PeerError: inventory could not be asked to the end. What it said of the first pages is kept.
        """
        async with self._database.transaction() as tx:
            asked = await store.claim(tx, every_s=every_s, lease_s=LEASE_S)
        if asked is None:
            return False
        try:
            after = ""
            async for words, is_last in self._inventory.pages():
                async with self._database.transaction() as tx:
                    news = await store.compare(tx, words, after=after, is_last=is_last, asked=asked)
                    if news:
                        await self._answers.forget_products(tx, news)
                after = words[-1][0] if words else after
        except BaseException:
            with suppress(ServiceError):  # then the lease has to run out
                async with self._database.transaction() as tx:
                    await store.give_up(tx)
            raise
        async with self._database.transaction() as tx:
            await store.finish(tx, asked=asked)
        COMPARED.labels("done").inc()
        return True
