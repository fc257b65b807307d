"""From `scripts/up` to the first answer, with an environment and a state directory that exist."""

from __future__ import annotations

import time
from http import HTTPStatus
from pathlib import Path
from typing import Final

from scripts.lib.bench.mesh import mesh
from scripts.lib.bench.processes import ROOT, folder
from scripts.lib.bench.result import Budget, Effort, Result, measured

__all__ = ["BUDGET", "startup"]

BUDGET: Final = Budget(limit=8.0, bound="under")
COMMAND: Final = (str(ROOT / "scripts/up"),)
PATH: Final = "/v1/products"


def startup(effort: Effort) -> list[Result]:
    with folder() as files:
        cold_s = _start(files)
        warm_s = [_start(files) for _ in range(effort.starts)]
    notes = (
        f"from starting the command to the first 200 of GET {PATH}, asked every 20 ms; ours is the median",
        (
            f"{cold_s:.2f} s the first time, with an empty state directory; then "
            f"{', '.join(f'{each:.2f}' for each in warm_s)} s"
        ),
    )
    return [measured("startup", "scripts/up, warm", "s", warm_s, budget=BUDGET, notes=notes)]


def _start(files: Path) -> float:
    """Return the seconds until the first answer; wait until the mesh is ready before stopping it again."""
    started_s = time.perf_counter()
    with mesh(files, command=COMMAND) as starting:
        starting.until(lambda: starting.get(PATH)[0] == HTTPStatus.OK)
        took_s = time.perf_counter() - started_s
        starting.until_ready()
    return took_s
