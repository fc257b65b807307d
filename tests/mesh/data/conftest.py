from __future__ import annotations

import asyncio
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest
import sqlalchemy as sa

from weft.data import Database
from weft.data.migrate import migrate
from weft.data.postgres import EmbeddedPostgres

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator


metadata = sa.MetaData()
jars = sa.Table(
    "jars",
    metadata,
    sa.Column("jar_id", sa.Text, primary_key=True),
    sa.Column("label", sa.Text, sa.CheckConstraint("label <> ''", name="jars_label_given"), nullable=False),
    sa.Column("shelf", sa.Integer),
    sa.Column("notes", sa.dialects.postgresql.JSONB),
    sa.UniqueConstraint("shelf", name="jars_shelf_unique", deferrable=True, initially="DEFERRED"),
)


@pytest.fixture(name="database_url")
def _database_url(postgres: EmbeddedPostgres) -> str:
    """An empty database with weft's own tables."""
    url = postgres.ensure_database(f"test_{uuid4().hex}")
    migrate(url)
    return url


@pytest.fixture(name="database")
async def _database(database_url: str) -> AsyncIterator[Database]:
    """A database with one table, `jars`."""
    engine = sa.create_engine(database_url.replace("postgresql:", "postgresql+psycopg2:"))
    await asyncio.to_thread(metadata.create_all, engine)
    engine.dispose()
    async with Database.open(database_url, checkout_s=2, lock_s=2) as database:
        yield database


@pytest.fixture(name="own_postgres")
def _own_postgres() -> Iterator[EmbeddedPostgres]:
    """A running PostgreSQL that the test may stop, start and kill."""
    with TemporaryDirectory(prefix="weft-postgres-") as folder, EmbeddedPostgres(Path(folder), durable=False) as server:
        yield server


@pytest.fixture(name="eventually")
def _eventually() -> Callable[[Callable[[], Awaitable[bool]]], Awaitable[None]]:
    """Wait until a condition is true; fail after ten seconds."""

    async def wait(condition: Callable[[], Awaitable[bool]]) -> None:
        async with asyncio.timeout(10):
            while not await condition():  # what is waited for happens in another process
                await asyncio.sleep(0.005)

    return wait
