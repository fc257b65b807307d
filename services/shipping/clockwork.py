"""Keeps the simulated carrier's parcels moving, in every replica, for ever."""

from __future__ import annotations

import asyncio
import logging
from random import uniform
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from services.shipping.parcels import Parcels

__all__ = ["clockwork"]

BATCH: Final = 50
POLL_S: Final = 0.25
_log = logging.getLogger(__name__)


async def clockwork(parcels: Parcels, *, step_s: float, poll_s: float = POLL_S) -> None:
    """Move each of *parcels* on after *step_s*, until cancelled; a database that is away is waited for."""
    while True:
        try:
            moved = await parcels.advance(step_s=step_s, limit=BATCH)
        except Exception as error:  # noqa: BLE001  # whatever it is, the next time may do
            _log.warning("cannot move parcels", extra={"error.type": type(error).__name__})
            moved = 0
        if moved < BATCH:
            await asyncio.sleep(poll_s * uniform(0.5, 1.5))  # noqa: S311  # replicas spread out
