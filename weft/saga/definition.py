"""What a saga does: its steps, how each is undone, and from where on it can only go forward."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import Any, Final, TypeAlias
from uuid import UUID, uuid5

from weft.data import Transaction

__all__ = [
    "END",
    "JSON",
    "PATIENT",
    "Definition",
    "Failure",
    "Progress",
    "Retry",
    "SagaData",
    "Status",
    "Step",
    "StepCall",
]

JSON: TypeAlias = Any
"""What JSON can say: None, bool, int, float, str, lists and string-keyed dicts of them."""

END: Final = "end"
"""Name of what is undone last of all: `Definition.record_compensated`."""


class Status(StrEnum):
    RUNNING = "running"
    COMPENSATING = "compensating"
    DONE = "done"
    COMPENSATED = "compensated"
    STUCK = "stuck"
    """Nothing happens until a person says so: `weft saga resume`, or `close`."""
    CLOSED = "closed"
    """A person has done by hand what was left to do; no replica will."""

    @property
    def is_over(self) -> bool:
        """Tell whether no replica will do anything more by itself."""
        return self not in (Status.RUNNING, Status.COMPENSATING)


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """How often an attempt with an uncertain outcome is repeated, and how soon.

    The wait doubles from `initial_backoff_s` to `max_backoff_s`, each time taken at random from its upper half.
    """

    max_attempts: int = 5
    """At least 1; the first counts, and so does one that died with its replica."""
    initial_backoff_s: float = 0.1
    max_backoff_s: float = 5.0

    def __post_init__(self) -> None:
        if self.max_attempts < 1 or not 0 < self.initial_backoff_s <= self.max_backoff_s:
            raise ValueError(f"{self}: at least one attempt, and 0 < initial_backoff_s <= max_backoff_s")

    def backoff_s(self, attempt: int, chance: float) -> float:
        """Return the wait after failed *attempt*, from 1 on; *chance* is random in [0, 1)."""
        longest = min(self.max_backoff_s, self.initial_backoff_s * 2.0 ** min(attempt - 1, 30))
        return longest * (0.5 + chance / 2)


PATIENT: Final = Retry(max_attempts=100, max_backoff_s=30.0)
"""For about forty minutes: where the only other way out is to ask a person."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a saga is being compensated, or why it is stuck on its way forward."""

    step: str
    reason: str
    """Stable UPPER_SNAKE_CASE word; INTERNAL where an action has a defect."""
    message: str
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a saga is."""

    status: Status
    pivoted: bool
    """True once the pivot is done: what remains will be done too."""
    failure: Failure | None = None


@dataclass(frozen=True, slots=True)
class StepCall:
    """What an action or a compensation is given."""

    saga_id: UUID
    data: Mapping[str, JSON] = field(repr=False)
    request_id: str
    """The same at every attempt, on whichever replica: the peer's key to do it once."""


@dataclass(frozen=True, slots=True)
class SagaData:
    """What a local effect is given."""

    saga_id: UUID
    data: Mapping[str, JSON] = field(repr=False)
    failure: Failure | None = None
    """Why it is being compensated; None on the way forward."""


