"""What a person can see of the sagas in a database, and do about a stuck one: let it go on, or close it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Row, Uuid, bindparam, case, func, literal_column, or_, select, text

from weft.data import Database
from weft.saga.definition import JSON, Failure, Status
from weft.saga.tables import saga_log, sagas

__all__ = ["LogLine", "Summary", "close", "find", "has_sagas", "read_data", "read_log", "recent", "resume"]

_RESUME: Final = text(
    """
    WITH written AS (
        UPDATE sagas
        SET status = CASE WHEN is_forward THEN 'running' ELSE 'compensating' END,
            failure = CASE WHEN is_forward THEN NULL ELSE failure END,
            attempt = 1, lease_holder = NULL, due_time = clock_timestamp(),
            version = version + 1, log_number = log_number + 1, update_time = clock_timestamp()
        WHERE saga_id = :saga_id AND status = 'stuck'
        RETURNING saga_id, log_number, step
    )
    INSERT INTO saga_log (saga_id, number, time, step, kind, attempt, holder, reason)
    SELECT saga_id, log_number, clock_timestamp(), step, 'resumed', 1, :who, '' FROM written
    """
).bindparams(bindparam("saga_id", type_=Uuid))

_CLOSE: Final = text(
    """
    WITH written AS (
        UPDATE sagas
        SET status = 'closed', version = version + 1, log_number = log_number + 1, update_time = clock_timestamp()
        WHERE saga_id = :saga_id AND status = 'stuck'
        RETURNING saga_id, log_number, step, attempt
    )
    INSERT INTO saga_log (saga_id, number, time, step, kind, attempt, holder, reason)
    SELECT saga_id, log_number, clock_timestamp(), step, 'closed', attempt, :who, :reason FROM written
    """
).bindparams(bindparam("saga_id", type_=Uuid))

_REASON: Final = (
    select(saga_log.c.reason)
    .where(saga_log.c.saga_id == sagas.c.saga_id, saga_log.c.reason != "")
    .order_by(saga_log.c.number.desc())
    .limit(1)
    .scalar_subquery()
)
_SUMMARY: Final = (
    sagas.c.saga_id,
    sagas.c.definition,
    sagas.c.status,
    sagas.c.step,
    sagas.c.attempt,
    sagas.c.is_forward,
    sagas.c.is_pivoted,
    sagas.c.lease_holder,
    sagas.c.due_time,
    sagas.c.failure,
    sagas.c.create_time,
    sagas.c.update_time,
    _REASON.label("reason"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """A saga, without what it holds."""

    saga_id: UUID
    definition: str
    status: Status
    step: str
    attempt: int
    is_forward: bool
    is_pivoted: bool
    lease_holder: str | None
    """The replica that runs it."""
    due_time: datetime
    """End of its lease, or time of the next attempt; means nothing once it is over."""
    failure: Failure | None = field(repr=False)
    create_time: datetime
    update_time: datetime
    reason: str
    """Of the latest trouble, or of the person who closed it; empty where there was none."""


@dataclass(frozen=True, slots=True)
class LogLine:
    """One entry of a saga's log."""

    time: datetime
    step: str
    kind: str
    attempt: int
    holder: str
    reason: str


async def has_sagas(database: Database) -> bool:
    """Tell whether the database has tables for sagas: not every service's has been migrated so far."""
    async with database.transaction() as tx:
        return await tx.scalar(select(func.to_regclass("sagas"))) is not None


async def recent(database: Database, *, only_stuck: bool, at_most: int) -> list[Summary]:
    """Return the sagas that are not over, then the others, each latest first."""
    is_open = or_(*(sagas.c.status == status.value for status in (Status.RUNNING, Status.COMPENSATING, Status.STUCK)))
    found = select(*_SUMMARY).order_by(case((is_open, 0), else_=1), sagas.c.create_time.desc()).limit(at_most)
    if only_stuck:
        found = found.where(literal_column("status = 'stuck'"))
    async with database.transaction() as tx:
        return [_summary(row) for row in await tx.all(found)]


async def find(database: Database, saga_id: UUID) -> Summary | None:
    async with database.transaction() as tx:
        row = await tx.first(select(*_SUMMARY).where(sagas.c.saga_id == saga_id))
    return _summary(row) if row is not None else None


async def read_log(database: Database, saga_id: UUID) -> Sequence[LogLine]:
    """Return the log of a saga, oldest first."""
    columns = [saga_log.c[each.name] for each in fields(LogLine)]
    async with database.transaction() as tx:
        rows = await tx.all(select(*columns).where(saga_log.c.saga_id == saga_id).order_by(saga_log.c.number))
    return [LogLine(**row._asdict()) for row in rows]


async def read_data(database: Database, saga_id: UUID) -> JSON:
    """Return what a saga holds, which may be personal."""
    async with database.transaction() as tx:
        return await tx.scalar(select(sagas.c.data).where(sagas.c.saga_id == saga_id))


async def resume(database: Database, saga_id: UUID, *, who: str) -> bool:
    """Let a stuck saga go on where it stopped, with all its attempts anew; return False if it isn't stuck."""
    async with database.transaction() as tx:
        return await tx.execute(_RESUME, {"saga_id": saga_id, "who": who}) > 0


async def close(database: Database, saga_id: UUID, *, who: str, reason: str) -> bool:
    """Declare a stuck saga over, as it stands: nothing is run or undone. Return False if it isn't stuck."""
    async with database.transaction() as tx:
        return await tx.execute(_CLOSE, {"saga_id": saga_id, "who": who, "reason": reason}) > 0


def _summary(row: Row[Any]) -> Summary:
    columns = row._asdict()
    failure = Failure(**columns["failure"]) if columns["failure"] else None
    return Summary(**columns | {"status": Status(row.status), "failure": failure, "reason": row.reason or ""})
