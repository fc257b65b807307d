"""Ends reservations that nobody has committed in time, in every replica, for ever."""

from __future__ import annotations

import asyncio
import logging
from random import uniform
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from services.inventory.stockroom import Stockroom

__all__ = ["sweeping"]

BATCH: Final = 50
POLL_S: Final = 1.0
_log = logging.getLogger(__name__)


async def sweeping(stockroom: Stockroom, *, poll_s: float = POLL_S) -> None:
    """Have *stockroom* end what has expired, until cancelled; a database that is away is waited for."""
    while True:
        try:
            expired = await stockroom.expire(limit=BATCH)
        except Exception as error:  # noqa: BLE001  # whatever it is, the next time may do
            _log.warning("cannot end expired reservations", extra={"error.type": type(error).__name__})
            expired = 0
        else:
            if expired:
                _log.info("reservations expired", extra={"reservations": expired})
        if expired < BATCH:
            await asyncio.sleep(poll_s * uniform(0.5, 1.5))  # noqa: S311  # replicas spread out
