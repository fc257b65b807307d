"""The brokers the tests of this folder run against, as things to start, kill and stop."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, Protocol

import pytest

from weft.cli.probes import free_ports
from weft.cli.processes import tethered
from weft.cli.programs import nats_command, nats_config

RABBITMQ: Final = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
EPMD: Final = Path("/usr/bin/epmd")
START_S: Final = 90.0
STOP_S: Final = 30.0


class BrokerServer(Protocol):
    """A broker that keeps what it has confirmed, however it ends. Its methods block."""

    kind: str
    url: str

    def start(self) -> None: ...
    def stop(self) -> None: ...
    def kill(self) -> None: ...
    def pause(self) -> None: ...
    def resume(self) -> None: ...


class _Server:
    """A program that listens on one port."""

    def __init__(self, command: tuple[str, ...], folder: Path, port: int, env: dict[str, str]) -> None:
        self._command, self._folder, self._port, self._env = command, folder, port, env
        self._process: subprocess.Popen[bytes] | None = None
        # A tethered process dies with the thread that started it, and those of asyncio.to_thread end with each test.
        self._starter = ThreadPoolExecutor(max_workers=1)

    def start(self) -> None:
        """Return when it accepts connections; at once if it does."""
        self._starter.submit(self._start).result()

    def stop(self) -> None:
        """Let it end as it wants to."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it and all it has started, at once."""
        self._end(signal.SIGKILL)

    def pause(self) -> None:
        """Let it stand still: connections stay open, and nobody answers."""
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGSTOP)

    def resume(self) -> None:
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGCONT)

    def _start(self) -> None:
        if self._process is not None and self._process.poll() is None:
            return
        log = self._folder / "log"
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                tethered(self._command), env=self._env, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                start_new_session=True,
            )  # fmt: skip
        give_up_s = time.monotonic() + START_S
        while not self._accepts_connections():
            assert self._process.poll() is None, log.read_text()[-2000:]
            assert time.monotonic() < give_up_s, log.read_text()[-2000:]
            time.sleep(0.02)

    def _end(self, number: int) -> None:
        if self._process is not None:
            os.killpg(self._process.pid, number)
            self._process.wait(STOP_S)
            self._process = None

    def _accepts_connections(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self._port)) == 0


class NatsServer(_Server):
    kind = "nats"

    def __init__(self, folder: Path) -> None:
        (port,) = free_ports(1)
        self.url = f"nats://127.0.0.1:{port}"
        config = folder / "nats.conf"
        config.write_text(nats_config(port, folder / "store"))
        super().__init__(nats_command(config), folder, port, dict(os.environ))


class ClusterNatsServer(_Server):
    """One of several NATS servers that know each other by the ports *routes*, one of which is its *route*."""

    kind = "nats"

    def __init__(self, folder: Path, route: int, routes: Sequence[int]) -> None:
        folder.mkdir()
        (port,) = free_ports(1)
        self.url = f"nats://127.0.0.1:{port}"
        others = [f"nats://127.0.0.1:{each}" for each in routes if each != route]
        cluster = {"name": "weft", "listen": f"127.0.0.1:{route}", "routes": others}
        config = folder / "nats.conf"
        config.write_text(
            f"{nats_config(port, folder / 'store')}server_name: n{route}\ncluster: {json.dumps(cluster)}\n"
        )
        super().__init__(nats_command(config), folder, port, dict(os.environ))


class RabbitServer(_Server):
    kind = "rabbitmq"

    def __init__(self, folder: Path) -> None:
        port, distribution_port, names_port = free_ports(3)
        self.url = f"amqp://guest:guest@127.0.0.1:{port}/"
        env = {
            "PATH": os.defpath,
            "LANG": "C.UTF-8",
            "HOME": str(folder),  # its cookie
            # Nothing that outlives whoever is killed: Erlang's machine takes the place of the script that starts it,
            # and so is tethered, and leaves no daemon for names behind.
            "RUNNING_UNDER_SYSTEMD": "true",
            "ERL_AFLAGS": "-start_epmd false",
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "ERL_EPMD_PORT": str(names_port),
            "RABBITMQ_NODENAME": f"weft{port}@localhost",
            "RABBITMQ_MNESIA_BASE": str(folder / "data"),
            "RABBITMQ_LOG_BASE": str(folder / "logs"),
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(port),
            "RABBITMQ_DIST_PORT": str(distribution_port),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
            "RABBITMQ_PID_FILE": str(folder / "pid"),
        }
        super().__init__((str(RABBITMQ),), folder, port, env)
        names = (str(EPMD), "-port", str(names_port), "-address", "127.0.0.1")
        self._names = _Server(names, folder, names_port, env)

    def start(self) -> None:
        self._names.start()
        super().start()

    def end(self) -> None:
        self.kill()
        self._names.kill()


@pytest.fixture(scope="session", name="nats")
def _nats() -> Iterator[NatsServer]:
    with TemporaryDirectory(prefix="weft-nats-") as folder:
        server = NatsServer(Path(folder))
        server.start()
        yield server
        server.kill()


@pytest.fixture(scope="session", name="rabbitmq")
def _rabbitmq() -> Iterator[RabbitServer]:
    if not RABBITMQ.exists():
        message = "no RabbitMQ: apt-get install rabbitmq-server, or run scripts/test as root on Debian"
        assert os.environ.get("CI") != "true", message
        pytest.skip(message)
    with TemporaryDirectory(prefix="weft-rabbitmq-") as folder:
        server = RabbitServer(Path(folder))
        try:
            server.start()
            yield server
        finally:
            server.end()


@pytest.fixture(params=["nats", "rabbitmq"], name="broker_server")
def _broker_server(request: pytest.FixtureRequest) -> BrokerServer:
    """A running broker; a test that kills it starts it again, or the next one does."""
    server: BrokerServer = request.getfixturevalue(request.param)
    server.start()
    return server


@pytest.fixture(name="broker_url")
def _broker_url(broker_server: BrokerServer) -> str:
    return broker_server.url
