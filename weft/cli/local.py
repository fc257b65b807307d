"""What a project adds to a mesh on one machine: secrets before the start, data after it.

The module that `[tool.weft] local` names has two functions: `prepare(state)`, which returns `Prepared`, and the
coroutine `fill(state, gateway_url)`, which returns rows. They run in a process of their own, so that what they import
and what they break is gone when they are done:

    python -m weft.cli.local ROOT prepare STATE
    python -m weft.cli.local ROOT fill STATE GATEWAY_URL
"""

from __future__ import annotations

import asyncio
import importlib
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from weft.cli.processes import Program, output_of
from weft.cli.project import find_project

if TYPE_CHECKING:
    from weft.cli.project import Project

__all__ = ["Prepared", "fill", "prepare", "service_key_dir"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """What a project needs to run on this machine.

    Attributes:
        env: service -> its environment, where the shell's doesn't say otherwise; under `""`, of every process.
        programs: name -> module and its arguments, run with `python -m` beside the services: what stands in for others.
    """

    env: Mapping[str, Mapping[str, str]] = field(default_factory=dict, repr=False)
    programs: Mapping[str, Sequence[str]] = field(default_factory=dict)


async def prepare(project: Project, state: Path, env: Mapping[str, str], log: Path) -> Prepared:
    """Make what is missing: the services' own keys, and what the project's `prepare` makes.

    Raises:
        ProcessFailed: the project's `prepare` raised.
    """
    return Prepared(**await _run(project, env, log, "prepare", str(state)))


def service_key_dir(state: Path) -> Path:
    """Return where the keys are by which services know each other."""
    return state / "keys" / "services"


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
    answer, sys.stdout = sys.stdout, sys.stderr  # whatever the project prints goes to the log
    module = importlib.import_module(project.local) if project.local else None
    if step == "prepare":
        from weft.security import create_service_keys  # noqa: PLC0415  # 15 MB that the supervisor does without

        create_service_keys(project.service_names(), service_key_dir(Path(state)))
        result: object = asdict(module.prepare(Path(state)) if module else Prepared())
    else:
        assert module is not None, "asked only where there is one"
        result = [list(row) for row in asyncio.run(module.fill(Path(state), *arguments))]
    json.dump(result, answer)


if __name__ == "__main__":
    main(*sys.argv[1:])
