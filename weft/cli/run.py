"""`weft run`: one or more services of the project in this process."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from weft.cli.project import ProjectError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from weft.cli.project import Project

__all__ = ["run"]


def run(project: Project, names: Sequence[str]) -> int:
    """Run the services *names* until the process is told to stop.

    Raises:
        ProjectError: the project has no such service.
    """
    known = project.service_names()
    if unknown := [name for name in names if name not in known]:
        raise ProjectError(f"no service {', '.join(unknown)} in {project.services_path}; there are {', '.join(known)}")
    project.make_importable()
    from weft.server import run_all  # noqa: PLC0415  # a server's imports would slow the other commands

    run_all([importlib.import_module(project.module(name)).service for name in names])
    return 0
