"""Results for people and for programs."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from textwrap import wrap
from typing import Any

from scripts.lib.bench.result import Budget, Result

__all__ = ["document", "machine", "table"]

HEADER = ("what", "unit", "ours", "theirs", "ratio", "rounds", "budget", "")
WIDTH = 120


def table(results: Sequence[Result]) -> str:
    """Return aligned lines, and under them what must be known to read them."""
    rows = [HEADER, *(_row(result) for result in results)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    for text in _notes(results):
        lines += wrap(text, WIDTH, initial_indent="  - ", subsequent_indent="    ")
    return "\n".join(lines)


def document(
    results: Sequence[Result], *, left_out: Mapping[str, str], failed: Mapping[str, str], started: datetime
) -> dict[str, Any]:
    """Return what `--json` writes; *left_out* and *failed* are bench -> reason."""
    return {
        "started": started.astimezone(UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "results": [asdict(result) | {"met": result.met} for result in results],
        "left_out": dict(left_out),
        "failed": dict(failed),
    }


def machine() -> dict[str, Any]:
    return {
        "cpus": os.cpu_count(),
        "load": round(os.getloadavg()[0], 2),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
    }


def _row(result: Result) -> tuple[str, ...]:
    ratio = "" if result.ratio is None else f"{result.ratio:.2f}"
    rounds = "" if result.spread is None else "{:.2f} to {:.2f}".format(*result.spread)
    verdict = {True: "met", False: "NOT MET", None: ""}[result.met]
    what = f"{result.bench}: {result.case}"
    theirs = "" if result.theirs is None else _number(result.theirs)
    return what, result.unit, _number(result.ours), theirs, ratio, rounds, _bound(result.budget), verdict


def _notes(results: Sequence[Result]) -> list[str]:
    """Return what the other sides are, and every note once."""
    cases: dict[str, list[str]] = {}
    for result in results:
        if result.baseline:
            cases.setdefault(result.baseline, []).append(result.case)
    theirs = [
        f"theirs is {baseline}" if len(cases) == 1 else f"{', '.join(whose)}: theirs is {baseline}"
        for baseline, whose in cases.items()
    ]
    return [*theirs, *dict.fromkeys(note for result in results for note in result.notes)]


def _bound(budget: Budget | None) -> str:
    return f"{budget.bound} {budget.limit:g}" if budget else ""


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.3f}"  # noqa: PLR2004
