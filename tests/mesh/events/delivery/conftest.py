from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import uuid4

import pytest

from tests.mesh.events.delivery.harness import Loans, prepare_database
from weft.data import Database
from weft.data.postgres import EmbeddedPostgres
from weft.errors import Unavailable


@pytest.fixture(name="database_url")
def _database_url(postgres: EmbeddedPostgres) -> str:
    """A database with weft's own tables, and one for the effects of events."""
    url = postgres.ensure_database(f"test_{uuid4().hex}")
    prepare_database(url)
    return url


@pytest.fixture(name="database")
async def _database(database_url: str) -> AsyncIterator[Database]:
    async with Database.open(database_url, checkout_s=2, lock_s=2) as database:
        yield database


@pytest.fixture(name="loans")
def _loans(database: Database) -> Loans:
    """Books nobody else has heard of, events about them, and what became of those."""
    return Loans(database)


@pytest.fixture(name="own_postgres")
def _own_postgres() -> Iterator[EmbeddedPostgres]:
    """A running PostgreSQL that the test may stop and start."""
    with TemporaryDirectory(prefix="weft-postgres-") as folder, EmbeddedPostgres(Path(folder), durable=False) as server:
        yield server


@pytest.fixture(name="eventually")
def _eventually() -> Callable[[Callable[[], Awaitable[bool]]], Awaitable[None]]:
    """Wait until a condition is true; fail after a minute, since some things wait for others to be given up."""

    async def wait(condition: Callable[[], Awaitable[bool]]) -> None:
        async with asyncio.timeout(60):
            while True:  # what is waited for happens in another process
                with suppress(Unavailable):  # where that is a database being restarted
                    if await condition():
                        return
                await asyncio.sleep(0.02)

    return wait
