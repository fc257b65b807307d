"""The state directory of one mesh: who runs, where, and what must survive a restart.

    lock          held by the supervisor while it lives
    mesh.json     what runs now; there only while a mesh runs, or after its supervisor was killed
    logs/         one file per process
    postgres/     the embedded databases
    …             what the project's `prepare` keeps, and passwords for an external database server

Secrets are readable by their owner only.
"""

from __future__ import annotations

import fcntl
import json
import os
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Final

import psutil

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

__all__ = ["AlreadyRunning", "MeshRecord", "ProcessRecord", "State", "write_private"]

SAME_START_S: Final = 1.5
"""Start times are rounded, and move when the clock is set a little; no process id is given out again as fast."""


class AlreadyRunning(Exception):
    """Another supervisor works in this state directory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessRecord:
    """One process, recognised again by its id and start time (seconds since the epoch)."""

    name: str
    pid: int
    started: float
    stop_signal: int

    @classmethod
    def of(cls, name: str, pid: int, *, stop_signal: int) -> ProcessRecord:
        """Describe the living process *pid*. Raises `psutil.NoSuchProcess`."""
        return cls(name=name, pid=pid, started=psutil.Process(pid).create_time(), stop_signal=stop_signal)

    def find(self) -> psutil.Process | None:
        """Return the process if it still lives; None if it ended, whoever has its id now."""
        try:
            process = psutil.Process(self.pid)
            alive = process.status() != psutil.STATUS_ZOMBIE
            return process if alive and abs(process.create_time() - self.started) < SAME_START_S else None
        except psutil.NoSuchProcess:
            return None

    def signal(self, number: int) -> bool:
        """Send a signal to the process if it still lives; tell whether it does."""
        process = self.find()
        if process is not None:
            with suppress(psutil.NoSuchProcess):
                process.send_signal(number)
        return process is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class MeshRecord:
    """What `mesh.json` holds. *phase* is starting, ready or stopping; the token opens the command port."""

    supervisor: ProcessRecord
    phase: str
    command_port: int
    command_token: str = field(repr=False)
    urls: dict[str, str]
    database_urls: dict[str, str] = field(default_factory=dict, repr=False)
    """Service -> URL of its database, for commands that look into it."""
    broker_url: str = field(default="", repr=False)
    """With the password, if it has one."""
    processes: tuple[ProcessRecord, ...] = ()

    @property
    def gateway_url(self) -> str:
        return self.urls["gateway"]


@dataclass(frozen=True, slots=True)
class State:
    """Paths below one state directory, and what is kept there."""

    path: Path

    @property
    def logs(self) -> Path:
        return self.path / "logs"

    @property
    def mesh_file(self) -> Path:
        return self.path / "mesh.json"

    def create(self) -> None:
        """Make the directories; idempotent. Nobody else may look inside."""
        for folder in (self.path, self.logs):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Root's PostgreSQL runs as another user, who has to pass through here to its own folder.
        self.path.chmod(0o711 if os.geteuid() == 0 else 0o700)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Be the only supervisor here until exit; the kernel lets go however the process ends.

        Raises:
            AlreadyRunning: another process holds the lock.
        """
        with (self.path / "lock").open("ab") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise AlreadyRunning(str(self.path)) from error
            yield

    def read(self) -> MeshRecord | None:
        """Return what is recorded, or None. A record alone does not mean that anything lives."""
        try:
            fields = json.loads(self.mesh_file.read_text())
        except FileNotFoundError:
            return None
        supervisor = ProcessRecord(**fields.pop("supervisor"))
        processes = tuple(ProcessRecord(**each) for each in fields.pop("processes"))
        return MeshRecord(supervisor=supervisor, processes=processes, **fields)

    def write(self, record: MeshRecord) -> None:
        write_private(self.mesh_file, json.dumps(asdict(record), indent=2))

    def database_urls(self, services: Iterable[str], env: Mapping[str, str]) -> dict[str, str]:
        """Return service -> URL of its database: `<NAME>_DATABASE_URL`, else what the mesh that runs here uses."""
        record = self.read()
        running = record.database_urls if record is not None and record.supervisor.find() is not None else {}
        named = {name: env.get(f"{name.upper().replace('-', '_')}_DATABASE_URL") for name in services}
        return running | {name: url for name, url in named.items() if url}

    def forget(self) -> None:
        self.mesh_file.unlink(missing_ok=True)


def write_private(path: Path, text: str) -> None:
    """Replace *path* by a file with *text* that only its owner may read; readers see the old or the new one."""
    staging = path.with_name(f"{path.name}.{os.getpid()}")
    staging.unlink(missing_ok=True)
    staging.touch(mode=0o600)
    staging.write_text(text)
    staging.replace(path)
