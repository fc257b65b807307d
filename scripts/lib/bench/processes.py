"""Processes of a bench: started here, ended here, and their CPU time."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from scripts.lib.bench.result import BenchFailed
from weft.cli.probes import free_ports, is_free
from weft.cli.processes import tail, tethered

__all__ = [
    "ROOT",
    "Served",
    "clean_environment",
    "cpu_s",
    "folder",
    "last_words",
    "provider",
    "python_server",
    "running",
    "server",
]

ROOT: Final = Path(__file__).resolve().parents[3]
STOP_S: Final = 60.0
LAST_WORDS: Final = 15


@dataclass(frozen=True, slots=True)
class Served:
    """A server that accepts connections on 127.0.0.1."""

    pid: int
    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@contextmanager
def folder() -> Iterator[Path]:
    """Yield a temporary folder that root's PostgreSQL, which runs as somebody else, may pass through."""
    with TemporaryDirectory(prefix="weft-bench-") as name:
        Path(name).chmod(0o711)
        yield Path(name)


def clean_environment() -> dict[str, str]:
    """Return this process's environment without what would configure the mesh differently from how it comes."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("WEFT_", "CONSUL_", "GRPC_"))}
    return kept | {"no_proxy": "127.0.0.1,localhost"}  # gRPC heeds proxy settings even here


@contextmanager
def running(
    command: Sequence[str], *, log: Path, env: Mapping[str, str] | None = None, pass_fds: Sequence[int] = ()
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program that writes to *log* until the block is left; it dies with this process, however that dies.

    Raises:
        BenchFailed: it did not stop when asked to.
    """
    with log.open("ab") as output:
        process = subprocess.Popen(
            tethered(tuple(command)),
            cwd=ROOT,
            env={**clean_environment(), **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            pass_fds=pass_fds,
            start_new_session=True,  # Ctrl-C is for us, who then end it in order
        )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)  # nothing happens where it has ended
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise BenchFailed(f"{command[0]} did not stop in {STOP_S:g} s\n{last_words(log)}") from None


@contextmanager
def server(command: Sequence[str], *, log: Path, env: Mapping[str, str] | None = None) -> Iterator[Served]:
    """Run a server that writes its port to the descriptor BENCH_READY_FD when it serves.

    Raises:
        BenchFailed: it ended before that.
    """
    reader, writer = os.pipe()
    with (
        os.fdopen(reader) as ready,
        os.fdopen(writer, "w") as theirs,
        running(command, log=log, env={**(env or {}), "BENCH_READY_FD": str(writer)}, pass_fds=(writer,)) as process,
    ):
        theirs.close()  # our copy, so that the end of the process is the end of the file
        line = ready.readline()
        if not line:
            raise BenchFailed(f"{' '.join(command)} ended before it served\n{last_words(log)}")
        yield Served(process.pid, int(line))


@contextmanager
def python_server(
    kind: str, log: Path, *, module: str = "scripts.lib.bench.servers", **settings: object
) -> Iterator[Served]:
    """Run a server of *module* in a process of its own; its settings are in the environment, `BENCH_<NAME>`."""
    command = (sys.executable, "-P", "-m", module)
    env = {f"BENCH_{name.upper()}": str(value) for name, value in settings.items()}
    with server(command, log=log, env=env | {"BENCH_KIND": kind}) as served:
        yield served


@contextmanager
def provider(ledger: Path, *, log: Path) -> Iterator[Served]:
    """Run the simulated payment provider."""
    (port,) = free_ports(1)
    command = (sys.executable, "-P", "-m", "services.payments.simulator", "--port", str(port), "--ledger", str(ledger))
    with running(command, log=log) as process:
        deadline_s = time.monotonic() + STOP_S
        while is_free(port):
            if process.poll() is not None or time.monotonic() > deadline_s:
                raise BenchFailed(f"the payment provider did not come up\n{last_words(log)}")
            time.sleep(0.02)
        yield Served(process.pid, port)


def cpu_s(pid: int) -> float:
    """Return the CPU seconds, user and system, that all threads of process *pid* have used since its start.

    Source: clock_getcpuclockid(3) of Linux, whose clock id is made from the process id as here; in nanoseconds, where
    /proc/<pid>/stat counts hundredths of a second.
    """
    return time.clock_gettime((~pid << 3) | 2)


def last_words(log: Path) -> str:
    return "\n".join(tail(log, LAST_WORDS))
