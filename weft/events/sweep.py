"""Deletes what was kept long enough, in batches small enough for nobody to notice."""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from sqlalchemy import TextClause, text

from weft.data import Database
from weft.events.backoff import jittered
from weft.events.retention import INBOX_KEPT_S, OUTBOX_KEPT_S

__all__ = ["sweep"]

# Rows go in by sequence and out by age, so the oldest are the first, and no index is needed for them. Should as many as
# a batch be unpublished, nothing is deleted behind them.
_OUTBOX: Final = text(
    """
    DELETE FROM outbox WHERE sequence IN (
        SELECT sequence FROM outbox ORDER BY sequence LIMIT :batch FOR UPDATE SKIP LOCKED
    ) AND publish_time < clock_timestamp() - make_interval(secs => :kept_s)
    """
)
_INBOX: Final = text(
    """
    DELETE FROM inbox WHERE (subscription, event_id) IN (
        SELECT subscription, event_id FROM inbox
        WHERE update_time < now() - make_interval(secs => :kept_s)
        ORDER BY update_time LIMIT :batch FOR UPDATE SKIP LOCKED
    )
    """
)
_log = logging.getLogger(__name__)


async def sweep(
    database: Database,
    *,
    interval_s: float = 600.0,
    outbox_kept_s: float = OUTBOX_KEPT_S,
    inbox_kept_s: float = INBOX_KEPT_S,
    batch: int = 1000,
) -> None:
    """Delete published events and applied ones for ever; replicas started together spread out."""
    while True:
        await asyncio.sleep(jittered(interval_s))
        try:
            await _delete(database, _OUTBOX.bindparams(kept_s=outbox_kept_s, batch=batch))
            await _delete(database, _INBOX.bindparams(kept_s=inbox_kept_s, batch=batch))
        except Exception as error:  # noqa: BLE001  # whatever it is, the next time may do
            _log.warning("cannot delete old events", extra={"error.type": type(error).__name__})


async def _delete(database: Database, statement: TextClause) -> None:
    deleted = 1
    while deleted:
        async with database.transaction() as tx:
            deleted = await tx.execute(statement)
