"""Migrations run once, in order, however many replicas start at once; they fail as a whole and say why."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from pathlib import Path
from textwrap import dedent
from typing import TYPE_CHECKING
from uuid import uuid4

import psutil
import psycopg2
import pytest
import sqlalchemy as sa

from weft import errors
from weft.cli.probes import free_ports
from weft.data.migrate import LOCK, MigrationFailed, migrate, new_revision

if TYPE_CHECKING:
    from weft.data.postgres import EmbeddedPostgres


@pytest.fixture(name="url")
def _url(postgres: EmbeddedPostgres) -> str:
    return postgres.ensure_database(f"test_{uuid4().hex}")


def revision(folder: Path, name: str, after: str | None, *statements: str) -> Path:
    """Write a migration that runs *statements*; return its folder."""
    (folder / "versions").mkdir(parents=True, exist_ok=True)
    text = dedent(f"""\
        from alembic import op

        revision = {name!r}
        down_revision = {after!r}


        def upgrade() -> None:
            for statement in {statements!r}:
                op.execute(statement)
        """)
    (folder / "versions" / f"{name}.py").write_text(text)
    return folder


def ask(url: str, question: str) -> list[tuple[object, ...]]:
    connection = psycopg2.connect(url)
    try:
        with connection.cursor() as cursor:
            cursor.execute(question)
            return cursor.fetchall()
    finally:
        connection.close()


def test_a_folder_of_versions_is_all_a_service_needs(url: str, tmp_path: Path) -> None:
    folder = revision(tmp_path, "0001", None, "CREATE TABLE jars (jar_id text)")
    revision(tmp_path, "0002", "0001", "INSERT INTO jars VALUES ('first')")

    migrate(url, folder)
    migrate(url, folder)

    assert ask(url, "SELECT jar_id FROM jars") == [("first",)]
    assert ask(url, "SELECT version_num FROM alembic_version") == [("0002",)]
    assert len(ask(url, "SELECT version_num FROM weft_version")) > 0
    assert ask(url, "SELECT to_regclass('request_answers') IS NOT NULL") == [(True,)]


def test_five_processes_at_once_migrate_once(url: str, tmp_path: Path) -> None:
    folder = revision(
        tmp_path,
        "0001",
        None,
        "CREATE TABLE jars (jar_id text)",
        "SELECT pg_sleep(0.3)",
        "INSERT INTO jars VALUES ('x')",
    )
    program = dedent("""\
        import sys
        from pathlib import Path
        from weft.data.migrate import migrate

        migrate(sys.argv[1], Path(sys.argv[2]))
        """)
    root = Path(__file__).parents[3]

    replicas = [
        subprocess.Popen([sys.executable, "-c", program, url, str(folder)], cwd=root, stderr=subprocess.PIPE)
        for _ in range(5)
    ]
    ends = [replica.communicate(timeout=60)[1].decode() for replica in replicas]

    assert ([replica.returncode for replica in replicas], ends) == ([0] * 5, [""] * 5)
    assert ask(url, "SELECT jar_id FROM jars") == [("x",)]


async def test_several_services_of_one_process_migrate_at_once(postgres: EmbeddedPostgres, tmp_path: Path) -> None:
    folder = revision(tmp_path, "0001", None, "CREATE TABLE jars (jar_id text)", "SELECT pg_sleep(0.1)")
    urls = [postgres.ensure_database(f"test_{uuid4().hex}") for _ in range(4)]

    await asyncio.gather(*(asyncio.to_thread(migrate, each, folder) for each in urls))

    assert [ask(each, "SELECT version_num FROM alembic_version") for each in urls] == [[("0001",)]] * 4


def test_a_failing_migration_leaves_everything_as_it_was(url: str, tmp_path: Path) -> None:
    folder = revision(tmp_path, "0001", None, "CREATE TABLE jars (jar_id text)")
    revision(tmp_path, "0002", "0001", "ALTER TABLE lids ADD COLUMN colour text")

    with pytest.raises(sa.exc.ProgrammingError):
        migrate(url, folder)

    assert ask(url, "SELECT to_regclass('jars')") == [(None,)]


def test_a_database_newer_than_the_code_is_refused_by_name(url: str, tmp_path: Path) -> None:
    migrate(url, revision(tmp_path / "new", "0002", None, "CREATE TABLE jars (jar_id text)"))

    with pytest.raises(MigrationFailed, match="0002"):
        migrate(url, revision(tmp_path / "old", "0001", None))


def test_waiting_for_another_migration_is_bounded(url: str) -> None:
    holder = psycopg2.connect(url)
    try:
        with holder.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_lock(%s)", (LOCK,))

            with pytest.raises(MigrationFailed, match="another process"):
                migrate(url, wait_s=0.05)
    finally:
        holder.close()

    migrate(url)


async def test_a_server_that_is_not_there_is_unavailable(own_postgres: EmbeddedPostgres) -> None:
    url = own_postgres.ensure_database("jam")
    await asyncio.to_thread(own_postgres.stop)

    with pytest.raises(errors.Unavailable) as refused:
        await asyncio.to_thread(migrate, url)

    assert refused.value.reason == "DATABASE_UNAVAILABLE"


def test_a_new_revision_holds_the_difference_between_tables_and_database(url: str, tmp_path: Path) -> None:
    folder = revision(tmp_path, "0001", None, "CREATE TABLE jars (jar_id text PRIMARY KEY)")
    migrate(url, folder)
    metadata = sa.MetaData()
    sa.Table("jars", metadata, sa.Column("jar_id", sa.Text, primary_key=True), sa.Column("label", sa.Text))

    written = new_revision(url, folder, "label jars", metadata)
    migrate(url, folder)

    assert written.parent == folder / "versions"
    assert "drop_table" not in written.read_text()  # weft's tables are not the service's to drop
    assert ask(url, "SELECT column_name::text FROM information_schema.columns WHERE table_name = 'jars'") == [
        ("jar_id",),
        ("label",),
    ]


IN_CHILD = dedent("""\
    import logging, sys
    from pathlib import Path
    from weft.server.migrating import migrate_in_child

    logging.basicConfig(level="INFO", format="%(message)s")
    schemas = {name: (url, Path(folder)) for name, url, folder in zip(*[iter(sys.argv[1:])] * 3)}
    done = migrate_in_child(schemas)
    print(done, "alembic" in sys.modules)
    """)


def in_child(*schemas: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", IN_CHILD, *schemas]
    return subprocess.Popen(
        command, cwd=Path(__file__).parents[3], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_a_process_migrates_all_its_services_and_keeps_nothing_of_the_tool_for_it(
    postgres: EmbeddedPostgres, tmp_path: Path
) -> None:
    folder = revision(tmp_path, "0001", None, "CREATE TABLE jars (jar_id text)")
    urls = [postgres.ensure_database(f"test_{uuid4().hex}") for _ in range(2)]

    output, _ = in_child("jars", urls[0], str(folder), "lids", urls[1], str(folder)).communicate(timeout=60)

    assert output == "True False\n"
    assert [ask(each, "SELECT version_num FROM alembic_version") for each in urls] == [[("0001",)]] * 2


def test_a_process_says_which_service_cannot_be_migrated(url: str, tmp_path: Path) -> None:
    migrate(url, revision(tmp_path / "new", "0002", None, "CREATE TABLE jars (jar_id text)"))

    process = in_child("jars", url, str(revision(tmp_path / "old", "0001", None)))
    output, errors_said = process.communicate(timeout=60)

    assert output == "False False\n"
    assert "cannot start" in errors_said
    assert "0002" in errors_said


def test_a_process_that_waits_for_its_database_can_be_ended_and_leaves_no_child(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    process = in_child("jars", f"postgresql://nobody@127.0.0.1:{port}/jars", str(revision(tmp_path, "0001", None)))
    assert process.stderr is not None
    assert process.stderr.readline() == "waiting for the database\n"
    (child,) = psutil.Process(process.pid).children()

    process.terminate()
    process.communicate(timeout=60)

    assert process.returncode == -signal.SIGTERM
    child.wait(timeout=60)
