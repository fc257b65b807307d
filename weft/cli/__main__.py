"""The command line of `weft`."""

from __future__ import annotations

import os
import runpy
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from weft.cli.added import run_added
from weft.cli.arguments import parser
from weft.cli.project import ProjectError, find_project
from weft.cli.terminal import Terminal

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from weft.cli.project import Project
    from weft.cli.state import State

__all__ = ["main"]

PROGRAMS: Final = {"control": "weft.control", "agent": "weft.registry.agent"}
"""Commands that are programs of their own, and read the rest of the command line themselves."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What `weft up` reads from the environment itself; the processes it starts inherit all of it."""

    weft_database_url: str | None = field(default=None, repr=False)
    weft_broker_url: str | None = field(default=None, repr=False)
    consul_http_addr: str | None = None
    consul_http_token: str | None = field(default=None, repr=False)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0 done, 1 failed, 2 asked wrongly, 130 interrupted."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments and arguments[0] in PROGRAMS:
        sys.argv = [f"weft {arguments[0]}", *arguments[1:]]
        runpy.run_module(PROGRAMS[arguments[0]], run_name="__main__")
        return 0
    try:
        project = find_project(Path.cwd())
        options = parser(project, arguments).parse_args(arguments)
        return _run(options, project, Terminal(sys.stdout, os.environ))
    except ProjectError as error:
        Terminal(sys.stderr, os.environ).fail(str(error))
        return 2
    except KeyboardInterrupt:
        return 130


# Each command imports what it needs and no more: all of them should answer at once; and each returns by itself.
# ruff: noqa: PLC0415, PLR0911
def _run(options: argparse.Namespace, project: Project, terminal: Terminal) -> int:
    if options.command == "run":
        from weft.cli.run import run

        return run(project, options.services)
    from weft.cli.state import State

    state = State(options.state.resolve() if options.state is not None else project.root / ".weft")
    if options.command in project.commands:
        return run_added(options, state, terminal)
    if options.command == "up":
        return _up(options, project, state, terminal)
    if options.command == "down":
        from weft.cli.down import down

        return down(state, terminal)
    if options.command == "status":
        from weft.cli.status import status

        return status(state, terminal, as_json=options.json)
    if options.command == "logs":
        from weft.cli.logs import logs

        return logs(state, terminal, options.service, lines=options.lines, follow=options.follow)
    if options.command == "rebuild":
        from weft.cli.rebuild import rebuild

        return rebuild(project, state, terminal, options.service, os.environ)
    if options.command == "saga":
        from weft.cli.saga import saga

        return saga(options, project, state, terminal, os.environ)
    if options.command == "declare":
        from weft.cli.declare import declare

        return declare(options, project, state, terminal, os.environ)
    if options.command == "dlq":
        from weft.cli.dlq import dlq

        return dlq(options, project, state, terminal, os.environ)
    from weft.cli.restart import restart

    return restart(state, terminal, options.service)


def _up(options: argparse.Namespace, project: Project, state: State, terminal: Terminal) -> int:
    from weft.cli.mesh import Options
    from weft.cli.up import up
    from weft.config import load

    surroundings = load(Surroundings, os.environ)
    consul = surroundings.consul_http_addr if options.registry == "consul" else None
    mesh = Options(
        port=options.port,
        replicas={service: count for pairs in options.replicas for service, count in pairs.items()},
        registry=options.registry,
        registry_url=f"http://{consul}" if consul is not None and "://" not in consul else consul,
        registry_token=surroundings.consul_http_token if consul is not None else None,
        database_url=options.database_url or surroundings.weft_database_url,
        broker_url=options.broker_url or surroundings.weft_broker_url,
        env=dict(os.environ),
    )
    return up(mesh, project, state, terminal, detach=options.detach)


if __name__ == "__main__":
    sys.exit(main())
