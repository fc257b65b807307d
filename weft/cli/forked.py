"""Services as children of a fork server, which spares each of them its imports."""

from __future__ import annotations

import asyncio
import json
import signal
from collections import deque
from typing import TYPE_CHECKING, Final, TypeAlias

from weft.cli.processes import signal_group, tethered

if TYPE_CHECKING:
    from weft.cli.processes import Program

__all__ = ["Forked", "Forkserver"]

Birth: TypeAlias = "tuple[int, asyncio.Future[int]]"
"""A process id, and the exit code there will be; negative is the signal that killed it."""
_KILLED: Final = -signal.SIGKILL


class Forkserver:
    """A `Runnable` for `weft.cli.forkserver`, and the way to order from it.

    Args:
        program: how it is started; its environment is what the children's C libraries see.
    """

    def __init__(self, program: Program) -> None:
        self._program = program
        self._process: asyncio.subprocess.Process | None = None
        self._answers: deque[asyncio.Future[Birth]] = deque()
        self._ends: dict[int, asyncio.Future[int]] = {}
        self._reading: asyncio.Task[None] | None = None

    async def start(self) -> int:
        program = self._program
        with program.log.open("ab") as log:
            self._process = process = await asyncio.create_subprocess_exec(
                *tethered(program.command), env=dict(program.env), cwd=program.cwd,
                stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=log, start_new_session=True,
            )  # fmt: skip
        assert process.stdout is not None
        self._reading = asyncio.create_task(self._read(process.stdout))
        return process.pid

    async def wait(self) -> int:
        assert self._process is not None, "started before"
        return await self._process.wait()

    async def stop(self, stop_signal: int, grace_s: float) -> None:
        """Kill it, and with it every child that is left: it has nothing to finish."""
        if (process := self._process) is None:
            return
        signal_group(process.pid, signal.SIGKILL)
        await process.wait()
        assert self._reading is not None, "begun with the process"
        await self._reading

    async def fork(self, program: Program) -> Birth:
        """Have a child made for the `weft` command of *program*; return its process id, and what will be its exit code.

        Raises:
            OSError: the server is not running.
        """
        if self._process is None or self._process.returncode is not None:
            raise OSError("the fork server is not running")
        assert self._process.stdin is not None, "it is a pipe"
        answer: asyncio.Future[Birth] = asyncio.get_running_loop().create_future()
        self._answers.append(answer)
        self._process.stdin.write(_order(program))
        try:
            return await asyncio.shield(answer)
        except asyncio.CancelledError:
            answer.add_done_callback(_kill_unwanted)
            raise

    async def _read(self, reports: asyncio.StreamReader) -> None:
        """Settle what is waited for, and all of it when the server ends."""
        loop = asyncio.get_running_loop()
        while line := await reports.readline():
            fact: dict[str, int] = json.loads(line)
            if "code" in fact:
                self._ends.pop(fact["pid"]).set_result(fact["code"])
            else:
                end = self._ends[fact["pid"]] = loop.create_future()
                self._answers.popleft().set_result((fact["pid"], end))
        while self._answers:
            self._answers.popleft().set_exception(OSError("the fork server ended"))
        while self._ends:
            self._ends.popitem()[1].set_result(_KILLED)


class Forked:
    """A `Runnable` for one `weft` command, as a child of *server* and the leader of its own process group."""

    def __init__(self, server: Forkserver, program: Program) -> None:
        self._server = server
        self._program = program
        self._birth: Birth | None = None

    async def start(self) -> int:
        self._birth = await self._server.fork(self._program)
        return self._birth[0]

    async def wait(self) -> int:
        assert self._birth is not None, "started before"
        return await asyncio.shield(self._birth[1])

    async def stop(self, stop_signal: int, grace_s: float) -> None:
        if self._birth is None:
            return
        pid, end = self._birth
        if not end.done():
            signal_group(pid, stop_signal)
            await asyncio.wait((end,), timeout=grace_s)
        signal_group(pid, signal.SIGKILL)  # itself if it did not listen, else what it may have left
        await asyncio.shield(end)


def _kill_unwanted(answer: asyncio.Future[Birth]) -> None:
    if answer.exception() is None:
        signal_group(answer.result()[0], signal.SIGKILL)


def _order(program: Program) -> bytes:
    order = {
        "arguments": program.command,
        "env": dict(program.env),
        "cwd": str(program.cwd),
        "log": str(program.log),
    }
    return json.dumps(order).encode() + b"\n"
