"""What a project adds to a mesh on one machine: secrets before the start, data after it.

The module that `[tool.weft] local` names has two functions: `prepare(state)`, which returns service -> environment, and
the coroutine `fill(state, gateway_url)`, which returns rows. They run in a process of their own, so that what they
import and what they break is gone when they are done:

    python -m weft.cli.local ROOT prepare STATE
    python -m weft.cli.local ROOT fill STATE GATEWAY_URL
"""

from __future__ import annotations

import asyncio
import importlib
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from weft.cli.processes import Program, output_of
from weft.cli.project import find_project

if TYPE_CHECKING:
    from collections.abc import Mapping

    from weft.cli.project import Project

__all__ = ["fill", "prepare"]


async def prepare(project: Project, state: Path, env: Mapping[str, str], log: Path) -> dict[str, dict[str, str]]:
    """Return the extra environment of each service; under `""`, of every process.

    Raises:
        ProcessFailed: the project's `prepare` raised.
    """
    return dict(await _run(project, env, log, "prepare", str(state)))


async def fill(
    project: Project, state: Path, gateway_url: str, env: Mapping[str, str], log: Path
) -> list[tuple[str, str]]:
    """Fill in data through the gateway; return rows for the table of addresses. Raises `ProcessFailed`."""
    return [(name, value) for name, value in await _run(project, env, log, "fill", str(state), gateway_url)]


async def _run(project: Project, env: Mapping[str, str], log: Path, step: str, *arguments: str) -> Any:
    command = (sys.executable, "-P", "-m", __name__, str(project.root), step, *arguments)
    output = await output_of(
        f"{step}() of {project.local}", Program(command=command, env=env, cwd=project.root, log=log)
    )
    return json.loads(output)


def main(root: str, step: str, state: str, *arguments: str) -> None:
    project = find_project(Path(root))
    project.make_importable()
    assert project.local is not None, "asked only where there is one"
    answer, sys.stdout = sys.stdout, sys.stderr  # whatever the project prints goes to the log
    module = importlib.import_module(project.local)
    if step == "prepare":
        result: object = {name: dict(env) for name, env in module.prepare(Path(state)).items()}
    else:
        result = [list(row) for row in asyncio.run(module.fill(Path(state), *arguments))]
    json.dump(result, answer)


if __name__ == "__main__":
    main(*sys.argv[1:])
