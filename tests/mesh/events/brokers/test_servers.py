"""The servers of these tests leave nothing behind, however the run that started them ends."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.mesh.events.conftest import RABBITMQ

ROOT = Path(__file__).parents[4]
RUN = """
import signal, sys
from pathlib import Path
from tests.mesh.events.conftest import RabbitServer

RabbitServer(Path(sys.argv[1])).start()
print("started", flush=True)
signal.pause()
"""


@pytest.mark.skipif(not RABBITMQ.exists(), reason="no RabbitMQ")
def test_a_run_that_is_ended_by_sigterm_takes_rabbitmq_and_all_it_started_along(tmp_path: Path) -> None:
    run = subprocess.Popen(
        [sys.executable, "-c", RUN, str(tmp_path)],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'gen'}"},
        stdout=subprocess.PIPE,
    )
    with run:
        assert run.stdout is not None
        assert run.stdout.readline() == b"started\n"
        servers = psutil.Process(run.pid).children(recursive=True)

        run.terminate()

    _, left = psutil.wait_procs(servers, timeout=20)
    assert left == []
