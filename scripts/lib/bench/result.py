"""What a bench found: both sides, their ratio, the budget, and whether it is met."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final, Literal, TypeVar

__all__ = ["FULL", "QUICK", "BenchFailed", "Budget", "Effort", "Result", "compared", "interleaved", "measured", "p99"]

T = TypeVar("T")


class BenchFailed(Exception):
    """A bench could not be measured; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """How much is measured."""

    rounds: int
    """Of both sides in turn, for CPU per call."""
    calls: int
    """A side and round."""
    load_rounds: int
    """Of both sides in turn, for requests per second."""
    load_s: int
    """A side and round."""
    changes: int
    """Instances that join, and leave again."""
    starts: int
    """Of a mesh that has been started before."""
    events: int
    """In a burst of them."""


FULL: Final = Effort(rounds=15, calls=3200, load_rounds=5, load_s=10, changes=50, starts=5, events=5000)
QUICK: Final = Effort(rounds=3, calls=800, load_rounds=1, load_s=2, changes=5, starts=1, events=500)


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """A bound, of the ratio where there are two sides and of our own value where there is one."""

    limit: float
    bound: Literal["at most", "at least", "under"]

    def holds(self, value: float) -> bool:
        if self.bound == "at least":
            return value >= self.limit
        return value <= self.limit if self.bound == "at most" else value < self.limit


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One line of the report. Made by `compared` or `measured`."""

    bench: str
    case: str
    unit: str
    ours: float
    baseline: str = ""
    """What the other side is; empty where there is none."""
    theirs: float | None = None
    ratio: float | None = None
    """The median of the rounds' ratios, which a machine that slows down for a while does not move; ours by theirs."""
    spread: tuple[float, float] | None = None
    """The least and the greatest of the rounds' ratios."""
    budget: Budget | None = None
    """None for a line that only informs."""
    samples: tuple[tuple[float, ...], ...] = ()
    """(ours, theirs) of each round, or (ours,) of each measurement."""
    notes: tuple[str, ...] = ()

    @property
    def met(self) -> bool | None:
        """Whether the budget is met; None without one."""
        if self.budget is None:
            return None
        return self.budget.holds(self.ours if self.ratio is None else self.ratio)


def compared(
    bench: str,
    case: str,
    unit: str,
    rounds: Sequence[tuple[float, float]],
    *,
    baseline: str,
    budget: Budget | None = None,
    notes: Sequence[str] = (),
) -> Result:
    """Return the line for *rounds* of (ours, theirs), at least one. Raises BenchFailed where theirs is not positive."""
    if any(theirs <= 0 for _, theirs in rounds):
        raise BenchFailed(f"{bench}, {case}: the other side measured nothing")
    ratios = [ours / theirs for ours, theirs in rounds]
    return Result(
        bench=bench,
        case=case,
        unit=unit,
        ours=median(ours for ours, _ in rounds),
        baseline=baseline,
        theirs=median(theirs for _, theirs in rounds),
        ratio=median(ratios),
        spread=(min(ratios), max(ratios)),
        budget=budget,
        samples=tuple(rounds),
        notes=tuple(notes),
    )


def measured(
    bench: str,
    case: str,
    unit: str,
    samples: Sequence[float],
    *,
    of: Callable[[Sequence[float]], float] = median,
    budget: Budget | None = None,
    notes: Sequence[str] = (),
) -> Result:
    """Return the line for *samples* of our side alone, at least one, summed up by *of*."""
    return Result(
        bench=bench,
        case=case,
        unit=unit,
        ours=of(samples),
        budget=budget,
        samples=tuple((sample,) for sample in samples),
        notes=tuple(notes),
    )


def p99(samples: Sequence[float]) -> float:
    """Return the 99th percentile by nearest rank: a value that was measured, the greatest of up to 99."""
    return sorted(samples)[math.ceil(0.99 * len(samples)) - 1]


def interleaved(sides: Mapping[str, Callable[[], T]], rounds: int) -> list[dict[str, T]]:
    """Measure every side once a round, beginning with another one each time, after one round that does not count."""
    names = list(sides)
    found = []
    for number in range(rounds + 1):
        start = number % len(names)
        found.append({name: sides[name]() for name in (*names[start:], *names[:start])})
    return found[1:]
