"""Debian's RabbitMQ, kept running beside the mesh for as long as the run lasts."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import psutil

from scripts.lib.chaos.mesh import ChaosFailed
from weft.cli.probes import free_ports, is_free
from weft.cli.processes import tethered
from weft.cli.state import ProcessRecord

__all__ = ["RabbitServer", "running_rabbitmq"]

SERVER: Final = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
READY_S: Final = 90.0
STOP_S: Final = 20.0
AGAIN_S: Final = 0.3


class RabbitServer:
    """Starts the server, and starts it again whenever it ends. Use `running_rabbitmq`."""

    def __init__(self, folder: Path, port: int, env: Mapping[str, str]) -> None:
        self.port = port
        self.url = f"amqp://guest:guest@127.0.0.1:{port}/"
        self.log = folder / "rabbitmq.log"
        self._env = dict(env)
        self._stopping = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None
        self._keeper = threading.Thread(target=self._keep, name="rabbitmq", daemon=True)

    def start(self) -> None:
        """Return when it accepts connections. Raises ChaosFailed."""
        self._keeper.start()
        deadline_s = time.monotonic() + READY_S
        while is_free(self.port):
            if time.monotonic() > deadline_s:
                raise ChaosFailed("RabbitMQ did not come up", self.log)
            time.sleep(0.2)

    def stop(self) -> None:
        self._stopping.set()
        process = self._process
        if process is not None and process.poll() is None:
            process.send_signal(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                process.wait(STOP_S)
        self._end_group()
        self._keeper.join(STOP_S)

    def find(self) -> ProcessRecord | None:
        process = self._process
        with suppress(psutil.NoSuchProcess):
            if process is not None and process.poll() is None:
                return ProcessRecord.of("broker", process.pid, stop_signal=signal.SIGTERM)
        return None

    def _keep(self) -> None:
        """Live as long as the server: it is killed when the thread that started it ends."""
        while not self._stopping.is_set():
            with self.log.open("ab") as log:
                self._process = subprocess.Popen(
                    tethered((str(SERVER),)), env=self._env, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                    start_new_session=True,
                )  # fmt: skip
            self._process.wait()
            self._end_group()
            self._stopping.wait(AGAIN_S)

    def _end_group(self) -> None:
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)


@contextmanager
def running_rabbitmq(files: Path) -> Iterator[RabbitServer]:
    """Run the server with all it keeps in *files*/rabbitmq until the block is left.

    Raises:
        ChaosFailed: it isn't installed, or did not come up.
    """
    if not SERVER.exists():
        raise ChaosFailed("RabbitMQ is not installed: apt-get install rabbitmq-server")
    folder = files / "rabbitmq"
    folder.mkdir()
    port, dist_port, epmd_port = free_ports(3)
    env = {
        "PATH": os.defpath,
        "HOME": str(folder),  # its cookie
        "LANG": "C.UTF-8",
        "RUNNING_UNDER_SYSTEMD": "true",  # the start script becomes the server: signals are to hit that, not a shell
        "ERL_EPMD_PORT": str(epmd_port),
        "ERL_EPMD_ADDRESS": "127.0.0.1",
        "RABBITMQ_NODENAME": f"chaos{port}@localhost",
        "RABBITMQ_MNESIA_BASE": str(folder / "mnesia"),
        "RABBITMQ_LOG_BASE": str(folder / "log"),
        "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
        "RABBITMQ_NODE_PORT": str(port),
        "RABBITMQ_DIST_PORT": str(dist_port),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "enabled_plugins"),
        "RABBITMQ_PID_FILE": str(folder / "pid"),
    }
    server = RabbitServer(folder, port, env)
    try:
        server.start()
        yield server
    finally:
        server.stop()
        subprocess.run(["epmd", "-port", str(epmd_port), "-kill"], env=env, capture_output=True, check=False)
