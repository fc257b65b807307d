from __future__ import annotations

import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psutil
import pytest

from weft.data.postgres import EmbeddedPostgres


def test_a_mesh_comes_up_answers_and_goes_without_a_trace(weft: Any) -> None:
    shared_memory = shared_memory_files()

    up = weft.up("--detach")

    assert up.returncode == 0, up.stdout
    assert f"http://127.0.0.1:{weft.port}" in up.stdout
    assert "admin@" in up.stdout
    assert weft.get("/healthz") == 200
    everything = weft.everything()

    down = weft("down")

    assert (down.returncode, down.stdout) == (0, "stopped\n")
    assert not any(lives(each) for each in everything)
    eventually(lambda: shared_memory_files() <= shared_memory)  # initdb of other tests makes some that go again
    assert weft("status").returncode == 1


class TestRunningMesh:
    """Of one mesh with two replicas of a service; each test leaves it working."""

    def test_status_tells_every_process_and_instance(self, running: Any) -> None:
        status = running.status()

        assert status["phase"] == "ready"
        names = {each["name"] for each in status["processes"]}
        assert names >= {"weft", "registry", "control", "envoy", "postgres", "catalog", "catalog.2"}
        assert {each["state"] for each in status["processes"]} == {"running"}
        catalog = [each for each in status["instances"] if each["service"] == "catalog"]
        assert {each["process"] for each in catalog} == {"catalog", "catalog.2"}
        assert {each["health"] for each in catalog} == {"passing"}
        assert "catalog.2" in running("logs", "catalog").stdout

    def test_a_second_mesh_in_the_same_place_is_refused_in_one_line(self, running: Any) -> None:
        again = running.up("--detach")

        assert again.returncode == 1
        assert len(again.stdout.splitlines()) == 1
        assert "a mesh runs" in again.stdout
        assert running.get("/healthz") == 200

    def test_a_rolling_restart_replaces_every_replica_and_fails_no_call(self, running: Any) -> None:
        before = running.processes("catalog")
        calls = Calls(lambda: running.get("/v1/products"))

        with calls:
            restart = running("restart", "catalog")

        assert restart.returncode == 0, restart.stdout
        after = running.processes("catalog")
        assert len(after) == 2
        assert {each.pid for each in after}.isdisjoint(each.pid for each in before)
        assert not any(lives(each) for each in before)
        assert calls.failures == []
        assert calls.answered > 10

    def test_a_killed_replica_comes_back_and_is_counted(self, running: Any) -> None:
        catalog = running.processes("catalog")

        catalog[0].kill()

        eventually(lambda: sum(each["restarts"] for each in running.status()["processes"]) == 1)
        eventually(lambda: passing(running, "catalog") == 2)
        assert running.get("/v1/products") == 200

    def test_a_restart_of_what_does_not_run_is_refused(self, running: Any) -> None:
        restart = running("restart", "nothing")

        assert restart.returncode == 1
        assert "no service 'nothing' runs here" in restart.stdout

    @pytest.mark.parametrize("part", ["registry", "control", "envoy", "postgres"])
    def test_a_killed_part_comes_back_and_the_mesh_works_again(self, running: Any, part: str) -> None:
        (process,) = running.processes(part)

        process.kill()

        eventually(lambda: [each.pid != process.pid for each in running.processes(part)] == [True])
        eventually(lambda: works(lambda: running.get("/v1/products")))


def test_a_supervisor_killed_outright_leaves_nothing_and_the_next_start_works(weft: Any) -> None:
    assert weft.up("--detach").returncode == 0
    supervisor, *others = weft.everything()

    supervisor.kill()

    eventually(lambda: not any(lives(each) for each in others))
    assert weft("status").returncode == 1
    assert weft.up("--detach").returncode == 0
    assert weft.get("/v1/products") == 200


def test_two_meshes_run_side_by_side(weft: Any, second_weft: Any) -> None:
    assert weft.up("--detach").returncode == 0
    assert second_weft.up("--detach").returncode == 0

    assert weft.get("/v1/products") == 200
    assert weft("down").returncode == 0

    assert second_weft.get("/v1/products") == 200


def test_a_port_in_use_is_named_in_one_line(weft: Any) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", weft.port))
        listener.listen()

        up = weft.up()

    assert up.returncode == 1
    assert len(up.stdout.splitlines()) == 1
    assert f"port {weft.port} is in use" in up.stdout


def test_a_service_that_can_not_start_is_told_with_the_end_of_its_log(weft: Any) -> None:
    weft.env["CATALOG_CURRENCY"] = "cowries"

    up = weft.up("--detach")

    assert up.returncode == 1
    assert "catalog exited with code 1, 3 times" in up.stdout
    assert "CATALOG_CURRENCY is not an ISO 4217 code" in up.stdout
    assert weft("status").returncode == 1


def test_ctrl_c_stops_a_mesh_in_the_foreground(weft: Any, tmp_path: Path) -> None:
    output = tmp_path / "output"
    with output.open("w") as file:
        command = weft.command("up", "--port", str(weft.port))
        with subprocess.Popen(command, env=weft.env, stdout=file, start_new_session=True) as up:
            eventually(lambda: str(weft.state / "logs") in output.read_text(), timeout_s=60)
            everything = weft.everything()

            up.send_signal(signal.SIGINT)

            assert up.wait(60) == 0
    assert output.read_text().endswith("stopping\n")
    assert not any(lives(each) for each in everything)


def test_it_runs_on_consul(weft: Any, consul: Path) -> None:
    weft.env["PATH"] = f"{consul.parent}:{weft.env['PATH']}"

    assert weft.up("--detach", "--registry", "consul").returncode == 0

    assert weft.processes("registry")[0].name() == "consul"
    assert weft.get("/v1/products") == 200


def test_it_runs_on_a_database_server_that_runs_already(weft: Any) -> None:
    with TemporaryDirectory(prefix="weft-postgres-") as folder, EmbeddedPostgres(Path(folder), durable=False) as server:
        weft.env["WEFT_DATABASE_URL"] = server.url

        assert weft.up("--detach").returncode == 0

        assert "postgres" not in {each["name"] for each in weft.status()["processes"]}
        assert weft.get("/v1/products") == 200
        assert weft("down").returncode == 0


class Calls:
    """Repeats a call in a thread for as long as the block lasts."""

    def __init__(self, call: Callable[[], int]) -> None:
        self.answered = 0
        self.failures: list[str] = []
        self._call = call
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ended.is_set():
            try:
                self._call()
                self.answered += 1
            except OSError as error:
                self.failures.append(str(error))
            self._ended.wait(0.02)  # below the limit of requests for one address


def passing(weft: Any, service: str) -> int:
    return sum(each["service"] == service and each["health"] == "passing" for each in weft.status()["instances"])


def works(call: Callable[[], int]) -> bool:
    try:
        return call() == 200
    except OSError:
        return False


def lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def shared_memory_files() -> frozenset[str]:
    return frozenset(path.name for path in Path("/dev/shm").glob("*"))


def eventually(condition: Callable[[], bool], timeout_s: float = 30.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not come true"
        time.sleep(0.05)
