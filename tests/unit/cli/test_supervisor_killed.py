from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

SUPERVISOR = """
import asyncio, sys
from pathlib import Path
from weft.cli.processes import Child, Program, Spec, Stage
from weft.cli.supervisor import Supervisor

async def main():
    folder = Path(sys.argv[1])
    async with Supervisor(on_change=lambda: None, on_event=print) as supervisor:
        for name in ("one", "two"):
            log = folder / f"{name}.log"
            deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)"
            child = Child(Program(command=(sys.executable, "-c", deaf), env={}, cwd=folder, log=log))
            process = await supervisor.start(Spec(name=name, stage=Stage.SERVICE, log=log), child)
            print(process.pid, flush=True)
        await asyncio.sleep(60)

asyncio.run(main())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere weft down finds what is left")
def test_a_supervisor_killed_outright_leaves_no_process(tmp_path: Path) -> None:
    root = Path(__file__).parents[3]
    with subprocess.Popen(
        [sys.executable, "-c", SUPERVISOR, str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
        env={"PYTHONPATH": str(root)},
    ) as supervisor:
        assert supervisor.stdout is not None
        children = [psutil.Process(int(supervisor.stdout.readline())) for _ in range(2)]

        supervisor.send_signal(signal.SIGKILL)
        supervisor.wait()

        deadline = time.monotonic() + 10
        while any(_lives(each) for each in children):
            assert time.monotonic() < deadline
            time.sleep(0.01)


def _lives(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
