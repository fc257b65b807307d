"""The PostgreSQL server of a mesh: one from the wheel, or one that runs already."""

from __future__ import annotations

import asyncio
import json
import secrets
from contextlib import closing
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast
from urllib.parse import quote, urlsplit, urlunsplit

import psycopg2
from psycopg2 import sql

from weft.cli.state import write_private

if TYPE_CHECKING:
    from weft.data.postgres import EmbeddedPostgres

__all__ = ["DatabaseServer", "EmbeddedServer", "ExternalServer"]


class DatabaseServer(Protocol):
    """Where services keep their data."""

    def ensure_database(self, name: str) -> str:
        """Return the URL of database *name*, made if missing together with the one role that may connect to it."""


class EmbeddedServer:
    """A `Runnable` around `EmbeddedPostgres`, whose calls block."""

    def __init__(self, data_dir: Path) -> None:
        self._server = _embedded_postgres()(data_dir)
        self.log = data_dir / "postgres.log"
        self.ensure_database = self._server.ensure_database

    async def start(self) -> int:
        await asyncio.to_thread(self._server.start)
        assert self._server.pid is not None, "start returns when it accepts connections"
        return self._server.pid

    async def wait(self) -> int:
        return await asyncio.shield(asyncio.wrap_future(self._server.exited))  # it ends whether we listen or not

    async def stop(self, stop_signal: int, grace_s: float) -> None:
        """Shut it down as PostgreSQL wants it, in a bounded time of its own, whatever *grace_s* is."""
        del stop_signal, grace_s
        await asyncio.to_thread(self._server.stop)


def _embedded_postgres() -> type[EmbeddedPostgres]:
    """Load this one module without its package, which brings SQLAlchemy: 30 MB and 0.4 s no supervisor needs."""
    spec = spec_from_file_location("weft_data_postgres", Path(__file__).parents[1] / "data" / "postgres.py")
    assert spec is not None, "it is a Python file"
    assert spec.loader is not None, "as above"
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return cast("type[EmbeddedPostgres]", module.EmbeddedPostgres)


class ExternalServer:
    """A server that runs already. The passwords chosen for its roles are kept in *passwords_file*.

    Args:
        admin_url: as a role that may create roles and databases.
    """

    def __init__(self, admin_url: str, passwords_file: Path) -> None:
        self._admin_url = admin_url
        self._passwords_file = passwords_file

    def ensure_database(self, name: str) -> str:
        passwords = json.loads(self._passwords_file.read_text()) if self._passwords_file.exists() else {}
        if name not in passwords:
            passwords[name] = secrets.token_urlsafe(32)
            write_private(self._passwords_file, json.dumps(passwords, indent=2))
        role, password = sql.Identifier(name), sql.Literal(passwords[name])
        with closing(psycopg2.connect(self._admin_url)) as connection, connection.cursor() as cursor:
            connection.autocommit = True  # CREATE DATABASE runs in no transaction
            cursor.execute("SELECT FROM pg_roles WHERE rolname = %s", (name,))
            verb = sql.SQL("ALTER" if cursor.rowcount else "CREATE")
            cursor.execute(sql.SQL("{} ROLE {} LOGIN PASSWORD {}").format(verb, role, password))
            cursor.execute("SELECT FROM pg_database WHERE datname = %s", (name,))
            if not cursor.rowcount:
                cursor.execute(
                    sql.SQL("GRANT {} TO CURRENT_USER").format(role)
                )  # to give it away, one must be a member
                cursor.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(role, role))
            cursor.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(role))
        parts = urlsplit(self._admin_url)
        location = parts.netloc.rpartition("@")[2]
        return urlunsplit(("postgresql", f"{name}:{quote(passwords[name])}@{location}", f"/{name}", parts.query, ""))
