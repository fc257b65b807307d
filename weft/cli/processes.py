"""One operating system process with its log, in a session of its own so that Ctrl-C reaches the supervisor alone."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "Child",
    "ProcessFailed",
    "Program",
    "Runnable",
    "Spec",
    "Stage",
    "bound_log",
    "output_of",
    "rotate_log",
    "signal_group",
    "tail",
    "tethered",
]

LOG_MAX_BYTES: Final = 10_000_000
_TETHER: Final = Path(__file__).with_name("_tether.py")


class ProcessFailed(Exception):
    """A process can't be started or did not do its work; the message is one line, *log* holds its last words."""

    def __init__(self, message: str, log: Path | None = None) -> None:
        super().__init__(message)
        self.log = log


class Stage(IntEnum):
    """What ends together. Ascending is the order of shutdown: whoever is used by others goes after them."""

    SERVICE = 0
    GATEWAY = 1
    CONTROL = 2
    REGISTRY = 3
    BROKER = 4
    DATABASE = 5
    FORKSERVER = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """What a process is to the mesh: its name, the service it is a replica of, when and how it is stopped.

    Attributes:
        log: where its last words are.
        stop_s: time it gets between being asked to stop and being killed.
    """

    name: str
    stage: Stage
    log: Path
    service: str | None = None
    stop_s: float = 10.0
    stop_signal: int = signal.SIGTERM


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """A command line with its whole environment; standard output and error go to *log*."""

    command: tuple[str, ...]
    env: Mapping[str, str] = field(repr=False)
    cwd: Path
    log: Path


class Runnable(Protocol):
    """Something with a process id that can be started again after it ended."""

    async def start(self) -> int:
        """Start it and return its process id. Raises OSError."""

    async def wait(self) -> int:
        """Return its exit code once it ended; negative is the signal that killed it."""

    async def stop(self, stop_signal: int, grace_s: float) -> None:
        """Ask it to end, and kill it with its descendants after *grace_s*; if it ended, just those. Idempotent."""


class Child:
    """A `Runnable` for a `Program`: tethered to this process, and the leader of its own process group."""

    def __init__(self, program: Program) -> None:
        self._program = program
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> int:
        program = self._program
        with program.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *tethered(program.command), env=dict(program.env), cwd=program.cwd,
                stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        return self._process.pid

    async def wait(self) -> int:
        assert self._process is not None, "started before"
        return await self._process.wait()

    async def stop(self, stop_signal: int, grace_s: float) -> None:
        if (process := self._process) is None:
            return
        if process.returncode is None:
            signal_group(process.pid, stop_signal)
            with suppress(TimeoutError):
                await asyncio.wait_for(process.wait(), grace_s)
        signal_group(process.pid, signal.SIGKILL)  # itself if it did not listen, else what it may have left
        await process.wait()


def tethered(command: tuple[str, ...]) -> tuple[str, ...]:
    """Return *command* such that Linux kills it when this process dies."""
    if sys.platform != "linux":
        return command
    return (sys.executable, "-I", "-S", str(_TETHER), str(os.getpid()), *command)


async def output_of(what: str, program: Program) -> bytes:
    """Run *program* to its end and return what it wrote to its standard output.

    Raises:
        ProcessFailed: *what* ended with another code than 0.
    """
    with program.log.open("ab") as log:
        process = await asyncio.create_subprocess_exec(
            *tethered(program.command), env=dict(program.env), cwd=program.cwd,
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=log,
        )  # fmt: skip
    try:
        output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        raise ProcessFailed(f"{what} failed", program.log)
    return output


def signal_group(pid: int, number: int) -> None:
    """Send signal *number* to the process group *pid*, if it is still there."""
    with suppress(ProcessLookupError, PermissionError):  # macOS answers EPERM for a group of zombies
        os.killpg(pid, number)


def rotate_log(log: Path) -> None:
    """Put the log of an earlier run aside, as `<name>.log.1`."""
    if log.exists():
        log.replace(log.with_name(log.name + ".1"))


def bound_log(log: Path, max_bytes: int = LOG_MAX_BYTES) -> None:
    """Empty a log that grew past *max_bytes*, keeping its content as `<name>.log.1`.

    The writer keeps its file: it appends, so it goes on at the new end. What it writes between copy and truncation is
    lost.
    """
    with suppress(FileNotFoundError):
        if log.stat().st_size > max_bytes:
            shutil.copyfile(log, log.with_name(log.name + ".1"))
            os.truncate(log, 0)


def tail(log: Path, lines: int) -> tuple[str, ...]:
    """Return the last *lines* lines of *log*; none if there is no such file."""
    try:
        with log.open(errors="replace") as file:
            return tuple(line.rstrip("\n") for line in deque(file, maxlen=lines))
    except FileNotFoundError:
        return ()
