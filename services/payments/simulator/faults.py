"""Trouble on demand."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from random import Random
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Fate", "Faults"]


class Fate(Enum):
    """What becomes of one request."""

    SERVED = 0
    REFUSED = 1
    """503; nothing is done."""
    LOST = 2
    """It is done, and the connection is cut instead of an answer."""


@dataclass(slots=True, kw_only=True)
class Faults:
    """Trouble of every request about payments, until set anew. Fates with the same *seed* come in the same order."""

    delay_s: float = 0.0
    """Before anything is done; what was waited for is done even if nobody is waiting any more."""
    refuse_ratio: float = 0.0
    lose_ratio: float = 0.0
    seed: int = 0
    _random: Random | None = None

    @classmethod
    def parse(cls, values: Mapping[str, Any]) -> Self:
        """Return the faults that a JSON object says; what it leaves out is no trouble. Raises ValueError."""
        known = {"delay_s": float, "refuse_ratio": float, "lose_ratio": float, "seed": int}
        unknown = values.keys() - known.keys()
        if unknown:
            raise ValueError(f"unknown: {', '.join(sorted(unknown))}")
        try:
            faults = cls(**{name: known[name](value) for name, value in values.items()})
        except TypeError:
            raise ValueError("not numbers") from None
        if not (0 <= faults.refuse_ratio <= 1 and 0 <= faults.lose_ratio <= 1 and 0 <= faults.delay_s <= 600):  # noqa: PLR2004
            raise ValueError("ratios are in [0, 1], the delay is in [0, 600] seconds")
        return faults

    def as_json(self) -> dict[str, float]:
        return {
            "delay_s": self.delay_s,
            "refuse_ratio": self.refuse_ratio,
            "lose_ratio": self.lose_ratio,
            "seed": self.seed,
        }

    def draw(self) -> Fate:
        """Return the fate of the next request."""
        if self._random is None:
            self._random = Random(self.seed)  # noqa: S311  # repeatable on purpose
        refused, lost = self._random.random() < self.refuse_ratio, self._random.random() < self.lose_ratio
        return Fate.REFUSED if refused else Fate.LOST if lost else Fate.SERVED
