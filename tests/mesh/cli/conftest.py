from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psutil
import pytest

ROOT = Path(__file__).parents[3]
COMMAND_S = 120


class Weft:
    """The command `weft` for one state directory and one port."""

    def __init__(self, state: Path) -> None:
        self.state = state
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.env = {key: value for key, value in os.environ.items() if not key.startswith(("WEFT_", "CONSUL_"))}

    def __call__(self, command: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(command, *arguments),
            cwd=ROOT,
            env=self.env,
            capture_output=True,
            text=True,
            timeout=COMMAND_S,
            check=False,
        )

    def up(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self("up", "--port", str(self.port), *arguments)

    def command(self, command: str, *arguments: str) -> list[str]:
        return [sys.executable, "-P", "-m", "weft.cli", command, "--state", str(self.state), *arguments]

    def status(self) -> dict[str, Any]:
        answer = self("status", "--json")
        assert answer.returncode == 0, answer.stdout
        return dict(json.loads(answer.stdout))

    def processes(self, name: str) -> list[psutil.Process]:
        """Return the living processes of service or part *name*."""
        found = self.status()["processes"]
        return [
            psutil.Process(each["pid"]) for each in found if name in (each["name"], each["service"]) and each["pid"]
        ]

    def everything(self) -> list[psutil.Process]:
        supervisor = psutil.Process(json.loads((self.state / "mesh.json").read_text())["supervisor"]["pid"])
        return [supervisor, *supervisor.children(recursive=True)]

    def get(self, path: str) -> int:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as response:
            return int(response.status)


@contextmanager
def stopped_afterwards(below: str = ".") -> Iterator[Weft]:
    """Yield a `Weft` with a state directory of its own; stop whatever was started from it."""
    # Not below pytest's own folder, which only its owner may enter: root's PostgreSQL is somebody else.
    with TemporaryDirectory(prefix="weft-test-") as folder:
        Path(folder).chmod(0o711)
        weft = Weft(Path(folder) / below)
        try:
            yield weft
        finally:
            weft("down")


@pytest.fixture(name="weft")
def _weft() -> Iterator[Weft]:
    with stopped_afterwards() as weft:
        yield weft


@pytest.fixture(scope="module", name="running")
def _running() -> Iterator[Weft]:
    with stopped_afterwards() as weft:
        up = weft.up("--detach", "--replicas", "catalog=2")
        assert up.returncode == 0, up.stdout
        yield weft


@pytest.fixture(name="second_weft")
def _second_weft() -> Iterator[Weft]:
    """Deeper than the path of a Unix socket may be."""
    with stopped_afterwards("deep/" * 25) as weft:
        yield weft


@pytest.fixture
def consul() -> Path:
    """The Consul binary that scripts/test provides."""
    found = shutil.which("consul") or ROOT / "build" / "consul" / "consul"
    if not Path(found).is_file():
        assert os.environ.get("CI") != "true", "no Consul, and CI=true"
        pytest.skip("no Consul: scripts/lib/install-consul")
    return Path(found)
