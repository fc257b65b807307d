"""Every event that was heard, kept for ever: reports are made of it, and can be made of it again.

Brokers keep events for days or weeks. This is where older ones live, and why `weft rebuild analytics` gives the numbers
of the first day too. Rows are only ever added; a trigger of the table sees to it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from sqlalchemy import bindparam, select, text, tuple_
from sqlalchemy.dialects.postgresql import ARRAY

from services.analytics.tables import history

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from google.protobuf.message import Message

    from weft.data import Transaction
    from weft.events import Received

__all__ = ["Recorded", "append", "recorded", "replay"]

_COLUMNS: Final = ("event_id", "type", "source", "subject", "sequence", "time", "data")
_APPEND: Final = text(
    """
    INSERT INTO history (event_id, type, source, subject, sequence, time, data)
    SELECT * FROM unnest(:event_id, :type, :source, :subject, :sequence, :time, :data)
    ON CONFLICT (event_id) DO NOTHING RETURNING event_id
    """
).bindparams(*(bindparam(name, type_=ARRAY(history.c[name].type)) for name in _COLUMNS))
_AFTER: Final = (
    select(*(history.c[name] for name in _COLUMNS))
    .where(tuple_(history.c.time, history.c.event_id) > tuple_(bindparam("time"), bindparam("event_id")))
    .order_by(history.c.time, history.c.event_id)
    .limit(bindparam("limit"))
)
_BEGINNING: Final = (datetime.min.replace(tzinfo=UTC), UUID(int=0))


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """One event, as it came."""

    event_id: UUID
    type: str
    """Full name of the message."""
    source: str
    subject: str
    sequence: int
    time: datetime
    """When it happened."""
    data: bytes
    """The message, serialised."""


def recorded(received: Received[Message]) -> Recorded:
    """Return what to keep of an event. Fields that this build does not know are kept too."""
    return Recorded(
        event_id=UUID(received.id),
        type=received.type,
        source=received.source,
        subject=received.subject,
        sequence=received.sequence,
        time=received.time,
        data=received.event.SerializeToString(deterministic=True),
    )


async def append(tx: Transaction, events: Sequence[Recorded]) -> set[UUID]:
    """Add those of *events* that aren't there; return their ids."""
    rows = await tx.all(_APPEND, {name: [getattr(event, name) for event in events] for name in _COLUMNS})
    return {row.event_id for row in rows}


async def replay(tx: Transaction, *, batch: int) -> AsyncIterator[list[Recorded]]:
    """Yield all events in the order in which they happened, up to *batch* at a time."""
    after: tuple[Any, ...] = _BEGINNING
    while True:
        found = await tx.all(_AFTER, {"time": after[0], "event_id": after[1], "limit": batch})
        rows = [dict(zip(_COLUMNS, row, strict=True)) for row in found]
        if not rows:
            return
        yield [Recorded(**row) for row in rows]
        after = (rows[-1]["time"], rows[-1]["event_id"])
