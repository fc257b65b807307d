"""Durations as Consul writes them, which is as Go writes them: `1m30s`, `250ms`."""

from __future__ import annotations

import re
from typing import Final

_UNIT_S: Final = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_PART: Final = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h)")


def format_duration(seconds: float) -> str:
    """Return *seconds* with a resolution of one millisecond."""
    return f"{round(seconds * 1000)}ms"


def parse_duration(text: str) -> float:
    """Return the seconds *text* stands for; negative ones are allowed, a bare `0` is the only number without a unit.

    Raises:
        ValueError: *text* is not a duration.

    Source: Go, `time.ParseDuration`.
    """
    sign, digits = (-1.0, text[1:]) if text.startswith("-") else (1.0, text.removeprefix("+"))
    if digits == "0":
        return 0.0
    if not digits or _PART.sub("", digits):
        raise ValueError(f'time: invalid duration "{text}"')
    return sign * sum(float(number) * _UNIT_S[unit] for number, unit in _PART.findall(digits))
