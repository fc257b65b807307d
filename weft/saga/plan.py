"""Decides what becomes of a saga after an attempt. Nothing here waits, writes or reads a clock."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final, Self
from uuid import UUID

from weft.errors import ServiceError
from weft.saga.definition import (
    END,
    JSON,
    PATIENT,
    Definition,
    Failure,
    Progress,
    Record,
    Retry,
    SagaData,
    Status,
    Step,
)

__all__ = [
    "Entry",
    "Kind",
    "Local",
    "Move",
    "Saga",
    "Trouble",
    "begun",
    "failed",
    "retry_of",
    "succeeded",
    "with_local",
]

_UNCERTAIN: Final = frozenset(
    {"UNAVAILABLE", "DEADLINE_EXCEEDED", "ABORTED", "RESOURCE_EXHAUSTED", "INTERNAL", "UNKNOWN", "CANCELLED"}
)
_MAX_ASKED_WAIT_S: Final = 60.0


class Kind(StrEnum):
    """What an entry of a saga's log says."""

    STARTED = "started"
    RETRIED = "retried"
    """An attempt with an uncertain outcome, to be repeated."""
    DONE = "done"
    REFUSED = "refused"
    GAVE_UP = "gave_up"
    """No attempts are left."""
    COMPENSATING = "compensating"
    COMPENSATED = "compensated"
    STUCK = "stuck"
    RESUMED = "resumed"
    CLOSED = "closed"
    """By a person, in whose words the reason is."""
    LEASE_TAKEN = "lease_taken"
    """The replica that had it let its lease run out."""
    RELEASED = "released"
    """A replica that stops has given it back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Saga:
    """One saga, as it was last persisted."""

    saga_id: UUID
    definition: str
    status: Status
    is_forward: bool
    """Which way it goes, or went until it got stuck."""
    step: str
    """Being run, either way; the last one when it is over."""
    effects: tuple[str, ...]
    """Steps that may have had an effect, oldest first: what a compensation still has to undo."""
    is_pivoted: bool
    data: Mapping[str, JSON] = field(repr=False)
    failure: Failure | None
    attempt: int
    """Of the step, counted from 1."""
    is_in_doubt: bool
    """True when an earlier attempt of this step may have had its effect, or may yet."""
    version: int
    """Grows with everything that is written: who knows an older one has lost the saga."""
    log_number: int
    """Of the latest entry in its log."""
    traceparent: str
    """Of the call that started it; empty without one."""

    @property
    def progress(self) -> Progress:
        return Progress(self.status, self.is_pivoted, self.failure)


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of a saga's log."""

    step: str
    kind: Kind
    attempt: int
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Local:
    """A local effect, to be done in the transaction that persists it."""

    step: str
    record: Record
    given: SagaData


@dataclass(frozen=True, slots=True)
class Move:
    """What one transaction makes of a saga."""

    saga: Saga
    """As it is afterwards; `version` and `log_number` are counted on by whoever writes it."""
    entries: tuple[Entry, ...]
    local: tuple[Local, ...] = ()
    wait_s: float | None = None
    """Until the next attempt, by whichever replica; None where this one goes on at once."""
    has_new_data: bool = False


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why an attempt failed, and whether that says that nothing was done."""

    reason: str
    message: str
    metadata: Mapping[str, str] = field(default_factory=dict)
    is_definite: bool = False
    retry_after_s: float | None = None

    @classmethod
    def of(cls, error: Exception) -> Self:
        """Read an error; anything but a `ServiceError` or a timeout is a defect, of which only that much is told."""
        if isinstance(error, ServiceError):
            definite = error.code not in _UNCERTAIN
            return cls(error.reason, error.message, error.metadata, definite, error.retry_after_s)
        if isinstance(error, TimeoutError):
            return cls("DEADLINE_EXCEEDED", "the attempt's time was up")
        return cls("INTERNAL", "internal error")

    def failure(self, step: str) -> Failure:
        return Failure(step, self.reason, self.message, dict(self.metadata))


def begun(definition: Definition, saga_id: UUID, data: Mapping[str, JSON], traceparent: str) -> Move:
    """Return a saga at its first step."""
    first = definition.steps[0].name
    saga = Saga(
        saga_id=saga_id,
        definition=definition.name,
        status=Status.RUNNING,
        is_forward=True,
        step=first,
        effects=(END, first) if definition.record_compensated else (first,),
        is_pivoted=False,
        data=data,
        failure=None,
        attempt=1,
        is_in_doubt=False,
        version=1,
        log_number=1,
        traceparent=traceparent,
    )
    return Move(saga, (Entry(first, Kind.STARTED, 1),))


def retry_of(definition: Definition, saga: Saga) -> Retry:
    """Return how often the saga's step is attempted, on its way."""
    retry = definition.step(saga.step).retry
    is_urgent = saga.is_forward and not definition.is_after_pivot(saga.step)
    return retry or (Retry() if is_urgent else PATIENT)


