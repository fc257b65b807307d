"""Reads and writes sagas. Each statement that writes is also the one that asks whether the saga is still ours."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Boolean, Row, Text, Uuid, bindparam, case, func, literal_column, select, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from weft.data import Database, Transaction, prepare
from weft.saga.definition import Failure, Progress, Status
from weft.saga.plan import Entry, Kind, Move, Saga
from weft.saga.tables import sagas

__all__ = [
    "Standing",
    "claim",
    "count_waiting",
    "delete_over",
    "due_in_s",
    "find_held",
    "insert",
    "persist",
    "release",
    "standing",
]

_ENTRIES: Final = """
    INSERT INTO saga_log (saga_id, number, time, step, kind, attempt, holder, reason)
    SELECT written.saga_id, written.log_number - jsonb_array_length(:entries) + entry.position, clock_timestamp(),
           entry.fields->>'step', entry.fields->>'kind', (entry.fields->>'attempt')::integer, :holder,
           entry.fields->>'reason'
    FROM written, jsonb_array_elements(:entries) WITH ORDINALITY AS entry (fields, position)
"""

_INSERT: Final = text(
    f"""
    WITH written AS (
        INSERT INTO sagas (saga_id, definition, status, is_forward, step, effects, is_pivoted, data, attempt,
                           is_in_doubt, lease_holder, due_time, version, log_number, traceparent)
        VALUES (:saga_id, :definition, :status, true, :step, :effects, false, :data, :attempt, false,
                CAST(:lease_holder AS text), clock_timestamp() + make_interval(secs => :lease_s), :version,
                jsonb_array_length(:entries), :traceparent)
        ON CONFLICT (saga_id) DO NOTHING
        RETURNING saga_id, log_number
    )
    {_ENTRIES}
    """  # noqa: S608 (no part of it comes from outside)
).bindparams(
    bindparam("saga_id", type_=Uuid),
    bindparam("effects", type_=ARRAY(Text)),
    bindparam("data", type_=JSONB),
    bindparam("entries", type_=JSONB),
)

_PERSIST: Final = text(
    f"""
    WITH written AS (
        UPDATE sagas
        SET status = :status, is_forward = :is_forward, step = :step, effects = :effects, is_pivoted = :is_pivoted,
            data = CASE WHEN :has_new_data THEN :data ELSE data END, failure = NULLIF(:failure, 'null'::jsonb),
            attempt = :attempt, is_in_doubt = :is_in_doubt, lease_holder = CAST(:lease_holder AS text),
            due_time = clock_timestamp() + make_interval(secs => :due_s), version = version + 1,
            log_number = log_number + jsonb_array_length(:entries), update_time = clock_timestamp()
        WHERE saga_id = :saga_id AND lease_holder = :holder AND version = :version
        RETURNING saga_id, log_number
    )
    {_ENTRIES}
    """  # noqa: S608 (as above)
).bindparams(
    bindparam("saga_id", type_=Uuid),
    bindparam("effects", type_=ARRAY(Text)),
    bindparam("has_new_data", type_=Boolean),
    bindparam("data", type_=JSONB),
    bindparam("failure", type_=JSONB),
    bindparam("entries", type_=JSONB),
)

# A lease that ran out leaves open what its holder did; one that was given back does not count as an attempt.
_CLAIM: Final = (
    text(
        """
    WITH due AS (
        SELECT saga_id, lease_holder AS earlier FROM sagas
        WHERE status IN ('running', 'compensating') AND due_time <= now()
          AND definition || '/' || step = ANY(:known) AND saga_id <> ALL(:running)
          AND (CAST(:only AS uuid) IS NULL OR saga_id = CAST(:only AS uuid))
        ORDER BY due_time LIMIT :at_most FOR UPDATE SKIP LOCKED
    ), written AS (
        UPDATE sagas
        SET lease_holder = :holder, due_time = clock_timestamp() + make_interval(secs => :lease_s),
            attempt = attempt + CASE WHEN earlier IS NULL THEN 0 ELSE 1 END,
            is_in_doubt = is_in_doubt OR earlier IS NOT NULL,
            version = version + 1, log_number = log_number + 1, update_time = clock_timestamp()
        FROM due WHERE sagas.saga_id = due.saga_id
        RETURNING sagas.*, earlier
    ), logged AS (
        INSERT INTO saga_log (saga_id, number, time, step, kind, attempt, holder, reason)
        SELECT saga_id, log_number, clock_timestamp(), step,
               CASE WHEN earlier IS NULL THEN 'started' ELSE 'lease_taken' END, attempt, :holder, ''
        FROM written
    )
    SELECT * FROM written
    """
    )
    .bindparams(
        bindparam("known", type_=ARRAY(Text)),
        bindparam("running", type_=ARRAY(Uuid)),
        bindparam("only", type_=Uuid),
    )
    .columns(saga_id=Uuid, effects=ARRAY(Text), data=JSONB, failure=JSONB)
)

_RELEASE: Final = text(
    """
    WITH written AS (
        UPDATE sagas
        SET lease_holder = NULL, due_time = clock_timestamp(), is_in_doubt = is_in_doubt OR :is_in_doubt,
            version = version + 1, log_number = log_number + 1, update_time = clock_timestamp()
        WHERE saga_id = :saga_id AND lease_holder = :holder AND status IN ('running', 'compensating')
        RETURNING saga_id, log_number, step, attempt
    )
    INSERT INTO saga_log (saga_id, number, time, step, kind, attempt, holder, reason)
    SELECT saga_id, log_number, clock_timestamp(), step, 'released', attempt, :holder, '' FROM written
    """
).bindparams(bindparam("saga_id", type_=Uuid), bindparam("is_in_doubt", type_=Boolean))

_DELETE_OVER: Final = text(
    """
    DELETE FROM sagas WHERE saga_id IN (
        SELECT saga_id FROM sagas
        WHERE status IN ('done', 'compensated', 'closed') AND update_time < now() - make_interval(secs => :keep_s)
        LIMIT :at_most FOR UPDATE SKIP LOCKED
    )
    """
)

# Literals, as in the predicates of the partial indexes, which no parameter would be found to match.
_IS_ACTIVE: Final = literal_column("status IN ('running', 'compensating')", Boolean)
_IS_STUCK: Final = literal_column("status = 'stuck'", Boolean)
_DUE_S: Final = func.extract("epoch", sagas.c.due_time - func.now())
_KNOWN: Final = (sagas.c.definition + "/" + sagas.c.step) == func.any(bindparam("known", type_=ARRAY(Text)))

_STANDING: Final = prepare(
    select(
        sagas.c.status,
        sagas.c.is_pivoted,
        sagas.c.failure,
        _DUE_S.label("due_s"),
    ).where(sagas.c.saga_id == bindparam("saga_id", type_=Uuid))
)
_DUE_IN_S: Final = prepare(select(_DUE_S.label("due_s")).where(_IS_ACTIVE, _KNOWN).order_by(sagas.c.due_time).limit(1))
_COUNT_WAITING: Final = prepare(
    select(
        sagas.c.definition,
        func.count(case((_IS_STUCK, 1))).label("stuck"),
        func.count(case((_IS_ACTIVE & ~_KNOWN, 1))).label("unknown"),
    )
    .where(_IS_STUCK | (_IS_ACTIVE & (sagas.c.due_time <= func.now())))
    .group_by(sagas.c.definition)
)


@dataclass(frozen=True, slots=True)
class Standing:
    """What can be seen of a saga that somebody else may be running."""

    progress: Progress
    due_s: float
    """Seconds until somebody may take it up; below 0 since when."""


async def insert(tx: Transaction, move: Move, *, holder: str, lease_s: float) -> bool:
    """Add a new saga, held for *lease_s* unless that is 0; return False if its id is taken."""
    saga = move.saga
    added = await tx.execute(
        _INSERT,
        {
            "saga_id": saga.saga_id,
            "definition": saga.definition,
            "status": saga.status.value,
            "step": saga.step,
            "effects": list(saga.effects),
            "data": dict(saga.data),
            "attempt": saga.attempt,
            "lease_holder": holder if lease_s else None,
            "lease_s": float(lease_s),
            "version": saga.version,
            "entries": _listed(move.entries),
            "traceparent": saga.traceparent,
            "holder": holder,
        },
    )
    return added > 0


async def persist(tx: Transaction, before: Saga, move: Move, *, holder: str, lease_s: float) -> Saga | None:
    """Write what became of *before*, and lock it; return it as it is then, or None where *holder* has lost it.

    Held for *lease_s* from now on, unless *move* ends it, has it wait, or *lease_s* is 0.
    """
    saga = move.saga
    keeps = lease_s > 0 and move.wait_s is None and not saga.status.is_over
    written = await tx.execute(
        _PERSIST,
        {
            "saga_id": saga.saga_id,
            "status": saga.status.value,
            "is_forward": saga.is_forward,
            "step": saga.step,
            "effects": list(saga.effects),
            "is_pivoted": saga.is_pivoted,
            "has_new_data": move.has_new_data,
            "data": dict(saga.data) if move.has_new_data else {},
            "failure": asdict(saga.failure) if saga.failure else None,
            "attempt": saga.attempt,
            "is_in_doubt": saga.is_in_doubt,
            "lease_holder": holder if keeps else None,
            "due_s": float(lease_s if keeps else move.wait_s or 0),
            "entries": _listed(move.entries),
            "holder": holder,
            "version": before.version,
        },
    )
    if not written:
        return None
    return replace(saga, version=before.version + 1, log_number=before.log_number + len(move.entries))


async def claim(
    tx: Transaction,
    *,
    holder: str,
    lease_s: float,
    known: Collection[str],
    running: Collection[UUID],
    at_most: int,
    only: UUID | None = None,
) -> list[Saga]:
    """Take up to *at_most* sagas that are due, the longest due first.

    Args:
        tx: The claim, a lease of *lease_s*, holds from its commit on.
        holder: Who takes them.
        lease_s: From now.
        known: `definition/step` of those this build can run.
        running: Sagas not to take.
        at_most: At least 1.
        only: The one saga to take.
    """
    rows = await tx.all(
        _CLAIM,
        {
            "holder": holder,
            "lease_s": float(lease_s),
            "known": list(known),
            "running": list(running),
            "at_most": at_most,
            "only": only,
        },
    )
    return [_saga(row) for row in rows]


async def find_held(tx: Transaction, saga_id: UUID, *, holder: str) -> Saga | None:
    """Return a saga as it is now if *holder* has it."""
    row = await tx.first(select(sagas).where(sagas.c.saga_id == saga_id, sagas.c.lease_holder == holder))
    return _saga(row) if row is not None else None


async def release(tx: Transaction, saga_id: UUID, *, holder: str, is_in_doubt: bool) -> None:
    """Let others take a saga at once, if *holder* has it. *is_in_doubt*: its step may have been begun."""
    await tx.execute(_RELEASE, {"saga_id": saga_id, "holder": holder, "is_in_doubt": is_in_doubt})


async def delete_over(tx: Transaction, *, keep_s: float, at_most: int) -> int:
    """Delete sagas that have been done, compensated or closed for *keep_s*, and their logs; return how many."""
    return await tx.execute(_DELETE_OVER, {"keep_s": float(keep_s), "at_most": at_most})


async def standing(database: Database, saga_id: UUID) -> Standing | None:
    row = await database.fetch_one(_STANDING, saga_id=saga_id)
    if row is None:
        return None
    progress = Progress(Status(row["status"]), row["is_pivoted"], _failure(row["failure"]))
    return Standing(progress, float(row["due_s"]))


async def due_in_s(database: Database, known: Sequence[str]) -> float | None:
    """Return the seconds until some saga is due, below 0 since when; None without any."""
    row = await database.fetch_one(_DUE_IN_S, known=list(known))
    return None if row is None else float(row["due_s"])


async def count_waiting(database: Database, known: Sequence[str]) -> dict[str, tuple[int, int]]:
    """Return definition -> how many are stuck, and how many are due that this build does not know how to run."""
    rows = await database.fetch_all(_COUNT_WAITING, known=list(known))
    return {row["definition"]: (row["stuck"], row["unknown"]) for row in rows}


def _listed(entries: Sequence[Entry]) -> list[dict[str, Any]]:
    return [
        {"step": entry.step, "kind": Kind(entry.kind).value, "attempt": entry.attempt, "reason": entry.reason}
        for entry in entries
    ]


def _failure(fields: Any) -> Failure | None:
    return Failure(**fields) if fields else None


def _saga(row: Row[Any]) -> Saga:
    return Saga(
        saga_id=row.saga_id,
        definition=row.definition,
        status=Status(row.status),
        is_forward=row.is_forward,
        step=row.step,
        effects=tuple(row.effects),
        is_pivoted=row.is_pivoted,
        data=row.data,
        failure=_failure(row.failure),
        attempt=row.attempt,
        is_in_doubt=row.is_in_doubt,
        version=row.version,
        log_number=row.log_number,
        traceparent=row.traceparent,
    )
