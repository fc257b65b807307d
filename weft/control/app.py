"""One control plane put together: what it reads, what it publishes, and the server that tells it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from weft.contract.openapi import render_openapi
from weft.control.ads import AggregatedDiscovery
from weft.control.build import build_blueprints
from weft.control.inputs import InputsError, read_inputs, when_changed
from weft.control.metrics import Metrics
from weft.control.publisher import Publisher
from weft.control.reflection import Reflection
from weft.control.settings import Settings
from weft.registry import CatalogWatch, Consul, watch_catalog
from weft.telemetry import metrics_page

__all__ = ["ControlPlane", "control_plane"]

GRACE_S: Final = 2.0
_SERVER_OPTIONS: Final = (
    ("grpc.so_reuseport", 0),  # a second control plane on this port is a mistake, not a replica
    ("grpc.max_receive_message_length", 1024 * 1024),  # requests name things
    ("grpc.keepalive_time_ms", 30_000),  # finds out about streams whose client is gone without a word
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 5_000),
)
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlPlane:
    """A control plane that is running."""

    port: int
    metrics_port: int
    publisher: Publisher
    metrics: Metrics


@asynccontextmanager
async def control_plane(settings: Settings) -> AsyncIterator[ControlPlane]:
    """Run a control plane until the block is left.

    Streams may be opened at once and are answered when the registry has been heard; until then health is NOT_SERVING.

    Raises:
        InputsError: contract or keys can't be used.
        OSError: a port is taken.
    """
    metrics = Metrics()
    publisher = Publisher(metrics, hold_s=settings.hold_s)
    inputs = _Inputs(settings, publisher, metrics)
    inputs.load()
    discovery = AggregatedDiscovery(publisher, metrics)
    readiness = health.aio.HealthServicer()  # type: ignore[attr-defined]  # the stubs lack it
    async with (
        metrics_page(settings.host, settings.metrics_port, registry=metrics.registry) as metrics_port,
        Consul(settings.registry_url, token=settings.registry_token) as consul,
        watch_catalog(consul) as catalog,
        _server(settings.listen, discovery, inputs.reflection, readiness) as port,
        _background(
            publisher.run(),
            _follow(catalog, publisher, metrics),
            _announce(publisher, readiness),
            when_changed(inputs.files, inputs.reload),
        ),
    ):
        _log.info("serving xDS", extra={"address": settings.host, "port": port, "metrics_port": metrics_port})
        yield ControlPlane(port=port, metrics_port=metrics_port, publisher=publisher, metrics=metrics)


class _Inputs:
    """Makes blueprints and reflection from the files, and again when they change."""

    def __init__(self, settings: Settings, publisher: Publisher, metrics: Metrics) -> None:
        self._settings, self._publisher, self._metrics = settings, publisher, metrics
        self._gateway = settings.gateway()
        self.reflection = Reflection()

    @property
    def files(self) -> tuple[Path, ...]:
        image, keys = self._settings.image, self._settings.jwks_file
        return (image, *((keys,) if keys else ()))

    def load(self) -> None:
        """Read everything and publish what follows. Raises InputsError."""
        inputs = read_inputs(self._settings.image, self._settings.jwks_file, self._gateway)
        title, version = self._settings.api_title, self._settings.api_version
        openapi = render_openapi(inputs.contract, inputs.image.file, title=title, version=version)
        blueprints = build_blueprints(inputs.contract, inputs.gateway, image=inputs.image_bytes, openapi=openapi)
        try:
            self.reflection.describe(inputs.contract, inputs.image)
        except TypeError as error:  # what a descriptor pool raises for a file that can't be
            raise InputsError(f"{self._settings.image}: {error}") from error
        self._publisher.adopt(blueprints)
        self._gateway = inputs.gateway

    def reload(self) -> None:
        """Load, and keep what there is if that fails: a file is often seen half written."""
        try:
            self.load()
        except (InputsError, ValueError) as error:
            self._metrics.failed_reloads.inc()
            _log.error(
                "changed files can't be used, serving what was there before", extra={"error.message": str(error)}
            )
        else:
            _log.info("read again", extra={"files": [str(path) for path in self.files]})


@asynccontextmanager
async def _server(
    listen: str, discovery: AggregatedDiscovery, reflection: Reflection, readiness: Any
) -> AsyncIterator[int]:
    server = grpc.aio.server(options=_SERVER_OPTIONS)
    discovery.add_to(server)
    reflection.add_to(server)
    health_pb2_grpc.add_HealthServicer_to_server(readiness, server)
    try:
        port = server.add_insecure_port(listen)
    except RuntimeError as error:
        raise OSError(f"can't listen on {listen}") from error
    await server.start()
    try:
        yield port
    finally:
        await readiness.enter_graceful_shutdown()
        discovery.close()
        await server.stop(GRACE_S)


@asynccontextmanager
async def _background(*work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Run *work* beside the block; a failure ends the block, its end ends the work."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(coroutine) for coroutine in work]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()


async def _follow(catalog: CatalogWatch, publisher: Publisher, metrics: Metrics) -> None:
    now_s = asyncio.get_running_loop().time
    metrics.watch_staleness(lambda: 0.0 if catalog.stale_since is None else now_s() - catalog.stale_since)
    async for state in catalog:
        publisher.hear(state.services)


async def _announce(publisher: Publisher, readiness: Any) -> None:
    await readiness.set("", health_pb2.HealthCheckResponse.NOT_SERVING)
    with publisher.watching() as changed:
        await changed.wait()
    await readiness.set("", health_pb2.HealthCheckResponse.SERVING)
