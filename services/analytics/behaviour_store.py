"""What shoppers did, as rows, and how many they were.

A visitor counts once for each day (UTC) and kind, in the quarter of an hour of the first thing that was written down.
So counts of days can be added up, and are the same when the rows behind them are long deleted.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import DateTime, Integer, Text, Uuid, bindparam, delete, func, select, text, tuple_
from sqlalchemy.dialects.postgresql import ARRAY, insert

from services.analytics.domain import Behaviour, Kind
from services.analytics.tables import behaviour, forgotten_users, visits
from weft.data import prepare

if TYPE_CHECKING:
    from collections.abc import Sequence

    from weft.data import Database, Transaction

__all__ = ["KEPT", "forget", "forget_user", "list_of_visitor", "write"]

KEPT: Final = timedelta(days=90)
"""How long it is known who did what, and that an event was there. Then only the counts remain."""

# Rows are locked in the order of their keys, so that two replicas don't wait for each other.
_WRITE: Final = text(
    """
    WITH new AS (
        INSERT INTO behaviour (event_id, kind, visitor_id, product_id, time)
        SELECT * FROM unnest(:event_id, :kind, :visitor_id, :product_id, :time)
            AS done (event_id, kind, visitor_id, product_id, time)
        WHERE visitor_id NOT IN (SELECT user_id FROM forgotten_users WHERE user_id = ANY (:visitor_id))
        ORDER BY event_id
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


# Who writes must not miss that somebody is forgotten, and who forgets must not miss what is being written. Numbers of
# locks are the service's own: its database has no other user. 1 is that of the read models.
_WRITING: Final = text("SELECT pg_advisory_xact_lock_shared(2)")
_FORGETTING: Final = text("SELECT pg_advisory_xact_lock(2)")

_OF_VISITOR: Final = (
    select(behaviour.c.event_id, behaviour.c.kind, behaviour.c.visitor_id, behaviour.c.product_id, behaviour.c.time)
    .where(behaviour.c.visitor_id == bindparam("visitor_id", type_=Text))
    .order_by(behaviour.c.time.desc(), behaviour.c.event_id.desc())
    .limit(bindparam("limit", type_=Integer))
)
_FIRST_PAGE: Final = prepare(_OF_VISITOR)
_NEXT_PAGE: Final = prepare(
    _OF_VISITOR.where(
        tuple_(behaviour.c.time, behaviour.c.event_id)
        < tuple_(bindparam("time", type_=DateTime(timezone=True)), bindparam("event_id", type_=Uuid))
    )
)


async def write(tx: Transaction, done: Sequence[Behaviour]) -> int:
    """Write down and count those of *done* that aren't there, nor of a forgotten user; return how many they were."""
    await tx.execute(_WRITING)
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


async def forget_user(tx: Transaction, user_id: str) -> None:
    """Delete what is known that a user did, and write down no more of it; the counts stay what they are."""
    await tx.execute(_FORGETTING)
    forgotten = insert(forgotten_users).values(user_id=user_id, delete_time=func.now())
    await tx.execute(forgotten.on_conflict_do_nothing())
    for table in (behaviour, visits):
        await tx.execute(delete(table).where(table.c.visitor_id == user_id))


async def list_of_visitor(
    database: Database, visitor_id: str, limit: int, after: tuple[Any, ...] | None
) -> list[Behaviour]:
    """Return up to *limit* things that somebody did, newest first, that come after *after*: time, event_id."""
    if after is None:
        rows = await database.fetch_all(_FIRST_PAGE, visitor_id=visitor_id, limit=limit)
    else:
        position = {"time": after[0], "event_id": after[1]}
        rows = await database.fetch_all(_NEXT_PAGE, visitor_id=visitor_id, limit=limit, **position)
    return [
        Behaviour(event_id=event_id, kind=Kind(kind), visitor_id=visitor, product_id=product_id, time=time)
        for event_id, kind, visitor, product_id, time in rows
    ]


async def forget(database: Database, *, limit: int) -> int:
    """Delete up to *limit* of what is older than `KEPT`, and as many visits; return how many were, of the more."""
    before = datetime.now(UTC) - KEPT
    async with database.transaction() as tx:
        return max(
            await tx.execute(_FORGET, {"before": before, "limit": limit}),
            await tx.execute(_FORGET_VISITS, {"day": before.date(), "limit": limit}),
        )
