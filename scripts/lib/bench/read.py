"""What service and store add to one row: server CPU per call, against a bare handler on raw asyncpg."""

from __future__ import annotations

from typing import Final

import grpc
from shop.catalog.v1 import catalog_pb2 as pb
from shop.catalog.v1 import catalog_pb2_grpc as pb_grpc

from scripts.lib.bench.load import framed
from scripts.lib.bench.processes import ROOT, Served, folder, python_server
from scripts.lib.bench.result import BenchFailed, Budget, Effort, Result, compared, interleaved
from scripts.lib.bench.rows import FIRST_ID, add_products
from scripts.lib.bench.servicers import GET_PRODUCT
from scripts.lib.bench.tax import cpu_per_call
from weft.data.migrate import migrate
from weft.data.postgres import EmbeddedPostgres
from weft.security import SigningKey, write_jwks

__all__ = ["BUDGET", "read"]

BUDGET: Final = Budget(limit=1.35, bound="at most")
UNIT: Final = "CPU ms/call"
ROWS: Final = 1000
ANSWER_S: Final = 10.0
REQUEST: Final = pb.GetProductRequest(product_id=FIRST_ID)
STRICT: Final = "a bare handler with one query on raw asyncpg, its pool's reset after each use turned off"
DEFAULTS: Final = "the same with asyncpg's pool as it comes, which resets the session after each use"


def read(effort: Effort) -> list[Result]:
    with folder() as files, EmbeddedPostgres(files / "postgres", durable=False) as postgres:
        url = postgres.ensure_database("catalog")
        migrate(url, ROOT / "services/catalog/migrations")
        add_products(url, ROWS)
        write_jwks([SigningKey.generate()], files / "jwks.json")
        body = files / "request"
        body.write_bytes(framed(REQUEST))
        with (
            python_server("asyncpg", files / "asyncpg.log", database_url=url) as strict,
            python_server("asyncpg-defaults", files / "defaults.log", database_url=url) as defaults,
            python_server("store", files / "store.log", database_url=url, jwks_file=files / "jwks.json") as store,
        ):
            answer_bytes = _same_answer(strict, defaults, store).ByteSize()
            sides = {
                name: cpu_per_call(server, GET_PRODUCT, effort.calls, body, answer_bytes)
                for name, server in {"store": store, "strict": strict, "defaults": defaults}.items()
            }
            rounds = interleaved(sides, effort.rounds)
    notes = (
        (
            "one indexed row by GetProduct, cache off, five connections; ours is the catalog's servicer and store "
            "behind the whole pipeline of `tax`, so its ratio includes that one's cost"
        ),
        "CPU of the Python process only; PostgreSQL does the same on both sides",
    )
    return [
        compared(
            "read",
            "against raw asyncpg",
            UNIT,
            [(found["store"], found["strict"]) for found in rounds],
            baseline=STRICT,
            budget=BUDGET,
            notes=notes,
        ),
        compared(
            "read",
            "against asyncpg's defaults",
            UNIT,
            [(found["store"], found["defaults"]) for found in rounds],
            baseline=DEFAULTS,
        ),
    ]


def _same_answer(*servers: Served) -> pb.GetProductResponse:
    """Return what all *servers* answer. Raises BenchFailed where they differ: they would not be comparable."""
    answers = []
    for server in servers:
        with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
            answers.append(pb_grpc.CatalogServiceStub(channel).GetProduct(REQUEST, timeout=ANSWER_S))
    if any(answer != answers[0] for answer in answers):
        raise BenchFailed(f"the sides answer differently: {answers}")
    return answers[0]
