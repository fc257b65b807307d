"""The embedded PostgreSQL starts, keeps its data, comes back after any kind of death, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from textwrap import dedent
from typing import TYPE_CHECKING

import psutil
import psycopg2
import pytest

from weft.data.postgres import EmbeddedPostgres, PostgresFailed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).parents[3]


@pytest.fixture(name="folder")
def _folder() -> Iterator[Path]:
    with TemporaryDirectory(prefix="weft-postgres-") as folder:
        yield Path(folder)


def ask(url: str, question: str) -> object:
    with closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
        connection.autocommit = True
        cursor.execute(question)
        row = cursor.fetchone() if cursor.description else None
        return row and row[0]


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def processes(folder: Path) -> list[int]:
    """Return every process that works in the cluster of *folder*."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.cwd() == str(folder / "cluster"):
                found.append(process.pid)
        except psutil.Error:
            continue
    return found


def memory_map(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/maps").read_text()
    except OSError:  # a worker that has ended meanwhile
        return ""


def test_it_starts_and_stops_and_leaves_no_process_and_no_shared_memory(folder: Path) -> None:
    with EmbeddedPostgres(folder, durable=False) as server:
        version = ask(server.ensure_database("jam"), "SHOW server_version")
        running = processes(folder)
        mapped = "".join(memory_map(pid) for pid in running)

    assert str(version).startswith("18.")
    assert server.pid is None
    assert server.exited.result(timeout=0) == 0
    assert len(running) > 1
    assert processes(folder) == []
    assert str(folder) in mapped
    assert "/dev/shm/" not in mapped


def test_it_never_runs_as_root_and_keeps_its_secrets_to_itself(folder: Path) -> None:
    with EmbeddedPostgres(folder, durable=False) as server:
        assert server.pid is not None
        uid = psutil.Process(server.pid).uids().real
        credentials = folder / "credentials.json"

        assert uid != 0
        assert stat.S_IMODE(credentials.stat().st_mode) == 0o600
        assert credentials.stat().st_uid == os.geteuid()
        assert all(secret not in (folder / "postgres.log").read_text() for secret in _passwords(folder))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root starts it as somebody else")
@pytest.mark.skipif(
    shutil.which("unshare") is None or subprocess.call(["unshare", "-U", "true"]) != 0, reason="no user namespaces here"
)
def test_under_a_folder_only_root_may_enter_it_runs_without_roots_powers(folder: Path) -> None:
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700

    with EmbeddedPostgres(folder / "private", durable=False) as server:
        assert ask(server.ensure_database("jam"), "SELECT 1") == 1
        status = Path(f"/proc/{server.pid}/status").read_text()
        namespaces = {Path(f"/proc/{pid}/ns/user").readlink() for pid in (server.pid, "self")}

    assert "CapEff:\t0000000000000000" in status
    assert len(namespaces) == 2


def test_data_and_passwords_outlive_a_restart(folder: Path) -> None:
    server = EmbeddedPostgres(folder, durable=False)
    server.start()
    first = server.ensure_database("jam")
    ask(first, "CREATE TABLE jars AS SELECT 'plum' AS label")
    server.stop()

    with EmbeddedPostgres(folder, durable=False, port=server.port) as restarted:
        assert restarted.ensure_database("jam") == first
        assert ask(first, "SELECT label FROM jars") == "plum"


def test_starting_twice_and_stopping_twice_change_nothing(folder: Path) -> None:
    server = EmbeddedPostgres(folder, durable=False)
    server.start()
    pid = server.pid
    server.start()
    assert server.pid == pid

    server.stop()
    server.stop()
    assert processes(folder) == []


def test_a_folder_has_one_owner(folder: Path) -> None:
    with EmbeddedPostgres(folder, durable=False) as server, pytest.raises(PostgresFailed, match="another process"):
        EmbeddedPostgres(folder).start()

    assert server.pid is None


def test_a_role_is_refused_at_a_neighbours_database(postgres: EmbeddedPostgres) -> None:
    jam = postgres.ensure_database("neighbour_jam")
    tea = postgres.ensure_database("neighbour_tea")

    for database in ("neighbour_tea", "postgres", "template1"):
        with pytest.raises(psycopg2.OperationalError, match="permission denied"):
            psycopg2.connect(jam.rpartition("/")[0] + "/" + database)
    assert ask(jam, "SELECT current_database()") == "neighbour_jam"
    assert ask(tea, "SELECT current_user") == "neighbour_tea"
    assert (
        ask(jam, "SELECT rolsuper OR rolcreatedb OR rolcreaterole FROM pg_roles WHERE rolname = current_user") is False
    )


def test_a_wrong_password_is_refused(postgres: EmbeddedPostgres) -> None:
    url = postgres.ensure_database("guarded")

    with pytest.raises(psycopg2.OperationalError, match="password authentication failed"):
        psycopg2.connect(url, password="guess")


@pytest.mark.parametrize("name", ["", "Jam", "jam-and-tea", "1jam", "postgres", 'jam"; DROP TABLE jars', "j" * 64])
def test_a_name_that_is_no_identifier_is_refused(name: str, folder: Path) -> None:
    with pytest.raises(ValueError, match="not a name"):
        EmbeddedPostgres(folder).ensure_database(name)


def test_after_a_kill_it_starts_again_on_the_same_port_with_what_was_committed(folder: Path) -> None:
    with EmbeddedPostgres(folder, durable=False) as server:
        url = server.ensure_database("jam")
        ask(url, "CREATE TABLE jars AS SELECT 'plum' AS label")
        with closing(psycopg2.connect(url)):  # a backend that has to notice
            assert server.pid is not None
            os.kill(server.pid, signal.SIGKILL)
            assert server.exited.result(timeout=10) == -signal.SIGKILL

            server.start()

        assert ask(url, "SELECT label FROM jars") == "plum"
    assert processes(folder) == []


def test_it_dies_with_its_owner_and_the_next_owner_takes_over(folder: Path) -> None:
    program = dedent("""\
        import sys, threading, time
        from pathlib import Path
        from weft.data.postgres import EmbeddedPostgres

        server = EmbeddedPostgres(Path(sys.argv[1]), durable=False)
        starter = threading.Thread(target=server.start)  # which ends, and the server must not end with it
        starter.start()
        starter.join()
        print(server.ensure_database("jam"), flush=True)
        time.sleep(600)
        """)
    owner = subprocess.Popen(
        [sys.executable, "-c", program, str(folder)], cwd=ROOT, stdout=subprocess.PIPE, start_new_session=True
    )
    assert owner.stdout is not None
    url = owner.stdout.readline().decode().strip()
    ask(url, "CREATE TABLE jars AS SELECT 'plum' AS label")

    owner.kill()
    owner.wait(timeout=10)
    owner.stdout.close()
    until(lambda: processes(folder) == [])

    with EmbeddedPostgres(folder, durable=False) as server:
        assert ask(server.ensure_database("jam"), "SELECT label FROM jars") == "plum"


def test_a_server_left_running_is_stopped_before_its_data_is_used_again(folder: Path) -> None:
    first = EmbeddedPostgres(folder, durable=False)
    first.start()
    left = first.pid
    assert first._owner_lock is not None
    first._owner_lock.close()  # what the kernel does when the owner is killed
    first._owner_lock = None

    with EmbeddedPostgres(folder, durable=False) as second:
        assert second.pid != left
        assert first.pid is None
        assert ask(second.ensure_database("jam"), "SELECT 1") == 1
    first.stop()


def test_a_postmaster_pid_file_that_names_somebody_else_is_no_server(folder: Path) -> None:
    with EmbeddedPostgres(folder, durable=False) as server:
        url = server.ensure_database("jam")
    (folder / "cluster" / "postmaster.pid").write_text(f"{os.getpid()}\n{folder}/cluster\n")

    with EmbeddedPostgres(folder, durable=False, port=server.port):
        assert ask(url, "SELECT 1") == 1


def test_an_interrupted_first_start_is_repeated(folder: Path) -> None:
    (folder / "staging" / "cluster").mkdir(parents=True)
    (folder / "staging" / "cluster" / "PG_VERSION").write_text("18")

    with EmbeddedPostgres(folder, durable=False) as server:
        assert ask(server.ensure_database("jam"), "SELECT 1") == 1
    assert not (folder / "staging").exists()


def test_a_server_that_can_not_start_says_why_in_its_own_words(folder: Path) -> None:
    with EmbeddedPostgres(folder / "one", durable=False) as first:
        second = EmbeddedPostgres(folder / "two", port=first.port, durable=False)
        with pytest.raises(PostgresFailed, match="could not bind"):
            second.start()

    assert second.pid is None
    assert processes(folder / "two") == []


def _passwords(folder: Path) -> list[str]:
    return list(json.loads((folder / "credentials.json").read_text()).values())
