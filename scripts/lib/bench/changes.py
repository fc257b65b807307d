"""Instances that join and leave, as seen by two callers: `python -m scripts.lib.bench.changes`.

One caller reads a product through Envoy, the other calls catalog by its mesh name over gRPC's own xDS client, both
without a pause. An instance of ours beside the real one answers with a name of its own; it goes on serving after it was
deregistered, so that the last call it gets tells when a caller acted.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import uniform
from time import perf_counter
from typing import Any, Final

import aiohttp
import uvloop
from grpc import aio
from shop.catalog.v1 import catalog_pb2 as pb
from shop.catalog.v1 import catalog_pb2_grpc as pb_grpc

from scripts.lib.bench.servicers import ConstantCatalog
from weft.client import PeerError, Peers, use_control_plane
from weft.config import load
from weft.registry import Consul, Instance, TtlCheck
from weft.telemetry import Tracing

SERVICE: Final = "catalog"
PAUSE_S: Final = 0.001
PATIENCE_S: Final = 10.0
QUIET_CALLS: Final = 30
"""So many calls in a row answered by others: whoever balances over two does not call the one that left any more."""
CHECK: Final = TtlCheck(ttl_s=600, initially_passing=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """`BENCH_<FIELD>` in the environment."""

    registry_url: str
    xds_server: str
    gateway_url: str
    product_id: str
    changes: int
    output: Path


@dataclass(slots=True)
class Caller:
    """Calls for ever, and notes who answered when."""

    ask: Callable[[], Awaitable[str]]
    """Makes one call and returns the SKU in the answer, which is the name of an instance of ours. Raises on failure."""
    first_s: dict[str, float] = field(default_factory=dict)
    last_s: dict[str, float] = field(default_factory=dict)
    since: dict[str, int] = field(default_factory=dict)
    """Name -> calls made since its last answer."""
    calls: int = 0
    failed: int = 0

    async def run(self) -> None:
        while True:
            self.calls += 1
            try:
                name = await self.ask()
            except (aiohttp.ClientError, PeerError):
                self.failed += 1
                name = ""
            now_s = perf_counter()
            for other in self.since:
                self.since[other] += 1
            self.first_s.setdefault(name, now_s)
            self.last_s[name] = now_s
            self.since[name] = 0
            await asyncio.sleep(PAUSE_S)

    async def joined_s(self, name: str) -> float:
        """Return when *name* first answered."""
        async with asyncio.timeout(PATIENCE_S):
            while name not in self.first_s:  # noqa: ASYNC110  # at most a call's time late, which is not what is noted
                await asyncio.sleep(PAUSE_S)
        return self.first_s[name]

    async def left_s(self, name: str) -> float:
        """Return when *name* answered last, once it is plain that it was the last time."""
        async with asyncio.timeout(PATIENCE_S):
            while self.since[name] < QUIET_CALLS:  # noqa: ASYNC110  # as above
                await asyncio.sleep(PAUSE_S)
        return self.last_s[name]


@asynccontextmanager
async def _instance(name: str) -> AsyncIterator[Instance]:
    """Serve products whose SKU is *name*."""
    server = aio.server()
    pb_grpc.add_CatalogServiceServicer_to_server(ConstantCatalog(pb.Product(sku=name)), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        metadata = {"protocol": "grpc", "version": "1"}
        yield Instance(id=name, service=SERVICE, address="127.0.0.1", port=port, metadata=metadata)
    finally:
        await server.stop(None)


async def _follow(settings: Settings) -> dict[str, Any]:
    use_control_plane(settings.xds_server, node_id="bench", service="bench")
    async with (
        aiohttp.ClientSession(settings.gateway_url) as session,
        Peers(Tracing("bench")) as peers,
        Consul(settings.registry_url) as consul,
    ):
        stub: Any = peers.stub(pb_grpc.CatalogServiceStub, SERVICE)
        request = pb.GetProductRequest(product_id=settings.product_id)

        async def through_envoy() -> str:
            async with session.get(f"/v1/products/{settings.product_id}", raise_for_status=True) as response:
                return str((await response.json())["product"]["sku"])

        async def over_grpc() -> str:
            return str((await stub.GetProduct(request)).product.sku)

        callers = {"Envoy": Caller(through_envoy), "gRPC client": Caller(over_grpc)}
        joins: dict[str, list[float]] = {name: [] for name in callers}
        leaves: dict[str, list[float]] = {name: [] for name in callers}
        tasks = [asyncio.create_task(caller.run()) for caller in callers.values()]
        try:
            for number in range(settings.changes):
                name = f"bench-{number}"
                async with _instance(name) as instance:
                    told_s = perf_counter()
                    await consul.register(instance, (CHECK,))
                    for each, caller in callers.items():
                        joins[each].append((await caller.joined_s(name) - told_s) * 1e3)
                    await asyncio.sleep(uniform(0.05, 0.1))  # noqa: S311  # changes come at any phase of what coalesces
                    told_s = perf_counter()
                    await consul.deregister(instance.id)
                    for each, caller in callers.items():
                        # It may not have been called at all since then.
                        leaves[each].append(max(0.0, await caller.left_s(name) - told_s) * 1e3)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
    return {
        "callers": {
            each: {
                "joins_ms": joins[each],
                "leaves_ms": leaves[each],
                "calls": caller.calls,
                "failed": caller.failed,
            }
            for each, caller in callers.items()
        }
    }


def main() -> None:
    settings = load(Settings, os.environ, "BENCH")
    settings.output.write_text(json.dumps(uvloop.run(_follow(settings))))


if __name__ == "__main__":
    main()