Action: TypeAlias = Callable[[StepCall], Awaitable[Mapping[str, JSON] | None]]
Compensation: TypeAlias = Callable[[StepCall], Awaitable[None]]
Record: TypeAlias = Callable[[Transaction, SagaData], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step forward, and its way back.

    An action that raises a `ServiceError` was refused, unless the code leaves open whether it was done (UNAVAILABLE,
    DEADLINE_EXCEEDED, ABORTED, RESOURCE_EXHAUSTED, INTERNAL, UNKNOWN, CANCELLED): such an attempt, and one left by any
    other exception, is repeated.
    """

    name: str
    action: Action | None = None
    """Remote effect, outside any transaction; idempotent by `StepCall.request_id`. What it returns is merged into the
    saga's data."""
    record: Record | None = None
    """Local effect, in the transaction that persists the step as done; raises a `ServiceError` to refuse. May be run
    again in a new transaction when that one fails, so it must do nothing but what its transaction undoes."""
    compensation: Compensation | None = None
    """Undoes `action`; also called where it is uncertain whether that was, or ever will be, done."""
    record_compensation: Record | None = None
    """Local effect in the transaction that persists the step as compensated. Of a step with a `record` it is run only
    where that was committed."""
    pivot: bool = False
    """Once done there is no way back."""
    refusal_settles: bool = False
    """Whether a clear no tells of earlier attempts too, whose outcome is unknown: none had an effect, and none will."""
    timeout_s: float = 3.0
    """Of one attempt, either way."""
    retry: Retry | None = None
    """Of action and compensation. By default five attempts within two seconds for an action before the pivot or at it,
    since somebody may be waiting, and `PATIENT` for one after it and for every compensation."""

    @property
    def undoes_anything(self) -> bool:
        return self.compensation is not None or self.record_compensation is not None


@dataclass(frozen=True, kw_only=True)
class Definition:
    """A saga's steps, in order.

    Raises:
        ValueError: no steps, a name twice or reserved, a step that does nothing, two pivots, or a compensation of the
            pivot's successors.
    """

    name: str
    steps: tuple[Step, ...]
    record_compensated: Record | None = None
    """Local effect in the transaction that persists the saga as compensated, also where no step had to be undone."""

    def __post_init__(self) -> None:
        if problems := list(self._problems()):
            raise ValueError(f"saga {self.name!r}: {'; '.join(problems)}")

    def _problems(self) -> list[str]:
        problems = []
        names = [step.name for step in self.steps]
        pivots = [position for position, step in enumerate(self.steps) if step.pivot]
        if not names:
            problems.append("it has no steps")
        if not self.name or any(not name or name == END for name in names):
            problems.append(f"a name is empty, or {END!r}")
        if doubled := sorted({name for name in names if names.count(name) > 1}):
            problems.append(f"{', '.join(doubled)} more than once")
        if idle := [step.name for step in self.steps if step.action is None and step.record is None]:
            problems.append(f"{', '.join(idle)} without action and record")
        if late := [step.name for step in self.steps if step.timeout_s <= 0]:
            problems.append(f"{', '.join(late)} without time")
        if orphaned := [step.name for step in self.steps if step.compensation is not None and step.action is None]:
            problems.append(f"{', '.join(orphaned)} with a compensation of no action")
        if len(pivots) > 1:
            problems.append("more than one pivot")
        elif pivots and (behind := [step.name for step in self.steps[pivots[0] + 1 :] if step.undoes_anything]):
            problems.append(f"{', '.join(behind)} after the pivot with a compensation")
        return problems

    @cached_property
    def _by_name(self) -> Mapping[str, Step]:
        end = Step(name=END, record_compensation=self.record_compensated)
        return {step.name: step for step in (*self.steps, end)}

    @cached_property
    def names(self) -> frozenset[str]:
        """Return every step that a saga of this definition may stand at."""
        return frozenset(self._by_name)

    def step(self, name: str) -> Step:
        """Return a step, `END` included. Raises KeyError."""
        return self._by_name[name]

    def after(self, name: str) -> Step | None:
        """Return the step that follows, or None."""
        position = self.steps.index(self._by_name[name])
        return self.steps[position + 1] if position + 1 < len(self.steps) else None

    def is_after_pivot(self, name: str) -> bool:
        """Tell whether the pivot comes before the step *name*."""
        position = self.steps.index(self._by_name[name])
        return any(step.pivot for step in self.steps[:position])

    @property
    def longest_timeout_s(self) -> float:
        return max(step.timeout_s for step in self.steps)


def request_id(saga_id: UUID, step: str, part: str) -> str:
    """Return the id under which a peer knows *part* ("action" or "compensation") of a step."""
    return str(uuid5(saga_id, f"{step}:{part}"))
