"""Remembers which events a subscription has applied, in the transaction of their effect."""

from __future__ import annotations

from enum import Enum
from typing import Final
from uuid import UUID

from sqlalchemy import Uuid, bindparam, delete, text

from weft.data import Database, Transaction
from weft.events.lease import Lease, LeaseLost
from weft.events.tables import inbox

__all__ = ["Entry", "Inbox"]

_IDLE_MARGIN_S: Final = 2.0
# One round trip: the lease is held until the transaction ends, and the event is noted as applied, once. A process that
# is paused in the middle must not keep both for the minute that other transactions may idle.
_ENTER: Final = text(
    """
    WITH lease AS MATERIALIZED (
        SELECT token FROM leases WHERE subscription = :subscription AND token = :token FOR KEY SHARE
    ), entered AS (
        INSERT INTO inbox (subscription, event_id, is_applied) SELECT :subscription, :event_id, true FROM lease
        ON CONFLICT (subscription, event_id) DO UPDATE SET is_applied = true, update_time = now()
            WHERE NOT inbox.is_applied
        RETURNING 1
    )
    SELECT EXISTS (SELECT FROM lease) AS is_ours, EXISTS (SELECT FROM entered) AS is_new,
           set_config('idle_in_transaction_session_timeout', :idle_ms, true)
    """
).bindparams(bindparam("event_id", type_=Uuid))
_NOTE: Final = text(
    """
    INSERT INTO inbox (subscription, event_id, attempts, is_applied) VALUES (:subscription, :event_id, :first, false)
    ON CONFLICT (subscription, event_id) DO UPDATE SET attempts = inbox.attempts + 1, update_time = now()
    RETURNING attempts
    """
).bindparams(bindparam("event_id", type_=Uuid))


class Entry(Enum):
    NEW = "new"
    KNOWN = "known"
    """The event has been applied; nothing is left to do but acknowledge it."""


class Inbox:
    """One subscription's, while its lease is held.

    Args:
        database: The service's.
        lease: Of the subscription.
        timeout_s: Longest time a handler may take.
    """

    def __init__(self, database: Database, lease: Lease, *, timeout_s: float) -> None:
        self._database, self._lease = database, lease
        self._idle_ms = f"{(timeout_s + _IDLE_MARGIN_S) * 1000:.0f}"

    async def enter(self, tx: Transaction, event_id: UUID) -> Entry:
        """Note in *tx* that *event_id* is applied. Raises LeaseLost, and what a statement may raise."""
        row = await tx.one(
            _ENTER,
            {
                "subscription": self._lease.subscription,
                "token": self._lease.token,
                "event_id": event_id,
                "idle_ms": self._idle_ms,
            },
        )
        if not row.is_ours:
            raise LeaseLost
        return Entry.NEW if row.is_new else Entry.KNOWN

    async def note_attempt(self, event_id: UUID, *, first: int) -> int:
        """Write down that an attempt begins, and return its number: *first* if no other was written down before."""
        async with self._database.transaction() as tx:
            number: int = await tx.scalar(
                _NOTE, {"subscription": self._lease.subscription, "event_id": event_id, "first": first}
            )
        return number

    async def forget(self, event_id: UUID) -> None:
        """Forget the attempts at an event that becomes a dead letter: redriven, it has all of them again."""
        of_event = delete(inbox).where(
            inbox.c.subscription == self._lease.subscription, inbox.c.event_id == event_id, ~inbox.c.is_applied
        )
        async with self._database.transaction() as tx:
            await tx.execute(of_event)
