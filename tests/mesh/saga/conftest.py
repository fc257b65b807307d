from __future__ import annotations

from collections.abc import AsyncIterator
from uuid import uuid4

import pytest
from sqlalchemy import text

from tests.mesh.saga.harness import Peer, Replicas, Sagas, create_tables
from weft.data import Database
from weft.data.migrate import migrate
from weft.data.postgres import EmbeddedPostgres


@pytest.fixture(scope="session", name="saga_url")
def _saga_url(postgres: EmbeddedPostgres) -> str:
    """A database with weft's own tables and the peer's."""
    url = postgres.ensure_database(f"test_{uuid4().hex}")
    migrate(url)
    create_tables(url)
    return url


@pytest.fixture(name="database")
async def _database(saga_url: str) -> AsyncIterator[Database]:
    async with Database.open(saga_url, pool_size=10) as database:
        async with database.transaction() as tx:
            await tx.execute(text("TRUNCATE sagas, saga_log, peer_requests, peer_effects, marks"))
        yield database


@pytest.fixture(name="peer")
def _peer(database: Database) -> Peer:
    return Peer(database)


@pytest.fixture(name="sagas")
def _sagas(database: Database) -> Sagas:
    return Sagas(database)


@pytest.fixture(name="replicas")
async def _replicas(database: Database) -> AsyncIterator[Replicas]:
    replicas = Replicas(database)
    yield replicas
    await replicas.stop()
