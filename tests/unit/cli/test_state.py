from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest

from weft.cli.down import down
from weft.cli.state import AlreadyRunning, MeshRecord, ProcessRecord, State, write_private
from weft.cli.terminal import Terminal


@pytest.fixture
def state(tmp_path: Path) -> State:
    state = State(tmp_path / "state")
    state.create()
    return state


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as process:
        yield process
        process.kill()


def record_of(*processes: ProcessRecord, supervisor: ProcessRecord) -> MeshRecord:
    return MeshRecord(
        supervisor=supervisor,
        phase="ready",
        command_port=1,
        command_token="secret",
        urls={"gateway": "http://127.0.0.1:8080"},
        processes=processes,
    )


def gone(name: str = "weft") -> ProcessRecord:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        pass
    return ProcessRecord(name=name, pid=process.pid, started=1.0, stop_signal=signal.SIGTERM)


def test_what_was_written_is_read_back(state: State) -> None:
    record = record_of(gone("catalog"), supervisor=gone())

    state.write(record)

    assert state.read() == record


def test_a_state_without_a_mesh_has_no_record(state: State) -> None:
    state.write(record_of(supervisor=gone()))
    state.forget()
    state.forget()

    assert state.read() is None


def test_others_can_read_nothing(state: State) -> None:
    state.write(record_of(supervisor=gone()))

    assert stat.S_IMODE(state.mesh_file.stat().st_mode) == 0o600
    assert stat.S_IMODE(state.logs.stat().st_mode) == 0o700
    assert stat.S_IMODE(state.path.stat().st_mode) == (0o711 if os.geteuid() == 0 else 0o700)


def test_a_private_file_keeps_its_mode_when_it_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_text("old")
    path.chmod(0o644)

    write_private(path, "new")

    assert path.read_text() == "new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_one_supervisor_at_a_time_holds_the_lock(state: State) -> None:
    with state.locked(), pytest.raises(AlreadyRunning), state.locked():
        pass

    with state.locked():
        pass


def test_the_token_is_not_shown() -> None:
    assert "secret" not in repr(record_of(supervisor=gone()))


def test_a_living_process_is_found_by_its_record(sleeper: subprocess.Popen[bytes]) -> None:
    record = ProcessRecord.of("sleeper", sleeper.pid, stop_signal=signal.SIGTERM)

    found = record.find()

    assert found is not None
    assert found.pid == sleeper.pid


def test_a_process_that_got_the_id_of_another_is_not_taken_for_it(sleeper: subprocess.Popen[bytes]) -> None:
    record = ProcessRecord.of("sleeper", sleeper.pid, stop_signal=signal.SIGTERM)

    assert replace(record, started=record.started - 60).find() is None


def test_down_ends_what_a_killed_supervisor_left_and_spares_a_reused_id(
    state: State, sleeper: subprocess.Popen[bytes]
) -> None:
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as left:
        leftover = ProcessRecord.of("catalog", left.pid, stop_signal=signal.SIGTERM)
        reused = replace(ProcessRecord.of("users", sleeper.pid, stop_signal=signal.SIGTERM), started=1.0)
        state.write(record_of(leftover, reused, supervisor=gone()))
        output = StringIO()

        code = down(state, Terminal(output, {}))

        assert code == 0
        assert output.getvalue() == "stopped\n"
        assert leftover.find() is None
        assert sleeper.poll() is None
        assert state.read() is None


def test_down_without_a_mesh_is_no_failure(state: State) -> None:
    output = StringIO()

    assert down(state, Terminal(output, {})) == 0
    assert output.getvalue() == f"no mesh runs from {state.path}\n"
