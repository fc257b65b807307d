"""Does what the schedule says, to processes of the mesh's own record and to nobody else."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, Protocol

import aiohttp
import psutil

from scripts.lib.chaos.mesh import Mesh, services
from scripts.lib.chaos.schedule import Act, Fault
from weft.cli.commands import CommandFailed
from weft.cli.state import ProcessRecord

__all__ = ["Breaker", "Happened", "Outsider"]

TROUBLE: Final = {
    Act.DELAY: {"delay_s": 2.0},
    Act.REFUSE: {"refuse_ratio": 0.8},
    Act.LOSE: {"lose_ratio": 0.8},
}
FAST_SHUTDOWN: Final = {"postgres": signal.SIGINT}
"""Where the usual signal waits for every client to leave first."""
RESTARTS_S: Final = 150.0
"""Longest wait for a rolling restart that is under way when the run ends."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Happened:
    """What became of a fault: `done`, `skipped: ...` or `failed: ...`."""

    fault: Fault
    outcome: str

    def __str__(self) -> str:
        return f"{self.fault}: {self.outcome}"


class Outsider(Protocol):
    """Somebody outside the mesh, who can be told to make trouble."""

    def find(self) -> ProcessRecord | None:
        """Return their process, if it runs at this moment."""

    async def misbehave(self, faults: Mapping[str, float]) -> None:
        """Make trouble from now on; what `TROUBLE` has no word of is as it should be."""

    async def behave(self) -> None:
        """Make no trouble any more. Raises nothing."""


class Breaker:
    """Breaks the parts of *mesh* on time.

    Args:
        outside: those who can be told to misbehave, by name.
        find: Returns the living process of a name, if there is one at that moment.
        on_event: Gets each fault once it is known what became of it.
    """

    def __init__(
        self,
        mesh: Mesh,
        outside: Mapping[str, Outsider],
        *,
        find: Callable[[str], ProcessRecord | None],
        on_event: Callable[[Happened], None],
    ) -> None:
        self.happened: list[Happened] = []
        self._mesh = mesh
        self._outside = outside
        self._find = find
        self._on_event = on_event
        self._paused: dict[int, psutil.Process] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self, faults: Sequence[Fault]) -> None:
        """Return when the last of *faults* has begun; what they broke may still be broken."""
        began_s = time.monotonic()
        for fault in faults:
            await asyncio.sleep(max(0.0, began_s + fault.at_s - time.monotonic()))
            task = asyncio.create_task(self._suffer(fault))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def heal(self) -> None:
        """Undo all that can be undone at once, and wait for restarts that are under way."""
        self.resume()
        await self._behave()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=RESTARTS_S)
        self.resume()  # a pause that was just beginning
        await self._behave()

    def resume(self) -> None:
        """Let every paused process go on. Safe at any time, also when the run is broken off."""
        for process in self._paused.values():
            with suppress(psutil.Error):
                process.resume()
        self._paused.clear()

    async def _suffer(self, fault: Fault) -> None:
        try:
            outcome = await self._act(fault)
        except (CommandFailed, psutil.Error, aiohttp.ClientError, TimeoutError, OSError) as error:
            first_line = next(iter(str(error).splitlines()), "") or type(error).__name__
            outcome = f"failed: {first_line}"
        happened = Happened(fault=fault, outcome=outcome)
        self.happened.append(happened)
        self._on_event(happened)

    async def _act(self, fault: Fault) -> str:
        if fault.act in TROUBLE:
            return await self._trouble(fault)
        if fault.act is Act.RESTART and fault.target in services():
            return await self._mesh.restart(fault.target)
        target = self._find(fault.target)
        process = target.find() if target is not None else None
        if target is None or process is None:
            return "skipped: it isn't running"
        if fault.act is Act.PAUSE:
            return await self._pause(process, fault.length_s)
        number = signal.SIGKILL if fault.act is Act.KILL else FAST_SHUTDOWN.get(fault.target, target.stop_signal)
        process.send_signal(number)
        return f"done, pid {process.pid}"

    async def _pause(self, process: psutil.Process, length_s: float) -> str:
        family = [process, *process.children(recursive=True)]
        for each in family:
            with suppress(psutil.NoSuchProcess):
                each.suspend()
                self._paused[each.pid] = each
        await asyncio.sleep(length_s)
        for each in family:
            self._paused.pop(each.pid, None)
            with suppress(psutil.NoSuchProcess):
                each.resume()
        return (
            f"done, pid {process.pid}" if process.is_running() else f"done, and pid {process.pid} has ended meanwhile"
        )

    async def _trouble(self, fault: Fault) -> str:
        outsider = self._outside[fault.target]
        await outsider.misbehave(TROUBLE[fault.act])
        await asyncio.sleep(fault.length_s)
        await outsider.behave()
        return "done"

    async def _behave(self) -> None:
        for outsider in self._outside.values():
            await outsider.behave()
