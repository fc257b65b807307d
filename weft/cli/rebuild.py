"""`weft rebuild`: have a service make its read models anew from its history."""

from __future__ import annotations

import asyncio
import importlib
from typing import TYPE_CHECKING

from weft.cli.project import ProjectError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from weft.cli.project import Project
    from weft.cli.state import State
    from weft.cli.terminal import Terminal
    from weft.data import Database

__all__ = ["rebuild"]


def rebuild(project: Project, state: State, terminal: Terminal, name: str, env: Mapping[str, str]) -> int:
    """Run the `rebuild` of service *name* on its database; return the exit code.

    Raises:
        ProjectError: there is no such service.
    """
    if name not in project.service_names():
        raise ProjectError(f"no service {name}; there are {', '.join(project.service_names())}")
    url = state.database_urls([name], env).get(name)
    if url is None:
        variable = f"{name.upper().replace('-', '_')}_DATABASE_URL"
        terminal.fail(f"the database of {name} is not known: no mesh runs from {state.path}, and {variable} is not set")
        return 1
    project.make_importable()
    service = importlib.import_module(project.module(name)).service
    if service.rebuild is None:
        terminal.fail(f"{name} derives nothing that could be made anew")
        return 1
    from weft.errors import ServiceError  # noqa: PLC0415  # as few imports as possible before there is work

    try:
        count = asyncio.run(_rebuild(url, service.rebuild, terminal))
    except ServiceError as error:
        terminal.fail(f"{error.reason}: {error.message}")
        return 1
    terminal.done(f"{count} rebuilt")
    return 0


async def _rebuild(url: str, run: Callable[[Database], AsyncIterator[int]], terminal: Terminal) -> int:
    from weft.data import Database  # noqa: PLC0415  # as above

    count = 0
    async with Database.open(url, application_name="weft rebuild", statement_s=600.0) as database:
        async for count in run(database):
            terminal.waiting_for([f"the rest, after {count}"])
    return count
