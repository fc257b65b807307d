"""The gRPC servers that are measured, each in a process of its own: `python -m scripts.lib.bench.servers`.

bare              `grpc.aio` as generated code uses it, a constant answer
weft              the same servicer behind the whole pipeline
asyncpg           `grpc.aio` and one query on asyncpg, without the reset that a pool sends after each use
asyncpg-defaults  the same with the pool as asyncpg makes it
store             the catalog's own servicer and store, without its cache, behind the whole pipeline
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import asyncpg
import uvloop
from grpc import aio
from shop.catalog.v1 import catalog_pb2_grpc as pb_grpc

from scripts.lib.bench.servicers import SERVICE, ConstantCatalog, RawCatalog
from services.catalog.answers import Answers
from services.catalog.assortment import Assortment
from services.catalog.servicer import CatalogServicer
from weft.config import load
from weft.data import Database
from weft.events import Outbox
from weft.security import TokenVerifier
from weft.server import build_server
from weft.telemetry import LineWriter, RecentSpans, Tracing, configure_logging, metrics_page

TRACE_RATIO: Final = 0.1
POOL_SIZE: Final = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """`BENCH_<FIELD>` in the environment."""

    kind: str
    ready_fd: int
    """Where the port is written once it is open."""
    database_url: str = field(default="", repr=False)
    jwks_file: Path = Path()


@asynccontextmanager
async def _bare(_: Settings) -> AsyncIterator[aio.Server]:
    yield _plain(ConstantCatalog())


@asynccontextmanager
async def _asyncpg(settings: Settings) -> AsyncIterator[aio.Server]:
    async def keep(_: object) -> None: ...

    pool = asyncpg.create_pool(settings.database_url, min_size=POOL_SIZE, max_size=POOL_SIZE, reset=keep)
    async with pool:
        yield _plain(RawCatalog(pool))


@asynccontextmanager
async def _asyncpg_defaults(settings: Settings) -> AsyncIterator[aio.Server]:
    async with asyncpg.create_pool(settings.database_url) as pool:
        yield _plain(RawCatalog(pool))


@asynccontextmanager
async def _weft(settings: Settings) -> AsyncIterator[aio.Server]:
    async with _pipeline(settings, ConstantCatalog()) as server:
        yield server


@asynccontextmanager
async def _store(settings: Settings) -> AsyncIterator[aio.Server]:
    async with (
        Database.open(settings.database_url, pool_size=POOL_SIZE) as database,
        _pipeline(settings, _catalog(database), database) as server,
    ):
        yield server


def _catalog(database: Database) -> CatalogServicer:
    answers = Answers()
    assortment = Assortment(database, Outbox("catalog"), answers)
    return CatalogServicer(database, assortment, answers, is_fresh=lambda: True)


def _plain(servicer: pb_grpc.CatalogServiceServicer) -> aio.Server:
    server = aio.server()
    pb_grpc.add_CatalogServiceServicer_to_server(servicer, server)
    return server


@asynccontextmanager
async def _pipeline(
    settings: Settings, servicer: object, database: Database | None = None
) -> AsyncIterator[aio.Server]:
    """Build the server as `weft.server.process` does for a service."""
    configure_logging("INFO", "json")
    spans = RecentSpans()
    tracing = Tracing("catalog", ratio=TRACE_RATIO, exporters=[spans])
    try:
        async with metrics_page("127.0.0.1", 0, pages={"/spans": spans.to_json}):
            yield build_server(
                {SERVICE: servicer},
                database=database,
                verifier=TokenVerifier(settings.jwks_file),
                tracing=tracing,
                log=LineWriter(sys.stdout),
            ).server
    finally:
        tracing.close()


KINDS: Final[Mapping[str, Callable[[Settings], AbstractAsyncContextManager[aio.Server]]]] = {
    "bare": _bare,
    "weft": _weft,
    "asyncpg": _asyncpg,
    "asyncpg-defaults": _asyncpg_defaults,
    "store": _store,
}


async def _serve(settings: Settings) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with KINDS[settings.kind](settings) as server:
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        with os.fdopen(settings.ready_fd, "w") as ready:
            ready.write(f"{port}\n")
        await stop.wait()
        await server.stop(None)


if __name__ == "__main__":
    uvloop.run(_serve(load(Settings, os.environ, "BENCH")))
