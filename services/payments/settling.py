"""Asks about everything that is left uncertain, in every replica, for ever."""

from __future__ import annotations

import asyncio
import logging
from random import uniform
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from services.payments.cashier import Cashier

__all__ = ["settling"]

BATCH: Final = 20
POLL_S: Final = 0.5
_log = logging.getLogger(__name__)


async def settling(cashier: Cashier, *, poll_s: float = POLL_S) -> None:
    """Have *cashier* settle what is due, until cancelled; a database or provider that is away is waited for."""
    while True:
        try:
            settled = await cashier.settle_due(limit=BATCH)
        except Exception as error:  # noqa: BLE001  # whatever it is, the next time may do
            _log.warning("cannot settle payments", extra={"error.type": type(error).__name__})
            settled = 0
        if settled < BATCH:
            await asyncio.sleep(poll_s * uniform(0.5, 1.5))  # noqa: S311  # replicas spread out
