"""Keeps processes running: restarts what ends, gives up on what can't start, stops all in order."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Literal, Self, TypeVar

import psutil

from weft.cli.processes import ProcessFailed, bound_log
from weft.cli.state import ProcessRecord

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from types import TracebackType

    from weft.cli.processes import Runnable, Spec

__all__ = ["Backoff", "Supervised", "Supervisor"]

T = TypeVar("T")
LOG_CHECK_S: Final = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Backoff:
    """How a process that ended is started again.

    Attributes:
        first_s, cap_s: the wait doubles with every quick end, within these.
        steady_s: whoever ran that long ended on another occasion, and the count begins anew.
        give_up_after: quick ends in a row that fail a mesh which is still starting.
    """

    first_s: float = 0.2
    cap_s: float = 10.0
    steady_s: float = 10.0
    give_up_after: int = 3

    def wait_s(self, quick_ends: int) -> float:
        """Return the wait before the start that follows *quick_ends* >= 1 quick ends in a row."""
        return float(min(self.cap_s, self.first_s * 2.0 ** min(quick_ends - 1, 30)))


class Supervisor:
    """Runs processes until exit, which stops them stage by stage.

    A process that ends is started again after a growing wait. While the mesh is starting, one that keeps ending fails
    the mesh through `guard`; after `settled()` its restarts go on for ever.

    Args:
        on_change: called after every start and end, to keep the record of living processes.
        on_event: gets one line for each unexpected end.
    """

    def __init__(
        self, *, on_change: Callable[[], None], on_event: Callable[[str], None], backoff: Backoff | None = None
    ) -> None:
        self.processes: dict[str, Supervised] = {}
        self.on_change = on_change
        self.on_event = on_event
        self.backoff = backoff or Backoff()
        self._starting = True
        self._stopping = False
        self._failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._hurry = asyncio.Event()
        self._log_task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._log_task = asyncio.create_task(self._bound_logs())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._log_task is not None, "entered before"
        self._log_task.cancel()
        self._stopping = True
        for stage in sorted({each.spec.stage for each in self.processes.values()}):
            members = [each for each in self.processes.values() if each.spec.stage == stage]
            await asyncio.gather(*(each.stop(self._hurry) for each in members), return_exceptions=True)
        if not self._failed.cancel():
            self._failed.exception()  # marks it as seen

    def settled(self) -> None:
        """Say that the mesh is up: from now on nothing is given up."""
        self._starting = False

    def hurry(self) -> None:
        """Kill what does not end at once: the person at the keyboard asked twice."""
        self._hurry.set()

    async def start(self, spec: Spec, runnable: Runnable) -> Supervised:
        """Start a process and return once it has an id; whether it works is for the caller to find out.

        Raises:
            ProcessFailed: it could not even be executed, or ended again and again, or all is being stopped.
        """
        if self._stopping:
            raise ProcessFailed(f"{spec.name} is not started any more: the mesh is stopping")
        assert spec.name not in self.processes, f"{spec.name} is there already"
        process = self.processes[spec.name] = Supervised(self, spec, runnable)
        await self.guard(process.running.wait())
        return process

    async def stop(self, process: Supervised) -> None:
        """Stop one process and forget it."""
        await process.stop(self._hurry)
        del self.processes[process.spec.name]
        self.on_change()

    def rename(self, process: Supervised, name: str) -> None:
        """Give *process* a *name* that is free."""
        assert name not in self.processes, f"{name} is there already"
        self.processes[name] = self.processes.pop(process.spec.name)
        process.spec = replace(process.spec, name=name)
        if process.record is not None:
            process.record = replace(process.record, name=name)
        self.on_change()

    def give_up(self, process: Supervised, quick_ends: int) -> bool:
        """Tell whether *process* is not to be started again; fail a starting mesh if it ended too often."""
        if self._stopping:
            return True
        if not self._starting or quick_ends < self.backoff.give_up_after:
            return False
        if not self._failed.done():
            times = f", {quick_ends} times" if quick_ends > 1 else ""
            self._failed.set_exception(
                ProcessFailed(f"{process.spec.name} {process.last_exit}{times}", process.spec.log)
            )
        return True

    async def guard(self, work: Coroutine[object, object, T]) -> T:
        """Return what *work* returns, unless a process is given up meanwhile.

        Raises:
            ProcessFailed: a process was given up; *work* is cancelled.
        """
        task = asyncio.ensure_future(work)
        try:
            await asyncio.wait((task, self._failed), return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                self._failed.result()
            return await task
        finally:
            task.cancel()
            await asyncio.wait((task,))

    async def _bound_logs(self) -> None:
        while True:
            await asyncio.sleep(LOG_CHECK_S)
            for log in {each.spec.log for each in self.processes.values()}:
                bound_log(log)


class Supervised:
    """One process under supervision.

    Attributes:
        record: the living process, None between two lives.
        restarts: unexpected ends so far; *last_exit* tells how the last one came.
        running: set once it was started for the first time.
    """

    def __init__(self, supervisor: Supervisor, spec: Spec, runnable: Runnable) -> None:
        self.spec = spec
        self.state: Literal["starting", "running", "waiting", "stopping", "stopped"] = "starting"
        self.record: ProcessRecord | None = None
        self.restarts = 0
        self.last_exit: str | None = None
        self.running = asyncio.Event()
        self._supervisor = supervisor
        self._runnable = runnable
        self._task = asyncio.create_task(self._keep(), name=f"keep {spec.name}")

    @property
    def pid(self) -> int | None:
        return self.record.pid if self.record is not None else None

    async def stop(self, hurry: asyncio.Event) -> None:
        """Ask the process to end, and kill it when its time is up or *hurry* is set."""
        self.state = "stopping"
        self._task.cancel()
        await asyncio.wait((self._task,))
        stopping = asyncio.create_task(self._runnable.stop(self.spec.stop_signal, self.spec.stop_s))
        hurried = asyncio.create_task(hurry.wait())
        await asyncio.wait((stopping, hurried), return_when=asyncio.FIRST_COMPLETED)
        hurried.cancel()
        if not stopping.done():
            stopping.cancel()
            await asyncio.wait((stopping,))
            await self._runnable.stop(self.spec.stop_signal, 0)
        elif (error := stopping.exception()) is not None:
            self._supervisor.on_event(f"{self.spec.name} could not be stopped: {error}")
        self.state = "stopped"
        self.record = None
        self._supervisor.on_change()

    async def _keep(self) -> None:
        backoff = self._supervisor.backoff
        quick_ends = 0
        while True:
            began = time.monotonic()
            try:
                await self._live()
            except Exception as error:  # noqa: BLE001  # OSError, or whatever the runnable calls it: it did not start
                self.last_exit = f"could not be started: {' '.join(str(error).split())}"
            quick_ends = 1 if time.monotonic() - began >= backoff.steady_s else quick_ends + 1
            self.restarts += 1
            self.state = "waiting"
            self.record = None
            self._supervisor.on_change()
            if self._supervisor.give_up(self, quick_ends):
                return
            wait_s = backoff.wait_s(quick_ends)
            self._supervisor.on_event(f"{self.spec.name} {self.last_exit}; starting it again in {wait_s:.1f} s")
            await asyncio.sleep(wait_s)

    async def _live(self) -> None:
        """Start the process and return when it ended."""
        pid = await self._runnable.start()
        with suppress(psutil.NoSuchProcess):  # it may be gone already
            self.record = ProcessRecord.of(self.spec.name, pid, stop_signal=self.spec.stop_signal)
        self.state = "running"
        self.running.set()
        self._supervisor.on_change()
        code = await self._runnable.wait()
        await self._runnable.stop(self.spec.stop_signal, 0)  # what it may have left
        self.last_exit = f"exited with code {code}" if code >= 0 else f"was killed by signal {-code}"
