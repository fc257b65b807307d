"""A process beside the mesh that is started again whenever it ends, for as long as the run lasts."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

import psutil

from scripts.lib.chaos.mesh import ROOT, ChaosFailed
from weft.cli.probes import is_free
from weft.cli.processes import tethered
from weft.cli.state import ProcessRecord

__all__ = ["Kept"]

STOP_S: Final = 20.0
AGAIN_S: Final = 0.3


class Kept:
    """One program that listens on a port.

    Args:
        name: what the run calls it.
        command: to run.
        env: all of its environment.
        port: on 127.0.0.1.
        log: what it says goes there.
    """

    def __init__(self, name: str, command: Sequence[str], *, env: Mapping[str, str], port: int, log: Path) -> None:
        self._name, self._command, self._env = name, tuple(command), dict(env)
        self._port, self._log = port, log
        self._stopping = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None
        self._keeper = threading.Thread(target=self._keep, name=name, daemon=True)

    def start(self, *, ready_s: float) -> None:
        """Return when it accepts connections. Raises ChaosFailed after *ready_s*."""
        self._keeper.start()
        deadline_s = time.monotonic() + ready_s
        while is_free(self._port):
            if time.monotonic() > deadline_s:
                raise ChaosFailed(f"{self._name} did not come up", self._log)
            time.sleep(0.1)

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
        """Return the living process, if there is one at this moment."""
        process = self._process
        with suppress(psutil.NoSuchProcess):
            if process is not None and process.poll() is None:
                return ProcessRecord.of(self._name, process.pid, stop_signal=signal.SIGTERM)
        return None

    def _keep(self) -> None:
        """Live as long as the process: it is killed when the thread that started it ends."""
        while not self._stopping.is_set():
            with self._log.open("ab") as log:
                self._process = subprocess.Popen(
                    tethered(self._command), cwd=ROOT, env=self._env, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                    start_new_session=True,
                )  # fmt: skip
            self._process.wait()
            self._end_group()
            self._stopping.wait(AGAIN_S)

    def _end_group(self) -> None:
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
