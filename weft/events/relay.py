"""Carries committed events from the outbox to the broker: each at least once, those of a subject in order."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Final

from google.protobuf.timestamp_pb2 import Timestamp
from mesh.events.v1.event_pb2 import Event
from sqlalchemy import ARRAY, BigInteger, Row, bindparam, text

from weft.data import Database, Transaction
from weft.errors import ServiceError
from weft.events.backoff import backoff_s, jittered
from weft.events.broker import Broker
from weft.events.metrics import OUTBOX_FAILURES, OUTBOX_LAG_S, OUTBOX_PUBLISHED
from weft.events.outbox import Outbox
from weft.events.spans import publishing
from weft.telemetry import Tracing

__all__ = ["Relay"]

# The first unpublished event of a subject stands for all of them: whoever has locked it publishes the subject, and the
# others pass it by. In READ COMMITTED a head that was published meanwhile is dropped when its lock is had, and what
# follows a head can't be published by anybody but its holder, so one snapshot is enough for both halves.
_TAKE: Final = text(
    """
    WITH heads AS MATERIALIZED (
        SELECT head.subject FROM outbox AS head
        WHERE head.publish_time IS NULL AND NOT EXISTS (
            SELECT FROM outbox AS earlier
            WHERE earlier.publish_time IS NULL
              AND earlier.subject = head.subject AND earlier.sequence < head.sequence
        )
        ORDER BY head.sequence LIMIT :subjects
        FOR UPDATE OF head SKIP LOCKED
    )
    SELECT event.* FROM heads CROSS JOIN LATERAL (
        SELECT sequence, event_id, type, source, subject, time, traceparent, data FROM outbox
        WHERE publish_time IS NULL AND subject = heads.subject
        ORDER BY sequence LIMIT :of_subject
    ) AS event
    ORDER BY sequence LIMIT :events
    """
)
_MARK: Final = text("UPDATE outbox SET publish_time = clock_timestamp() WHERE sequence = ANY(:sequences)").bindparams(
    bindparam("sequences", type_=ARRAY(BigInteger))
)
_LAG: Final = text(
    """
    SELECT extract(epoch FROM clock_timestamp() - time) FROM outbox
    WHERE publish_time IS NULL ORDER BY sequence LIMIT 1
    """
)

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Batch:
    subjects: int
    of_subject: int
    events: int


_FULL: Final = _Batch(subjects=100, of_subject=50, events=200)
_PROBE: Final = _Batch(subjects=100, of_subject=1, events=100)
"""After a failure: enough to see that the broker is back, or that it refuses one subject only."""


class Relay:
    """Publishes what an outbox holds. Runs in every replica of the service; they share the work by subject.

    Args:
        database: The service's.
        broker: Where events go.
        outbox: Of this process; wakes the relay. Events of other processes, and those whose process died after its
            commit, are found by looking.
        tracing: Of the process.
        poll_s: Time between looks, about.
        publish_s: Longest time the broker may take to confirm a batch, and so the longest that its transaction waits.
            Well under PostgreSQL's idle_in_transaction_session_timeout.
    """

    def __init__(
        self,
        database: Database,
        broker: Broker,
        outbox: Outbox,
        *,
        tracing: Tracing,
        poll_s: float = 1.0,
        publish_s: float = 10.0,
    ) -> None:
        self._database, self._broker, self._tracing = database, broker, tracing
        self._poll_s, self._publish_s = poll_s, publish_s
        self._wake = asyncio.Event()
        self._published = OUTBOX_PUBLISHED.labels(outbox.source)
        self._failures = OUTBOX_FAILURES.labels(outbox.source)
        self._lag_s = OUTBOX_LAG_S.labels(outbox.source)
        outbox.when_committed(self._wake.set)

    async def run(self) -> None:
        """Publish for ever, whatever becomes of the broker and the database."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._publish())
            group.create_task(self._measure())

    async def _publish(self) -> None:
        failures = 0
        while True:
            self._wake.clear()
            try:
                published, failed = await self._relay(_PROBE if failures else _FULL)
            except ServiceError as error:  # our own database's
                _log.log(_level(failures), "cannot read the outbox", extra={"reason": error.reason})
                published, failed = 0, 1
            if failed:
                failures = 1 if published else failures + 1
                await asyncio.sleep(backoff_s(failures, base_s=0.2, cap_s=2.0))
            elif published:
                failures = 0
            else:
                await self._woken_or_late()

    async def _woken_or_late(self) -> None:
        try:
            async with asyncio.timeout(jittered(self._poll_s)):
                await self._wake.wait()
        except TimeoutError:
            pass

    async def _relay(self, size: _Batch) -> tuple[int, int]:
        """Publish one batch; return how many events the broker has confirmed, and how many it failed to."""
        cancelled = False
        async with self._database.transaction() as tx:
            rows = await tx.all(
                _TAKE, {"subjects": size.subjects, "of_subject": size.of_subject, "events": size.events}
            )
            if not rows:
                return 0, 0
            confirmed: list[int] = []
            try:
                failed = await self._send(rows, confirmed)
            except asyncio.CancelledError:  # what is confirmed need not be published twice because we stop
                cancelled, failed = True, 0
            await _mark(tx, confirmed)
        self._published.inc(len(confirmed))
        self._failures.inc(failed)
        if cancelled:
            raise asyncio.CancelledError
        return len(confirmed), failed

    async def _send(self, rows: Sequence[Row[Any]], confirmed: list[int]) -> int:
        """Publish side by side, one after another within a subject; add to *confirmed*; return how many failed."""
        subjects = [list(group) for _, group in groupby(sorted(rows, key=_place), key=lambda row: row.subject)]
        try:
            async with asyncio.timeout(self._publish_s):
                failed = await asyncio.gather(*[self._send_subject(events, confirmed) for events in subjects])
        except TimeoutError:
            _log.warning("the broker takes too long to confirm events")
            return 1
        return sum(failed)

    async def _send_subject(self, rows: Sequence[Row[Any]], confirmed: list[int]) -> int:
        for row in rows:
            event = _envelope(row)
            try:
                with publishing(self._tracing, self._broker.system, event):
                    await self._broker.publish(event)
            except ServiceError as error:
                _log.debug("an event was not confirmed", extra={"reason": error.reason})
                return 1
            except Exception:  # noqa: BLE001
                _log.exception("an event was not published", extra={"event.type": row.type})
                return 1
            confirmed.append(row.sequence)
        return 0

    async def _measure(self) -> None:
        while True:
            try:
                async with self._database.transaction() as tx:
                    self._lag_s.set(float(await tx.scalar(_LAG) or 0))
            except ServiceError as error:
                _log.debug("cannot measure the outbox", extra={"reason": error.reason})
            await asyncio.sleep(jittered(5.0))


async def _mark(tx: Transaction, sequences: Sequence[int]) -> None:
    if sequences:
        await tx.execute(_MARK, {"sequences": sequences})


def _place(row: Row[Any]) -> tuple[str, int]:
    return row.subject, row.sequence


def _envelope(row: Row[Any]) -> Event:
    time = Timestamp()
    time.FromDatetime(row.time)
    return Event(
        id=str(row.event_id),
        type=row.type,
        source=row.source,
        subject=row.subject,
        sequence=row.sequence,
        time=time,
        traceparent=row.traceparent,
        data=bytes(row.data),
    )


def _level(failures: int) -> int:
    return logging.DEBUG if failures else logging.WARNING
