"""What happens to one event: attempts until its effect is committed, or until it is buried."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final, TypeVar

from opentelemetry.trace import SpanKind

from weft.call import Call, current_call
from weft.contract import Subscription
from weft.data import Database
from weft.errors import Aborted, ServiceError, Unavailable
from weft.events.arrival import Arrival, dead_letter
from weft.events.backoff import backoff_s
from weft.events.inbox import Entry, Inbox
from weft.events.lease import LeaseLost
from weft.events.metrics import APPLIED, APPLY_S, EVENT_LAG_S
from weft.events.spans import processing, reason_of
from weft.telemetry import Tracing, parse_traceparent

__all__ = ["Applier"]

ATTEMPTS_LOST: Final = "ATTEMPTS_LOST"
"""Every attempt ended with its process, so nobody could say why."""
_AWAY: Final = {"DATABASE_UNAVAILABLE", "CONFLICT"}

T = TypeVar("T")

_log = logging.getLogger(__name__)


class Applier:
    """Applies the events of one subscription while its lease is held.

    Args:
        subscription: Says how often, and how long, to try.
        system: The kind of broker it comes from, for spans.
        database: The service's.
        inbox: Of the subscription.
        tracing: Of the process.
        turns: How many events the process applies at a time.
    """

    def __init__(
        self,
        subscription: Subscription,
        *,
        system: str,
        database: Database,
        inbox: Inbox,
        tracing: Tracing,
        turns: asyncio.Semaphore,
    ) -> None:
        self._subscription, self._system, self._span_name = subscription, system, f"process {subscription.name}"
        self._database, self._inbox, self._tracing, self._turns = database, inbox, tracing, turns
        self._in_flight = asyncio.Semaphore(subscription.max_in_flight)
        self._apply_s = APPLY_S.labels(subscription.name)
        self._lag_s = EVENT_LAG_S.labels(subscription.name)

    async def settle(self, arrival: Arrival) -> None:
        """Apply an event and acknowledge it, or bury it; returns when the broker knows.

        Raises:
            LeaseLost: somebody else is to apply it.
            ServiceError: BrokerUnavailable. It will be delivered again.
        """
        policy, number = self._subscription, 1
        if arrival.delivery.deliveries > 1:  # may have been tried by a process that did not live to tell
            number = await self._patiently(lambda: self._inbox.note_attempt(arrival.event_id, first=1))
        if number > policy.max_attempts:
            await self._bury(arrival, ATTEMPTS_LOST, number - 1)
            return
        while True:
            try:
                entry = await self._patiently(lambda: self._attempt(arrival, number))  # noqa: B023 (awaited at once)
            except LeaseLost:
                raise
            except (Exception, asyncio.CancelledError) as error:
                if _is_ours(error):
                    raise
                self._count("failed")
                reason = reason_of(error)
                self._log_failure(arrival, reason, number, error)
                if number >= policy.max_attempts:
                    await self._bury(arrival, reason, number)
                    return
                wait_s = backoff_s(number, base_s=policy.initial_backoff_s, cap_s=policy.max_backoff_s)
                await asyncio.sleep(wait_s)
                number = await self._patiently(lambda: self._inbox.note_attempt(arrival.event_id, first=2))
                continue
            self._count("applied" if entry is Entry.NEW else "duplicate")
            await arrival.delivery.ack()
            return

    async def _attempt(self, arrival: Arrival, number: int) -> Entry:
        async with self._in_flight, self._turns:
            started_s = time.perf_counter()
            async with self._database.transaction() as tx:
                entry = await self._inbox.enter(tx, arrival.event_id)
                if entry is Entry.NEW:
                    async with self._as_call(arrival):
                        await arrival.route.handler(tx, arrival.received(number))
            if entry is Entry.NEW:
                self._apply_s.observe(time.perf_counter() - started_s)
                happened_s = arrival.envelope.time.ToNanoseconds() / 1e9
                self._lag_s.observe(max(0.0, time.time() - happened_s))
            return entry

    @asynccontextmanager
    async def _as_call(self, arrival: Arrival) -> AsyncIterator[None]:
        """Run the block as a call is run: with a deadline, in the event's trace, able to call peers."""
        envelope, timeout_s = arrival.envelope, self._subscription.timeout_s
        trace, span = self._tracing.begin(self._span_name, SpanKind.CONSUMER, parse_traceparent(envelope.traceparent))
        deadline = asyncio.get_running_loop().time() + timeout_s
        before = current_call.set(Call(method=envelope.type, request_id=envelope.id, trace=trace, deadline=deadline))
        try:
            with processing(span, self._system, envelope, self._subscription.name):
                async with asyncio.timeout_at(deadline):
                    yield
        finally:
            current_call.reset(before)

    async def _bury(self, arrival: Arrival, reason: str, attempts: int) -> None:
        # Before it is buried: one that is redriven at once finds all of its attempts.
        await self._patiently(lambda: self._inbox.forget(arrival.event_id))
        letter = dead_letter(self._subscription.name, arrival.delivery, arrival.envelope, reason, attempts)
        await arrival.delivery.bury(letter)
        self._count("buried")

    async def _patiently(self, work: Callable[[], Awaitable[T]]) -> T:
        """Return what *work* does, as soon as our own database lets it: that is no fault of the event."""
        failures = 0
        while True:
            try:
                return await work()
            except (Unavailable, Aborted) as error:
                if error.reason not in _AWAY:
                    raise
                failures += 1
                self._count("postponed")
            await asyncio.sleep(backoff_s(failures, base_s=0.1, cap_s=2.0))

    def _count(self, outcome: str) -> None:
        APPLIED.labels(self._subscription.name, outcome).inc()

    def _log_failure(self, arrival: Arrival, reason: str, number: int, error: BaseException) -> None:
        facts = {
            "subscription": self._subscription.name,
            "event.type": arrival.envelope.type,
            "event.id": arrival.envelope.id,
            "attempt": number,
            "reason": reason,
        }
        unexpected = not isinstance(error, ServiceError | TimeoutError)
        _log.warning("an event was not applied", extra=facts, exc_info=error if unexpected else None)


def _is_ours(error: BaseException) -> bool:
    """Tell our own cancellation from one that a handler made."""
    task = asyncio.current_task()
    return isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling() > 0
