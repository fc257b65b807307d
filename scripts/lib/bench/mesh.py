"""A whole mesh, as `weft up` starts it."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from scripts.lib.bench.processes import last_words, running
from scripts.lib.bench.result import BenchFailed
from weft.cli.probes import free_ports
from weft.cli.state import MeshRecord, State

__all__ = ["UP", "RunningMesh", "mesh"]

UP: Final = (sys.executable, "-P", "-m", "weft.cli", "up")
READY_S: Final = 120.0
POLL_S: Final = 0.02
ANSWER_S: Final = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningMesh:
    """A mesh that has been started, ready or not."""

    process: subprocess.Popen[bytes]
    state: State
    port: int
    log: Path

    @property
    def url(self) -> str:
        """Of the gateway."""
        return f"http://127.0.0.1:{self.port}"

    def get(self, path: str) -> tuple[int, bytes]:
        """Return status and body of `GET` *path* through the gateway; 0 while nobody listens."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=ANSWER_S)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read()
        except (OSError, http.client.HTTPException):
            return 0, b""
        finally:
            connection.close()

    def get_json(self, path: str) -> Any:
        """Return the answer of `GET` *path* through the gateway. Raises BenchFailed for another status than 200."""
        status, body = self.get(path)
        if status != http.client.OK:
            raise BenchFailed(f"GET {path} answers {status}: {body.decode(errors='replace')[:300]}")
        return json.loads(body)

    def until(self, condition: Callable[[], bool]) -> None:
        """Return when *condition* holds. Raises BenchFailed when the mesh ends, or after two minutes."""
        deadline_s = time.monotonic() + READY_S
        while not condition():
            if self.process.poll() is not None or time.monotonic() > deadline_s:
                raise BenchFailed(f"the mesh did not come up\n{last_words(self.log)}")
            time.sleep(POLL_S)

    def until_ready(self) -> MeshRecord:
        """Return what the mesh says of itself once it is ready."""
        self.until(lambda: (record := self.state.read()) is not None and record.phase == "ready")
        record = self.state.read()
        assert record is not None, "it is there while the mesh runs"
        return record


@contextmanager
def mesh(
    files: Path, *arguments: str, command: tuple[str, ...] = UP, env: Mapping[str, str] | None = None
) -> Iterator[RunningMesh]:
    """Start a mesh with its state in *files*/mesh; stop it when the block is left."""
    (port,), state = free_ports(1), State(files / "mesh")
    whole = (*command, "--port", str(port), "--state", str(state.path), *arguments)
    with running(whole, log=files / "up.log", env=env) as process:
        yield RunningMesh(process=process, state=state, port=port, log=files / "up.log")
