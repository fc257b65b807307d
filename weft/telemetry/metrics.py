"""Metrics of calls, and the page where Prometheus reads them.

Labels are bounded by the contract: methods, status codes, mesh names; never anything a caller sends.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Final

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, Gauge, Histogram, generate_latest

__all__ = ["CLIENT_CALLS", "SERVER_CALLS", "SERVER_IN_FLIGHT", "metrics_page"]

_BUCKETS_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

SERVER_CALLS: Final = Histogram(
    "rpc_server_call_duration_seconds",
    "Time of the calls served",
    ("rpc_method", "rpc_response_status_code"),
    buckets=_BUCKETS_S,
)
SERVER_IN_FLIGHT: Final = Gauge("rpc_server_calls_in_flight", "Calls being served", ("service",))
CLIENT_CALLS: Final = Histogram(
    "rpc_client_call_duration_seconds",
    "Time of the calls made to peers",
    ("rpc_method", "rpc_response_status_code"),
    buckets=_BUCKETS_S,
)


@asynccontextmanager
async def metrics_page(
    address: str,
    port: int,
    *,
    pages: Mapping[str, Callable[[], str]] | None = None,
    registry: CollectorRegistry = REGISTRY,
) -> AsyncIterator[int]:
    """Serve `/metrics`, and *pages* (path -> JSON text), until the block is left.

    Yields the port, chosen by the system for 0.
    """

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(body=generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    def page(text: Callable[[], str]) -> Callable[[web.Request], web.Response]:
        async def answer(_: web.Request) -> web.Response:
            return web.Response(text=text(), content_type="application/json")

        return answer  # type: ignore[return-value]  # aiohttp's handlers are coroutines

    application = web.Application()
    application.router.add_get("/metrics", metrics)
    for path, text in (pages or {}).items():
        application.router.add_get(path, page(text))  # type: ignore[arg-type]  # as above
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    try:
        site = web.TCPSite(runner, address, port)
        await site.start()
        yield int(runner.addresses[0][1])
    finally:
        await runner.cleanup()
