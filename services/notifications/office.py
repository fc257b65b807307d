"""Everything of notifications that runs beside its calls, put together: in the process, and in tests of it."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from services.notifications import store
from services.notifications.addressing import Addressing
from services.notifications.domain import Channel
from services.notifications.metrics import OLDEST_PENDING_S
from services.notifications.occasions import handlers
from services.notifications.sending import Pace, Sender
from services.notifications.waking import Bell
from weft.errors import ServiceError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping

    from services.notifications.peers import Contacts
    from services.notifications.rendering import Renderer
    from services.notifications.transport import Transport
    from weft.data import Database

__all__ = ["Office"]

MEASURE_S: Final = 5.0
_log = logging.getLogger(__name__)


class Office:
    """One replica's.

    Args:
        database: Of the service.
        contacts: Where people can be reached.
        renderer: Writes to them.
        transports: Where each channel of this shop leads; those without one are not offered.
        pace: How long things take.
    """

    def __init__(
        self,
        database: Database,
        contacts: Contacts,
        renderer: Renderer,
        transports: Mapping[Channel, Transport],
        *,
        pace: Pace | None = None,
    ) -> None:
        pace = pace or Pace()
        self._database = database
        notices, bells = Bell(), {channel: Bell() for channel in Channel}

        def wake() -> None:
            for bell in bells.values():
                bell.ring()

        addressing = Addressing(database, contacts, served=transports.keys(), bell=notices, pace=pace, wake=wake)
        senders = [
            Sender(
                channel,
                transports.get(channel),
                database=database,
                contacts=contacts,
                renderer=renderer,
                bell=bell,
                pace=pace,
            )
            for channel, bell in bells.items()
        ]
        self.handlers = handlers(notices.ring)
        """Event -> what notes whom to tell of it."""
        self.loops: list[Callable[[], Coroutine[object, object, None]]] = [
            addressing.run,
            *(sender.run for sender in senders),
            self._measure,
        ]
        """What tells them, for ever."""

    async def _measure(self) -> None:
        while True:
            try:
                await self.measure()
            except ServiceError as error:
                _log.debug("cannot measure what is pending", extra={"reason": error.reason})
            await asyncio.sleep(MEASURE_S)

    async def measure(self) -> None:
        """Find out how long what is pending has waited; every replica says the same."""
        ages = await store.oldest_pending_s(self._database)
        for channel in (*Channel, None):
            OLDEST_PENDING_S.labels(channel.value if channel else "none").set(ages.get(channel, 0.0))
