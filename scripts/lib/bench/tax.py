"""What the pipeline adds to a call: server CPU per call, against the same servicer on a bare `grpc.aio`."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final

from google.protobuf.message import Message
from shop.catalog.v1 import catalog_pb2 as pb

from scripts.lib.bench.load import framed, h2load
from scripts.lib.bench.processes import Served, cpu_s, folder, python_server
from scripts.lib.bench.result import Budget, Effort, Result, compared, interleaved
from scripts.lib.bench.servicers import GET_PRODUCT, PRODUCT
from weft.security import SigningKey, TokenIssuer, write_jwks

__all__ = ["BUDGET", "cpu_per_call", "tax"]

BUDGET: Final = Budget(limit=1.25, bound="at most")
UNIT: Final = "CPU ms/call"
BASELINE: Final = "the same servicer on a bare grpc.aio server, uvloop on both sides"
NOTES: Final = (
    "one process a side, h2load with 32 calls under way",
    (
        "ours traces 10 % of the calls, counts and times each, writes a JSON line for each to a file, checks its "
        "fields, and keeps the contract's deadline, since the caller gives none"
    ),
)


def tax(effort: Effort) -> list[Result]:
    with folder() as files:
        key = SigningKey.generate()
        write_jwks([key], files / "jwks.json")
        token = TokenIssuer(key, lifetime_s=86_400).issue("bench", ["admin"]).text
        with (
            python_server("bare", files / "bare.log") as bare,
            python_server("weft", files / "weft.log", jwks_file=files / "jwks.json") as weft,
        ):
            servers = {"ours": weft, "theirs": bare}

            def case(
                name: str, path: str, request: Message, answer: Message, *headers: str
            ) -> list[tuple[float, float]]:
                body = files / f"{name}.body"
                body.write_bytes(framed(request))
                sides = {
                    side: cpu_per_call(server, path, effort.calls, body, answer.ByteSize(), *headers)
                    for side, server in servers.items()
                }
                return [(found["ours"], found["theirs"]) for found in interleaved(sides, effort.rounds)]

            product_id = PRODUCT.product_id
            public = case(
                "public",
                GET_PRODUCT,
                pb.GetProductRequest(product_id=product_id),
                pb.GetProductResponse(product=PRODUCT),
            )
            with_token = case(
                "token",
                GET_PRODUCT.replace("GetProduct", "DeleteProduct"),
                pb.DeleteProductRequest(product_id=product_id),
                pb.DeleteProductResponse(),
                f"authorization: Bearer {token}",
            )
    return [
        compared("tax", "public method", UNIT, public, baseline=BASELINE, budget=BUDGET, notes=NOTES),
        compared("tax", "method with token and role", UNIT, with_token, baseline=BASELINE),
    ]


def cpu_per_call(
    server: Served, path: str, calls: int, body: Path, answer_bytes: int, *headers: str
) -> Callable[[], float]:
    """Return what makes *calls* calls and returns the server's CPU milliseconds for each."""
    calls -= calls % 32
    load = partial(h2load, f"{server.url}{path}", calls=calls, body=body, answer_bytes=answer_bytes, headers=headers)

    def measure() -> float:
        before_s = cpu_s(server.pid)
        load()
        return (cpu_s(server.pid) - before_s) * 1e3 / calls

    return measure