def succeeded(definition: Definition, saga: Saga, result: Mapping[str, JSON] | None = None) -> Move:
    """Return what follows when the step's action, or its compensation, has succeeded with *result*."""
    step = definition.step(saga.step)
    if not saga.is_forward:
        return _undone(definition, saga, step)
    if result:
        saga = replace(saga, data={**saga.data, **result})
    local = (Local(step.name, step.record, SagaData(saga.saga_id, saga.data)),) if step.record else ()
    entries = (Entry(step.name, Kind.DONE, saga.attempt),)
    following = definition.after(step.name)
    saga = replace(saga, is_pivoted=saga.is_pivoted or step.pivot, attempt=1, is_in_doubt=False)
    if following is None:
        return Move(replace(saga, status=Status.DONE), entries, local, has_new_data=bool(result))
    saga = replace(saga, step=following.name, effects=(*saga.effects, following.name))
    return Move(saga, (*entries, Entry(following.name, Kind.STARTED, 1)), local, has_new_data=bool(result))


def failed(
    definition: Definition,
    saga: Saga,
    trouble: Trouble,
    *,
    result: Mapping[str, JSON] | None = None,
    has_acted: bool = False,
    chance: float = 0.0,
) -> Move:
    """Return what follows when an attempt has failed.

    Args:
        definition: of the saga.
        saga: as it was while the attempt was made.
        trouble: what the attempt met.
        result: of the action, where that succeeded and only the local effect failed: its compensation may need it.
        has_acted: whether the action succeeded.
        chance: random in [0, 1), for the wait before the next attempt.
    """
    step = definition.step(saga.step)
    remote = step.action if saga.is_forward else step.compensation
    if result:
        saga = replace(saga, data={**saga.data, **result})
    # What happens in our own transaction is undone with it; of what a peer was asked, only a first clear no is certain,
    # unless the step says that any is.
    was_in_doubt = saga.is_in_doubt and not (step.refusal_settles and saga.is_forward)
    may_have_acted = remote is not None and (was_in_doubt or has_acted or not trouble.is_definite)
    retry = retry_of(definition, saga)
    new_data = bool(result)
    if not trouble.is_definite and saga.attempt < retry.max_attempts:
        wait_s = retry.backoff_s(saga.attempt, chance)
        if trouble.retry_after_s is not None:
            wait_s = max(wait_s, min(trouble.retry_after_s, _MAX_ASKED_WAIT_S))
        entry = Entry(step.name, Kind.RETRIED, saga.attempt, trouble.reason)
        saga = replace(saga, attempt=saga.attempt + 1, is_in_doubt=may_have_acted)
        return Move(saga, (entry,), wait_s=wait_s, has_new_data=new_data)
    end = Kind.REFUSED if trouble.is_definite else Kind.GAVE_UP
    entries = (Entry(step.name, end, saga.attempt, trouble.reason),)
    saga = replace(saga, is_in_doubt=may_have_acted)
    can_not_go_back = saga.is_pivoted or (step.pivot and may_have_acted and step.compensation is None)
    if not saga.is_forward or can_not_go_back:
        failure = trouble.failure(step.name) if saga.is_forward else saga.failure
        stuck = replace(saga, status=Status.STUCK, failure=failure)
        return Move(
            stuck, (*entries, Entry(step.name, Kind.STUCK, saga.attempt, trouble.reason)), has_new_data=new_data
        )
    effects = saga.effects if may_have_acted else saga.effects[:-1]
    saga = replace(saga, status=Status.COMPENSATING, is_forward=False, failure=trouble.failure(step.name))
    back = _back(definition, saga, effects)
    return replace(back, entries=(*entries, *back.entries), has_new_data=new_data)


def _undone(definition: Definition, saga: Saga, step: Step) -> Move:
    local = _undoing(saga, step)
    back = _back(definition, saga, saga.effects[:-1])
    entry = Entry(step.name, Kind.COMPENSATED, saga.attempt)
    return replace(back, entries=(entry, *back.entries), local=local)


def _undoing(saga: Saga, step: Step) -> tuple[Local, ...]:
    """Return the local effect of compensating *step*: none where its record, which would be undone, was never made."""
    failed_here = saga.failure is not None and saga.failure.step == step.name
    if step.record_compensation is None or (step.record is not None and failed_here):
        return ()
    return (Local(step.name, step.record_compensation, SagaData(saga.saga_id, saga.data, saga.failure)),)


def _back(definition: Definition, saga: Saga, effects: tuple[str, ...]) -> Move:
    """Return the saga at the latest of *effects* that has something to undo."""
    saga = replace(saga, attempt=1, is_in_doubt=False)
    while effects and effects[-1] in definition.names and not definition.step(effects[-1]).undoes_anything:
        effects = effects[:-1]
    if not effects:
        return Move(replace(saga, status=Status.COMPENSATED, effects=()), ())
    return Move(replace(saga, step=effects[-1], effects=effects), (Entry(effects[-1], Kind.COMPENSATING, 1),))


def with_local(definition: Definition, move: Move) -> Move:
    """Return *move* with the steps that follow it as far as they are local: they need no transaction of their own."""
    return list(_longer_and_longer(definition, move))[-1]


def _longer_and_longer(definition: Definition, move: Move) -> Iterator[Move]:
    yield move
    while move.wait_s is None and not move.saga.status.is_over and move.saga.step in definition.names:
        step = definition.step(move.saga.step)
        if (step.action if move.saga.is_forward else step.compensation) is not None:
            return
        following = succeeded(definition, move.saga)
        move = replace(
            following,
            entries=(*move.entries, *following.entries),
            local=(*move.local, *following.local),
            has_new_data=move.has_new_data,
        )
        yield move
