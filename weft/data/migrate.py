"""Schema migrations: Alembic on psycopg2, once however many replicas start at the same moment."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING, Final

from sqlalchemy import create_engine, exc, make_url, pool, text

from weft.data.faults import fail

if TYPE_CHECKING:
    from alembic.config import Config
    from sqlalchemy import Connection, MetaData

__all__ = ["MigrationFailed", "migrate", "new_revision"]

OWN: Final = Path(__file__).with_name("migrations")
IN_PROCESS: Final = threading.Lock()
"""Alembic's context is a global of the process, which may hold several services."""
LOCK: Final = 0x77656674  # "weft": every replica of a service asks for the same advisory lock in the service's database


class MigrationFailed(RuntimeError):
    """The database can't be brought to what the code expects; a person has to look."""


def migrate(url: str, script_location: Path | None = None, *, wait_s: float = 60.0) -> None:
    """Bring the database at *url* to the newest revision: weft's own tables first, then those of *script_location*.

    Holds a lock meanwhile, so that of many callers one migrates and the others find it done. Each of the two steps is
    one transaction: all of its revisions, or none. Blocks; from asyncio use `asyncio.to_thread`.

    Args:
        url: `postgresql://…`.
        script_location: folder whose `versions/*.py` are Alembic revisions; nothing else needs to be in it.
        wait_s: longest wait for another caller to finish migrating.

    Raises:
        MigrationFailed: the wait was in vain, or the database is at a revision this code does not know.
        Unavailable: DATABASE_UNAVAILABLE.
    """
    engine = create_engine(_sync_url(url), poolclass=pool.NullPool, connect_args={"connect_timeout": 5})
    try:
        with engine.connect() as connection:
            _lock(connection, wait_s)
            _upgrade(connection, OWN, "weft_version")
            if script_location is not None:
                _upgrade(connection, script_location, "alembic_version")
    except exc.DBAPIError as error:
        fail(error)


def new_revision(url: str, script_location: Path, message: str, metadata: MetaData | None = None) -> Path:
    """Write an empty revision, or with *metadata* one that makes up the difference between it and the database."""
    from alembic import command  # noqa: PLC0415  # 15 MB that a service needs only while it starts

    engine = create_engine(_sync_url(url), poolclass=pool.NullPool)
    with engine.connect() as connection:
        config = _config(connection, script_location, "alembic_version")
        config.attributes["metadata"] = metadata
        script = command.revision(config, message, autogenerate=metadata is not None)
    assert script is not None
    assert not isinstance(script, list)
    return Path(script.path)


def _lock(connection: Connection, wait_s: float) -> None:
    """Take the lock for as long as *connection* lives: whoever loses its connection also stops migrating."""
    connection.execute(text(f"SET lock_timeout = {wait_s * 1000:.0f}"))
    try:
        connection.execute(text(f"SELECT pg_advisory_lock({LOCK})"))
    except exc.OperationalError as error:
        if getattr(error.orig, "pgcode", None) != "55P03":
            raise
        raise MigrationFailed(f"another process has been migrating this database for {wait_s:.0f} s") from error
    connection.commit()


def _upgrade(connection: Connection, script_location: Path, version_table: str) -> None:
    from alembic import command  # noqa: PLC0415  # see new_revision
    from alembic.util import CommandError  # noqa: PLC0415

    try:
        with IN_PROCESS:
            command.upgrade(_config(connection, script_location, version_table), "heads")
    except CommandError as error:
        raise MigrationFailed(f"{script_location}: {error}") from error
    connection.commit()


def _config(connection: Connection, script_location: Path, version_table: str) -> Config:
    from alembic.config import Config  # noqa: PLC0415  # see new_revision

    config = Config(attributes={"connection": connection, "version_table": version_table})
    config.set_main_option("script_location", _quoted(OWN))
    config.set_main_option("version_locations", _quoted(script_location / "versions"))
    config.set_main_option("path_separator", "newline")
    return config


def _quoted(path: Path) -> str:
    return str(path).replace("%", "%%")


def _sync_url(url: str) -> str:
    return make_url(url).set(drivername="postgresql+psycopg2").render_as_string(hide_password=False)
