"""Tells people what is due by one channel, a bounded number at a time, until their provider has taken it.

A notification is leased, sent, and only then noted as sent. Whoever is killed between the last two leaves it to the
next, who sends it again under the same id: what that means for whom it is for is stated where each transport is.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from datetime import UTC, datetime
from random import random
from typing import TYPE_CHECKING, Final

from services.notifications import store
from services.notifications.domain import NO_SUCH_USER, State, is_given_up, retry_wait_s
from services.notifications.metrics import ATTEMPTS
from services.notifications.transport import Deferred, Message, Refused
from weft.client import PeerError
from weft.errors import ServiceError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from services.notifications.domain import Channel, Notification
    from services.notifications.peers import Contacts
    from services.notifications.rendering import Renderer
    from services.notifications.transport import Transport
    from services.notifications.waking import Bell
    from weft.data import Database, Transaction

__all__ = ["NO_ADDRESS", "USERS_UNAVAILABLE", "Pace", "Sender"]

NO_ADDRESS: Final = "NO_ADDRESS"
USERS_UNAVAILABLE: Final = "USERS_UNAVAILABLE"
TIMED_OUT: Final = "TIMED_OUT"
INTERNAL: Final = "INTERNAL"

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How long things take."""

    lease_s: float = 60.0
    """After which another replica may try what this one has leased; longer than *send_s* and *note_s* together."""
    send_s: float = 30.0
    """Longest time of one attempt."""
    note_s: float = 20.0
    """How long to go on where what became of an attempt can't be noted at once."""
    poll_s: float = 1.0
    """How often, about, to look for what others have left."""
    finish_s: float = 5.0
    """How long attempts under way get to come to their end when the process stops."""
    wait: Callable[[int], float] = lambda attempts: retry_wait_s(attempts, chance=random())  # noqa: S311  # no secret
    """Seconds to wait after so many attempts that failed."""


class Sender:
    """Of one channel, in one replica.

    Args:
        channel: Which.
        transport: Where it goes; None where this shop has it no more.
        database: Of the service.
        contacts: Where people can be reached.
        renderer: Writes to them.
        bell: Rung when there may be something to send.
        pace: How long things take.
        slots: How many are sent at a time.
    """

    def __init__(
        self,
        channel: Channel,
        transport: Transport | None,
        *,
        database: Database,
        contacts: Contacts,
        renderer: Renderer,
        bell: Bell,
        pace: Pace,
        slots: int = 4,
    ) -> None:
        self._channel, self._transport = channel, transport
        self._database, self._contacts, self._renderer = database, contacts, renderer
        self._bell, self._pace, self._slots = bell, pace, slots
        self._under_way: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Send what is due until cancelled; then wait a moment for what is under way, so that nothing is sent twice."""
        try:
            while True:
                free = self._slots - len(self._under_way)
                taken = await self._lease(free) if free else []
                for notification in taken:
                    task = asyncio.create_task(self._tell(notification))
                    self._under_way.add(task)
                    task.add_done_callback(self._done)
                if not taken or len(self._under_way) >= self._slots:
                    await self._bell.wait(self._pace.poll_s)
        finally:
            if self._under_way:
                await asyncio.wait(self._under_way, timeout=self._pace.finish_s)
            for task in self._under_way:
                task.cancel()

    def _done(self, task: asyncio.Task[None]) -> None:
        self._under_way.discard(task)
        self._bell.ring()

    async def _lease(self, limit: int) -> list[Notification]:
        try:
            if not await store.has_due(self._database, self._channel):
                return []
            async with self._database.transaction() as tx:
                return await store.lease(tx, self._channel, limit=limit, lease_s=self._pace.lease_s)
        except Exception as error:  # noqa: BLE001  # whatever it is, the next time may do
            facts = {"channel": self._channel, "error.type": type(error).__name__}
            _log.warning("cannot look for notifications", extra=facts)
            return []

    async def _tell(self, notification: Notification) -> None:
        """Try once, and note what became of it. Whatever fails, it fails for this one alone."""
        language = notification.language
        try:
            async with asyncio.timeout(self._pace.send_s):
                message, language = await self._message(notification)
                await self._hand_over(message)
        except Refused as refused:
            await self._fail(notification, language, refused.reason)
        except Deferred as deferred:
            await self._retry(notification, language, deferred.reason)
        except PeerError:
            await self._retry(notification, language, USERS_UNAVAILABLE)
        except TimeoutError:
            await self._retry(notification, language, TIMED_OUT)
        except Exception:  # noqa: BLE001  # a defect met by one must not stop the others
            _log.exception("a notification met a defect", extra=_facts(notification))
            await self._retry(notification, language, INTERNAL)
        else:
            await self._note(lambda tx: store.end(tx, notification, State.SENT, language=language))
            self._count(notification, "sent")
            _log.info("a notification was sent", extra=_facts(notification))

    async def _message(self, notification: Notification) -> tuple[Message, str]:
        """Return what to send, and its language. Raises Refused, PeerError."""
        contact = await self._contacts.find(notification.user_id)
        if contact is None:
            raise Refused(NO_SUCH_USER)
        address = contact.addresses.get(notification.channel)
        if not address:
            raise Refused(NO_ADDRESS)
        rendered = self._renderer.render(
            notification.template,
            subject=notification.subject,
            facts=notification.facts,
            first_name=contact.first_name,
            language=contact.language,
        )
        return Message(notification=notification, address=address, rendered=rendered), rendered.language

    async def _hand_over(self, message: Message) -> None:
        if self._transport is None:
            raise Refused("CHANNEL_NOT_SERVED")
        await self._transport.send(message)

    async def _fail(self, notification: Notification, language: str, reason: str) -> None:
        await self._note(lambda tx: store.end(tx, notification, State.FAILED, language=language, failure_reason=reason))
        self._count(notification, "failed")
        _log.warning("a notification failed for good", extra={**_facts(notification), "reason": reason})

    async def _retry(self, notification: Notification, language: str, reason: str) -> None:
        if is_given_up(notification.create_time, now=datetime.now(UTC)):
            await self._fail(notification, language, reason)
            return
        wait_s = self._pace.wait(notification.attempts)
        await self._note(
            lambda tx: store.postpone(tx, notification, language=language, failure_reason=reason, wait_s=wait_s)
        )
        self._count(notification, "retried")
        _log.warning("a notification was not sent", extra={**_facts(notification), "reason": reason})

    async def _note(self, write: Callable[[Transaction], Awaitable[object]]) -> None:
        """Write down what became of an attempt; a database that is away for a moment must not have it sent twice."""
        wait_s = 0.05
        try:
            async with asyncio.timeout(self._pace.note_s):
                while True:
                    try:
                        async with self._database.transaction() as tx:
                            await write(tx)
                            return
                    except ServiceError:
                        await asyncio.sleep(wait_s)
                        wait_s = min(1.0, wait_s * 2)
        except TimeoutError:
            _log.warning("cannot note what became of a notification", extra={"channel": self._channel})

    def _count(self, notification: Notification, outcome: str) -> None:
        ATTEMPTS.labels(notification.channel.value, notification.template.value, outcome).inc()


def _facts(notification: Notification) -> dict[str, object]:
    """Return what a log may say: nothing that leads to a person without this service's database."""
    return {
        "notification.id": str(notification.notification_id),
        "channel": notification.channel.value,
        "template": notification.template.value,
        "attempt": notification.attempts,
    }
