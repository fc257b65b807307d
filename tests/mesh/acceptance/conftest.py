"""One real mesh for these tests, started as a user would: on Consul, with two replicas of catalog and orders."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest

from weft.cli.probes import free_ports
from weft.security import SigningKey, TokenIssuer

ROOT = Path(__file__).resolve().parents[3]
CONSUL = ROOT / "build" / "consul" / "consul"


@dataclass(frozen=True)
class Mesh:
    """A running mesh, and what its owner may do with it."""

    state: Path
    port: int

    @property
    def address(self) -> str:
        """Of the gateway, `host:port`."""
        return f"127.0.0.1:{self.port}"

    @cached_property
    def key(self) -> SigningKey:
        return SigningKey.load(self.state / "keys" / "signing.pem")

    def token(self, subject: str, *roles: str) -> str:
        return TokenIssuer(self.key).issue(subject, roles).text

    def weft(self, *arguments: str) -> str:
        """Run `weft` on this mesh and return what it prints."""
        command = [sys.executable, "-m", "weft.cli", *arguments, "--state", str(self.state)]
        done = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.weft("status", "--json"))
        return found

    def passing(self, service: str) -> set[str]:
        """Return the addresses of the instances the registry calls healthy."""
        return {
            instance["address"]
            for instance in self.status()["instances"]
            if instance["service"] == service and instance["health"] == "passing"
        }

    def kill(self, process: str) -> None:
        """Kill one process as a power cut would."""
        pid = next(each["pid"] for each in self.status()["processes"] if each["name"] == process)
        os.kill(pid, signal.SIGKILL)


def until(condition: Callable[[], bool], what: str, limit_s: float = 30) -> None:
    """Wait for a condition, and fail by its name."""
    give_up_s = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < give_up_s, f"waited {limit_s} s in vain until {what}"
        time.sleep(0.05)


@pytest.fixture(scope="session", name="mesh")
def _mesh() -> Iterator[Mesh]:
    if shutil.which("consul") is None and not CONSUL.exists():
        message = "no consul: run scripts/lib/install-consul"
        assert os.environ.get("CI") != "true", message
        pytest.skip(message)
    state = Path(tempfile.mkdtemp(prefix="weft-acceptance-"))
    mesh = Mesh(state, free_ports(1)[0])
    # These tests make more calls than one client address should.
    os.environ |= {"WEFT_GATEWAY_REQUESTS_PER_S": "100000", "WEFT_GATEWAY_BURST": "100000"}
    try:
        mesh.weft(
            "up", "--detach", "--port", str(mesh.port), "--registry", "consul", "--replicas", "catalog=2,orders=2"
        )
        yield mesh
    finally:
        mesh.weft("down")
        shutil.rmtree(state)
