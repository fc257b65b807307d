"""`weft up`: start a mesh, stay with it, stop it."""

from __future__ import annotations

import asyncio
import os
import re
import secrets
import signal
from typing import TYPE_CHECKING, Any, Final

from weft.cli import probes
from weft.cli.commands import command_server
from weft.cli.detach import detached
from weft.cli.mesh import Mesh, Options
from weft.cli.processes import ProcessFailed, tail
from weft.cli.restart import rolling_restart
from weft.cli.state import AlreadyRunning, MeshRecord, ProcessRecord, State
from weft.cli.status import describe
from weft.cli.supervisor import Supervisor

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from weft.cli.project import Project
    from weft.cli.terminal import Terminal

__all__ = ["up"]

LAST_WORDS: Final = 20
DONE: Final = 0
FAILED: Final = 1
INTERRUPTED: Final = 130


def up(options: Options, project: Project, state: State, terminal: Terminal, *, detach: bool) -> int:
    """Run a mesh until it is told to stop, or with *detach* leave it when it is ready; return the exit code."""
    state.create()
    try:
        with state.locked():
            if problem := _problem(options, project, state):
                terminal.fail(problem)
                return FAILED
            session = _Session(options, project, state, terminal)
            if not detach:
                return asyncio.run(session.run(lambda _: None))
            return detached(terminal, state.logs / "weft.log", lambda report: asyncio.run(session.run(report)))
    except AlreadyRunning:
        record = state.read()
        where = f" at {record.urls['gateway']}, pid {record.supervisor.pid}" if record is not None else ""
        terminal.fail(f"a mesh runs from {state.path} already{where}: weft status, weft down, or another --state")
        return FAILED


def _problem(options: Options, project: Project, state: State) -> str | None:
    """Return in one line what is known to prevent a start."""
    if unknown := sorted(set(options.replicas) - set(project.service_names())):
        return f"no service {', '.join(unknown)}; there are {', '.join(project.service_names())}"
    if not probes.is_free(options.port):
        owner = probes.port_owner(options.port)
        return f"port {options.port} is in use{f' by {owner}' if owner else ''}: choose another with --port"
    if (old := state.read()) is not None and any(each.find() for each in old.processes):
        return f"an earlier mesh left processes behind in {state.path}: weft down"
    return None


class _Session:
    """One mesh from start to end."""

    def __init__(self, options: Options, project: Project, state: State, terminal: Terminal) -> None:
        self._options = options
        self._project = project
        self._state = state
        self._terminal = terminal
        self._phase = "starting"
        self._token = secrets.token_urlsafe(32)
        self._command_port = 0

    async def run(self, report: Callable[[int], None]) -> int:
        """Live through it; call *report* with the exit code of the start."""
        stop = asyncio.Event()
        async with Supervisor(on_change=self._record, on_event=self._terminal.line) as supervisor:
            self._supervisor = supervisor
            self._mesh = Mesh(self._options, self._project, self._state, supervisor, self._terminal)
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                asyncio.get_running_loop().add_signal_handler(number, self._on_signal, stop)
            async with command_server(self._token, {"status": self._status, "restart": self._restart}) as port:
                self._command_port = port
                self._record()
                code = await self._start(stop)
                if code == DONE:
                    report(DONE)
                    await stop.wait()
            self._phase = "stopping"
            self._terminal.line("stopping")
        self._state.forget()
        return code

    def _on_signal(self, stop: asyncio.Event) -> None:
        if stop.is_set():
            self._supervisor.hurry()
        stop.set()

    async def _start(self, stop: asyncio.Event) -> int:
        """Bring the mesh up, unless *stop* is set before; print what came of it."""
        start = asyncio.create_task(self._supervisor.guard(self._bring_up()))
        stopped = asyncio.create_task(stop.wait())
        await asyncio.wait((start, stopped), return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        if not start.done():
            start.cancel()
            await asyncio.wait((start,))
            return INTERRUPTED
        try:
            rows = start.result()
        except (ProcessFailed, ExceptionGroup) as error:
            failure = _first_failure(error)
            words = tail(failure.log, LAST_WORDS) if failure.log is not None else ()
            self._terminal.fail(_explained(failure, words), words)
            return FAILED
        self._supervisor.settled()
        self._phase = "ready"
        self._record()
        self._terminal.line()
        self._terminal.table([*self._mesh.urls.items(), *rows, ("logs", str(self._state.logs))])
        self._terminal.line()
        return DONE

    async def _bring_up(self) -> list[tuple[str, str]]:
        await self._mesh.bring_up()
        return await self._mesh.fill()

    def _record(self) -> None:
        supervised = (each.record for each in self._supervisor.processes.values())
        self._state.write(
            MeshRecord(
                supervisor=ProcessRecord.of("weft", os.getpid(), stop_signal=signal.SIGTERM),
                phase=self._phase,
                command_port=self._command_port,
                command_token=self._token,
                urls=self._mesh.urls,
                database_urls=dict(self._mesh.database_urls),
                broker_url=self._mesh.broker_url,
                processes=tuple(record for record in supervised if record is not None),
            )
        )

    async def _status(self) -> AsyncIterator[dict[str, Any]]:
        yield await describe(self._mesh, self._phase)

    async def _restart(self, service: str) -> AsyncIterator[str]:
        async for line in rolling_restart(self._mesh, service):
            yield line


def _first_failure(error: ProcessFailed | ExceptionGroup[Exception]) -> ProcessFailed:
    """Return what failed first. Raises *error* if that is a defect of ours."""
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]  # type: ignore[assignment]  # narrowed below
    if not isinstance(error, ProcessFailed):
        raise error
    return error


def _explained(failure: ProcessFailed, last_words: tuple[str, ...]) -> str:
    """Return the line for a person: a missing package is named, since that is theirs to install."""
    missing = re.search(r"ModuleNotFoundError: No module named '([\w.]+)'", "\n".join(last_words))
    if missing is None:
        return str(failure)
    return f"{failure}: the Python package {missing[1]} is missing (if .venv is damaged: remove it and run scripts/up)"
