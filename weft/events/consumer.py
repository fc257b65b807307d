"""Hears one subscription: each event is applied once, those of a subject in order, the rest side by side."""

from __future__ import annotations

import asyncio
import logging
from typing import Final, TypeVar

from weft.contract import Subscription
from weft.data import Database
from weft.errors import ServiceError
from weft.events.applier import Applier
from weft.events.arrival import Arrival, Routes, Unreadable, dead_letter, read
from weft.events.backoff import backoff_s, jittered
from weft.events.broker import Broker, Delivery, QueueMismatch
from weft.events.chains import Chains
from weft.events.inbox import Inbox
from weft.events.lease import Lease, LeaseLost, leased
from weft.events.metrics import APPLIED, CONSUMER_ACTIVE
from weft.telemetry import Tracing

__all__ = ["Consumer"]

EXTEND_S: Final = 3.0
"""Well under the time after which a broker gives what nobody has acknowledged to somebody else."""
_STAND_BACK_S: Final = 5.0
"""Longer than another replica takes to see that a lease is free."""
_PREFETCH_PER_SUBJECT: Final = 8
"""Events in hand for each subject being applied: what waits behind an event that fails must not fill the hand."""

E = TypeVar("E", bound=Exception)

_log = logging.getLogger(__name__)


class Consumer:
    """One replica's part in one subscription: waits for its lease, then applies events until it loses it.

    Args:
        subscription: What to hear.
        routes: What to do with each of its events.
        database: The service's: lease, inbox and effects are in it.
        broker: Where events come from.
        tracing: Of the process.
        turns: How many events this process applies at a time, all of its subscriptions together: each holds a
            connection of the service's pool.
        lease_s: After which another replica may take over from one that is gone.
    """

    def __init__(
        self,
        subscription: Subscription,
        routes: Routes,
        *,
        database: Database,
        broker: Broker,
        tracing: Tracing,
        turns: asyncio.Semaphore,
        lease_s: float = 5.0,
    ) -> None:
        self._subscription, self._routes = subscription, routes
        self._database, self._broker, self._tracing = database, broker, tracing
        self._turns, self._lease_s = turns, lease_s
        self._active = CONSUMER_ACTIVE.labels(subscription.name)
        self._is_refused = False
        self._facts = {"subscription": subscription.name}

    async def run(self) -> None:
        """Apply events for ever, whatever becomes of the broker and the database."""
        self._active.set(0)
        while True:
            async with leased(self._database, self._subscription.name, duration_s=self._lease_s) as lease:
                try:
                    async with asyncio.TaskGroup() as group:
                        group.create_task(lease.keep())
                        group.create_task(self._hear(lease))
                except* LeaseLost:
                    _log.warning("lost the lease of a subscription", extra=self._facts)
                except* QueueMismatch as refusals:
                    self._note_refusal(_first(refusals))
            if self._is_refused:  # a replica of the build that has made the queue can hear it, and empty it
                await asyncio.sleep(jittered(_STAND_BACK_S))

    def _note_refusal(self, refusal: QueueMismatch) -> None:
        """Say once that nothing is heard, for as long as that lasts."""
        level = logging.DEBUG if self._is_refused else logging.ERROR
        self._is_refused = True
        facts = {**self._facts, **refusal.metadata, "reason": refusal.reason, "detail": refusal.message}
        _log.log(level, "cannot hear a subscription", extra=facts)

    async def _hear(self, lease: Lease) -> None:
        failures = 0
        while True:
            try:
                await self._broker.declare(self._subscription)
                prefetch = self._subscription.max_in_flight * _PREFETCH_PER_SUBJECT
                async with self._broker.subscribe(self._subscription, prefetch=prefetch) as deliveries:
                    failures, self._is_refused = 0, False
                    self._active.set(1)
                    _log.info("applying events", extra=self._facts)
                    async with asyncio.TaskGroup() as group:
                        hand = self._hand(group, lease)
                        async for delivery in deliveries:
                            hand.take(delivery)
                        raise ServiceError("the broker has ended the subscription")  # noqa: TRY301
            except* (LeaseLost, QueueMismatch):
                raise
            except* ServiceError as lost:
                level = logging.DEBUG if failures else logging.WARNING
                _log.log(level, "lost a subscription", extra=self._facts | {"reason": _first(lost).reason})
            except* Exception:  # noqa: BLE001 (a broker's defect must not end the service)
                _log.exception("a subscription failed", extra=self._facts)
            finally:
                self._active.set(0)
            if _is_cancelled():  # clients of brokers take a cancellation for a lost connection when both come at once
                raise asyncio.CancelledError
            failures += 1
            await asyncio.sleep(backoff_s(failures, base_s=0.2, cap_s=5.0))

    def _hand(self, group: asyncio.TaskGroup, lease: Lease) -> _Hand:
        inbox = Inbox(self._database, lease, timeout_s=self._subscription.timeout_s)
        applier = Applier(
            self._subscription,
            system=self._broker.system,
            database=self._database,
            inbox=inbox,
            tracing=self._tracing,
            turns=self._turns,
        )
        return _Hand(group, self._subscription.name, self._routes, applier, lease)


class _Hand:
    """Deliveries that were taken and are not settled; the broker bounds how many."""

    def __init__(
        self, group: asyncio.TaskGroup, subscription: str, routes: Routes, applier: Applier, lease: Lease
    ) -> None:
        self._group, self._subscription, self._routes = group, subscription, routes
        self._applier, self._lease = applier, lease
        self._chains = Chains[tuple[str, str], Arrival](group, self._settle)
        self._held: dict[int, Delivery] = {}
        group.create_task(self._extend())

    def take(self, delivery: Delivery) -> None:
        self._held[id(delivery)] = delivery
        try:
            arrival = read(delivery, self._routes)
        except Unreadable as unreadable:
            self._group.create_task(self._bury(delivery, unreadable))
        else:
            envelope = arrival.envelope
            self._chains.add((envelope.source, envelope.subject), envelope.sequence, arrival)

    async def _settle(self, arrival: Arrival) -> None:
        await self._applier.settle(arrival)
        del self._held[id(arrival.delivery)]

    async def _bury(self, delivery: Delivery, unreadable: Unreadable) -> None:
        facts = {"subscription": self._subscription, "event.id": delivery.message_id, "reason": unreadable.reason}
        _log.error("an event can't be read", extra=facts)
        await delivery.bury(dead_letter(self._subscription, delivery, unreadable.event, unreadable.reason, attempts=0))
        APPLIED.labels(self._subscription, "buried").inc()
        del self._held[id(delivery)]

    async def _extend(self) -> None:
        """Keep what waits its turn, as long as the lease is ours."""
        while True:
            await asyncio.sleep(EXTEND_S)
            for delivery in tuple(self._held.values()):
                if self._lease.is_valid:
                    await delivery.extend()


def _is_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _first(group: BaseExceptionGroup[E]) -> E:
    """Return the first exception of a group, however deep it is."""
    first = group.exceptions[0]
    return _first(first) if isinstance(first, BaseExceptionGroup) else first
