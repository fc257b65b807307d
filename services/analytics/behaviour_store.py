"""What shoppers did, as rows, and how many they were.

A visitor counts once for each day (UTC) and kind, in the quarter of an hour of the first thing that was written down.
So counts of days can be added up, and are the same when the rows behind them are long deleted.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from sqlalchemy import DateTime, Text, Uuid, bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY

if TYPE_CHECKING:
    from collections.abc import Sequence

    from services.analytics.domain import Behaviour
    from weft.data import Database, Transaction

__all__ = ["KEPT", "forget", "write"]

KEPT: Final = timedelta(days=90)
"""How long it is known who did what, and that an event was there. Then only the counts remain."""

# Rows are locked in the order of their keys, so that two replicas don't wait for each other.
_WRITE: Final = text(
    """
    WITH new AS (
        INSERT INTO behaviour (event_id, kind, visitor_id, product_id, time)
        SELECT * FROM unnest(:event_id, :kind, :visitor_id, :product_id, :time)
            AS done (event_id, kind, visitor_id, product_id, time) ORDER BY event_id
        ON CONFLICT DO NOTHING RETURNING kind, visitor_id, time
    ), first AS (
        SELECT CAST(time AT TIME ZONE 'UTC' AS date) AS day, kind, visitor_id, min(time) AS time
        FROM new GROUP BY 1, 2, 3
    ), visited AS (
        INSERT INTO visits (day, kind, visitor_id) SELECT day, kind, visitor_id FROM first ORDER BY 1, 2, 3
        ON CONFLICT DO NOTHING RETURNING day, kind, visitor_id
    ), counted AS (
        SELECT time, kind, 1 AS events, 0 AS visitors FROM new
        UNION ALL SELECT time, kind, 0, 1 FROM first JOIN visited USING (day, kind, visitor_id)
    ), added AS (
        INSERT INTO behaviour_counts (period, start, kind, events, visitors)
        SELECT period, start, kind, sum(events), sum(visitors)
        FROM counted, LATERAL (VALUES
            ('slot', date_bin('15 minutes', time, '2000-01-01Z')),
            ('day', date_trunc('day', time, 'UTC')),
            ('month', date_trunc('month', time, 'UTC')),
            ('year', date_trunc('year', time, 'UTC'))
        ) AS rollup (period, start)
        GROUP BY period, start, kind ORDER BY period, start, kind
        ON CONFLICT (period, start, kind) DO UPDATE SET
            events = behaviour_counts.events + excluded.events,
            visitors = behaviour_counts.visitors + excluded.visitors
    )
    SELECT count(*) FROM new
    """
).bindparams(
    bindparam("event_id", type_=ARRAY(Uuid)),
    bindparam("kind", type_=ARRAY(Text)),
    bindparam("visitor_id", type_=ARRAY(Text)),
    bindparam("product_id", type_=ARRAY(Uuid)),
    bindparam("time", type_=ARRAY(DateTime(timezone=True))),
)
_FORGET: Final = text(
    """
    DELETE FROM behaviour WHERE event_id IN (
        SELECT event_id FROM behaviour WHERE time < :before ORDER BY time LIMIT :limit FOR UPDATE SKIP LOCKED
    )
    """
)
_FORGET_VISITS: Final = text(
    """
    DELETE FROM visits WHERE (day, kind, visitor_id) IN (
        SELECT day, kind, visitor_id FROM visits WHERE day < :day ORDER BY day LIMIT :limit FOR UPDATE SKIP LOCKED
    )
    """
)


async def write(tx: Transaction, done: Sequence[Behaviour]) -> int:
    """Write down and count those of *done* that aren't there; return how many they were."""
    new: int = await tx.scalar(
        _WRITE,
        {
            "event_id": [each.event_id for each in done],
            "kind": [each.kind.value for each in done],
            "visitor_id": [each.visitor_id for each in done],
            "product_id": [each.product_id for each in done],
            "time": [each.time for each in done],
        },
    )
    return new


async def forget(database: Database, *, limit: int) -> int:
    """Delete up to *limit* of what is older than `KEPT`, and as many visits; return how many were, of the more."""
    before = datetime.now(UTC) - KEPT
    async with database.transaction() as tx:
        return max(
            await tx.execute(_FORGET, {"before": before, "limit": limit}),
            await tx.execute(_FORGET_VISITS, {"day": before.date(), "limit": limit}),
        )
