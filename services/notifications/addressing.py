"""Finds out whom a notice reaches, and by which channels."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from services.notifications import store
from services.notifications.domain import notifications_of, unreachable
from weft.client import PeerError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from services.notifications.domain import Channel, Notice, Notification
    from services.notifications.peers import Contacts
    from services.notifications.sending import Pace
    from services.notifications.waking import Bell
    from weft.data import Database

__all__ = ["Addressing"]

BATCH: Final = 20
"""Takes less than a lease even where every question to `users` runs out of time."""

_log = logging.getLogger(__name__)


class Addressing:
    """Turns notices into notifications. As long as `users` is away, notices wait: none is given up.

    Args:
        database: Of the service.
        contacts: Whom to ask.
        served: Channels that this shop has.
        bell: Rung when there may be a notice.
        pace: How long things take.
        wake: Called when there are notifications to send.
    """

    def __init__(
        self,
        database: Database,
        contacts: Contacts,
        *,
        served: Collection[Channel],
        bell: Bell,
        pace: Pace,
        wake: Callable[[], object],
    ) -> None:
        self._database, self._contacts = database, contacts
        self._served, self._bell, self._pace, self._wake = served, bell, pace, wake

    async def run(self) -> None:
        """Address what there is, until cancelled; a database that is away is waited for."""
        while True:
            try:
                done = await self.work(limit=BATCH)
            except Exception as error:  # noqa: BLE001  # whatever it is, the next time may do
                _log.warning("cannot look for notices", extra={"error.type": type(error).__name__})
                done = 0
            if done < BATCH:
                await self._bell.wait(self._pace.poll_s)

    async def work(self, *, limit: int) -> int:
        """Address up to *limit* notices that are due; return how many were taken."""
        if not await store.has_due_notices(self._database):
            return 0
        async with self._database.transaction() as tx:
            leased = await store.lease_notices(tx, limit=limit, lease_s=self._pace.lease_s)
        for notice, attempt in leased:
            await self._address(notice, attempt)
        if leased:
            self._wake()
        return len(leased)

    async def _address(self, notice: Notice, attempt: int) -> None:
        try:
            made = await self._notifications(notice)
        except Exception as error:  # noqa: BLE001  # one that can't be understood must not hold up the others
            reason = error.reason if isinstance(error, PeerError) else type(error).__name__
            facts = {"event.id": str(notice.event_id), "template": notice.template, "reason": reason}
            _log.warning("cannot find out whom a notice reaches", extra=facts)
            async with self._database.transaction() as tx:
                await store.postpone_notice(tx, notice, attempt, wait_s=self._pace.wait(attempt))
            return
        async with self._database.transaction() as tx:
            await store.settle_notice(tx, notice, made)

    async def _notifications(self, notice: Notice) -> list[Notification]:
        """Raises PeerError."""
        now = datetime.now(UTC)
        if notice.user_id is None:
            contacts = await self._contacts.administrators()
            return notifications_of(notice, contacts, served=self._served, now=now)
        contact = await self._contacts.find(notice.user_id)
        if contact is None:
            return [unreachable(notice, notice.user_id, now=now)]
        return notifications_of(notice, [contact], served=self._served, now=now)
