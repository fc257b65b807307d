"""A mesh of the run's own: started, watched, healed, stopped."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from scripts.lib.bench.processes import last_words, running
from weft.cli.commands import CommandFailed, ask
from weft.cli.probes import free_ports
from weft.cli.project import find_project
from weft.cli.state import MeshRecord, ProcessRecord, State

__all__ = ["ROOT", "ChaosFailed", "Mesh", "running_mesh", "services"]

ROOT: Final = Path(__file__).resolve().parents[3]
UP: Final = (sys.executable, "-P", "-m", "weft.cli", "up")
READY_S: Final = 120.0
HEALED_S: Final = 120.0
POLL_S: Final = 0.25
ENVIRONMENT: Final = {
    # All shoppers come from one address.
    "WEFT_GATEWAY_REQUESTS_PER_S": "100000",
    "WEFT_GATEWAY_BURST": "100000",
    # Parcels travel within the run, and leave slowly enough for a shopper to change their mind.
    "SHIPPING_CARRIER_STEP_S": "2",
}


class ChaosFailed(Exception):
    """The run can't be judged; the message says why, *log* ends with what is known."""

    def __init__(self, message: str, log: Path | None = None) -> None:
        super().__init__(message if log is None else f"{message}\n{last_words(log)}")


def services() -> tuple[str, ...]:
    """Return the mesh names of the shop's services."""
    return find_project(ROOT).service_names()


@dataclass(frozen=True, slots=True, kw_only=True)
class Mesh:
    """A mesh that was started; any of its processes may be away at any moment."""

    process: subprocess.Popen[bytes]
    state: State
    log: Path
    replicas: int

    @property
    def record(self) -> MeshRecord:
        """What the mesh says of itself now. Raises ChaosFailed when it is gone."""
        record = self.state.read()
        if record is None or self.process.poll() is not None:
            raise ChaosFailed("the mesh has ended", self.log)
        return record

    def find(self, name: str) -> ProcessRecord | None:
        """Return the living process *name* of the record, if there is one at this moment."""
        found = next((each for each in self.record.processes if each.name == name), None)
        return found if found is not None and found.find() is not None else None

    async def restart(self, service: str) -> str:
        """Replace the replicas of *service* one by one. Raises `CommandFailed`."""
        lines: list[str] = []
        await asyncio.to_thread(ask, self.record, "restart", lines.append, service=service)
        return f"{len(lines)} replaced"

    async def weft(self, *arguments: str) -> str:
        """Run a `weft` command on this mesh and return what it prints. Raises ChaosFailed."""
        command = (sys.executable, "-P", "-m", "weft.cli", *arguments, "--state", str(self.state.path))
        process = await asyncio.create_subprocess_exec(
            *command, cwd=ROOT, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
        output, _ = await process.communicate()
        if process.returncode:
            raise ChaosFailed(f"weft {' '.join(arguments)} failed: {output.decode(errors='replace').strip()}")
        return output.decode()

    async def until_healed(self) -> None:
        """Return when every process runs and every replica is passing. Raises ChaosFailed after two minutes."""
        deadline_s = time.monotonic() + HEALED_S
        while missing := await self._missing():
            if time.monotonic() > deadline_s:
                raise ChaosFailed(f"the mesh has not healed after {HEALED_S:g} s: {'; '.join(missing)}", self.log)
            await asyncio.sleep(POLL_S)

    async def _missing(self) -> list[str]:
        answers: list[Mapping[str, Any]] = []
        try:
            await asyncio.to_thread(ask, self.record, "status", answers.append)
        except CommandFailed as error:
            return [str(error)]
        (status,) = answers
        down = [f"{each['name']} is {each['state']}" for each in status["processes"] if each["state"] != "running"]
        passing = Counter(each["service"] for each in status["instances"] if each["health"] == "passing")
        few = [
            f"{passing[name]} of {self.replicas} {name} pass"
            for name in services()
            if passing[name] != self.replicas  # one too many is a replica that is about to go
        ]
        return down + few


@contextmanager
def running_mesh(files: Path, *, replicas: int, env: Mapping[str, str]) -> Iterator[Mesh]:
    """Start the shop with its state in *files*/mesh; stop it when the block is left.

    Raises:
        ChaosFailed: it did not come up.
    """
    (port,), state, log = free_ports(1), State(files / "mesh"), files / "up.log"
    counts = ",".join(f"{name}={replicas}" for name in services())
    command = (*UP, "--port", str(port), "--state", str(state.path), "--replicas", counts)
    with running(command, log=log, env={**ENVIRONMENT, **env}) as process:
        deadline_s = time.monotonic() + READY_S
        while (record := state.read()) is None or record.phase != "ready":
            if process.poll() is not None or time.monotonic() > deadline_s:
                raise ChaosFailed("the mesh did not come up", log)
            time.sleep(POLL_S)
        yield Mesh(process=process, state=state, log=log, replicas=replicas)


def log_ends(state: State, lines: int = 12) -> str:
    """Return the last words of every process, for a run that can't be judged."""
    logs = sorted(state.logs.glob("*.log"))
    return "\n".join(f"--- {log.name}\n{_end(log, lines)}" for log in logs)


def _end(log: Path, lines: int) -> str:
    """Return the end of a log; of JSON lines what is worth reading."""
    with log.open(errors="replace") as file:
        return "\n".join(_short(line) for line in file.readlines()[-lines:])


def _short(line: str) -> str:
    try:
        entry = json.loads(line)
    except ValueError:
        return line.rstrip()[:300]
    return " ".join(f"{key}={value}" for key, value in entry.items() if value)[:300]
