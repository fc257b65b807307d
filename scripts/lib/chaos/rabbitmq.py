"""Debian's RabbitMQ, kept running beside the mesh for as long as the run lasts."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from scripts.lib.chaos.kept import Kept
from scripts.lib.chaos.mesh import ChaosFailed
from scripts.lib.chaos.parts import BROKER
from weft.cli.probes import free_ports
from weft.cli.state import ProcessRecord

__all__ = ["RabbitServer", "running_rabbitmq"]

SERVER: Final = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
READY_S: Final = 90.0


class RabbitServer:
    """The server, which comes back when it ends."""

    def __init__(self, kept: Kept, port: int) -> None:
        self._kept = kept
        self.url = f"amqp://guest:guest@127.0.0.1:{port}/"

    def find(self) -> ProcessRecord | None:
        """Return its process, if it runs at this moment."""
        return self._kept.find()


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
    kept = Kept(BROKER, (str(SERVER),), env=env, port=port, log=folder / "rabbitmq.log")
    try:
        kept.start(ready_s=READY_S)
        yield RabbitServer(kept, port)
    finally:
        kept.stop()
        subprocess.run(["epmd", "-port", str(epmd_port), "-kill"], env=env, capture_output=True, check=False)
