from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from weft.cli.processes import Child, Program, Spec, Stage
from weft.cli.supervisor import Backoff, Supervisor

QUICK = Backoff(first_s=0.01, cap_s=0.02, steady_s=60.0, give_up_after=3)


class Bench:
    """A supervisor for scripts, and what it said."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.events: list[str] = []
        self.records: list[frozenset[str]] = []
        self.supervisor: Supervisor

    @asynccontextmanager
    async def supervising(self, backoff: Backoff = QUICK) -> AsyncIterator[Supervisor]:
        async with Supervisor(on_change=self._changed, on_event=self.events.append, backoff=backoff) as self.supervisor:
            yield self.supervisor

    def script(self, name: str, source: str, **spec: object) -> tuple[Spec, Child]:
        """Return what starts a Python script that may write to `journal`."""
        log = self.folder / f"{name}.log"
        preamble = f"""import os, signal, sys, time
journal = os.open({str(self.journal)!r}, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
def note(text): os.write(journal, f"{{text}}\\n".encode())
"""
        program = Program(command=(sys.executable, "-c", preamble + source), env={}, cwd=self.folder, log=log)
        return Spec(name=name, **{"stage": Stage.SERVICE, "log": log, "stop_s": 5.0, **spec}), Child(program)  # type: ignore[arg-type]

    @property
    def journal(self) -> Path:
        return self.folder / "journal"

    def notes(self) -> list[str]:
        return self.journal.read_text().split() if self.journal.exists() else []

    def _changed(self) -> None:
        living = (name for name, each in self.supervisor.processes.items() if each.record is not None)
        self.records.append(frozenset(living))


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


async def eventually(condition: Callable[[], bool], timeout_s: float = 10.0) -> None:
    async with asyncio.timeout(timeout_s):
        while not condition():
            await asyncio.sleep(0.005)


@pytest.fixture(name="eventually")
def eventually_fixture() -> Callable[..., object]:
    return eventually
