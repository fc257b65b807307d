from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import psutil
import pytest
from google.protobuf.wrappers_pb2 import StringValue

from scripts.lib.bench.load import framed
from scripts.lib.bench.processes import cpu_s, running, server
from scripts.lib.bench.result import BenchFailed

SERVER = """
import os, signal
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
with os.fdopen(int(os.environ["BENCH_READY_FD"]), "w") as ready:
    ready.write("4711\\n")
signal.pause()
"""


def test_a_server_is_there_once_it_has_told_its_port_and_gone_afterwards(tmp_path: Path) -> None:
    with server((sys.executable, "-c", SERVER), log=tmp_path / "log") as served:
        assert served.port == 4711
        assert psutil.pid_exists(served.pid)

    assert not psutil.pid_exists(served.pid)


def test_a_server_that_ends_before_it_serves_is_reported_with_its_last_words(tmp_path: Path) -> None:
    command = (sys.executable, "-c", "raise SystemExit('no database')")

    with pytest.raises(BenchFailed, match="no database"), server(command, log=tmp_path / "log"):
        pass


def test_what_runs_in_a_block_that_fails_is_ended(tmp_path: Path) -> None:
    with (
        pytest.raises(ZeroDivisionError),
        running((sys.executable, "-c", "import time; time.sleep(600)"), log=tmp_path / "log") as process,
    ):
        raise ZeroDivisionError

    assert process.returncode is not None


def test_settings_of_the_mesh_around_us_do_not_reach_what_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WEFT_TRACE_RATIO", "1")
    print_names = "import os; print([name for name in os.environ if name.startswith('WEFT_')])"

    with running((sys.executable, "-c", print_names), log=tmp_path / "log") as process:
        process.wait()

    assert (tmp_path / "log").read_text() == "[]\n"


def test_cpu_time_by_process_id_is_what_the_process_itself_sees() -> None:
    before_s = time.process_time()

    seen_s = cpu_s(os.getpid())

    assert before_s <= seen_s <= time.process_time()


def test_a_framed_message_is_flag_length_and_bytes() -> None:
    assert framed(StringValue(value="mug")) == b"\0\0\0\0\x05\n\x03mug"
