"""A service's process from start to drain. Start-up order read backwards is shutdown order."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from uuid import uuid4

import uvloop
from opentelemetry.sdk.trace.export import SpanExporter

from weft.client import Peers, use_control_plane
from weft.config import ConfigError, load
from weft.contract import ContractError, Subscription
from weft.errors import Unavailable
from weft.events import Outbox, ServiceEvents, open_broker
from weft.registry import Consul, GrpcCheck, Instance, registered
from weft.security import ServiceTokens, ServiceVerifier, TokenVerifier
from weft.server.build import BuiltServer, build_server, publishes_events
from weft.server.migrating import migrate_in_child
from weft.server.service import Parts, Runtime, Service
from weft.telemetry import LineWriter, RecentSpans, Tracing, configure_logging, metrics_page

__all__ = ["Settings", "run", "run_all"]

_CHECK_INTERVAL_S: Final = 1.0
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Of a process; `WEFT_<FIELD>` in its environment."""

    address: str = "127.0.0.1"
    """IP address to listen on, and to be found at."""
    port: int = 0
    """Of the gRPC server; 0 lets the system choose. Must be 0 for several services in one process."""
    metrics_port: int = 0
    registry_url: str = "http://127.0.0.1:8500"
    registry_token: str | None = None
    broker_url: str | None = field(default=None, repr=False)
    """`nats://…` or `amqp://…`; services without events need none."""
    xds_server: str = "127.0.0.1:18000"
    """Control planes, `host:port` separated by commas."""
    jwks_file: Path | None = None
    token_issuer: str = "weft"  # noqa: S105 (a name)
    token_audience: str = "weft"  # noqa: S105 (a name)
    service_key_dir: Path | None = None
    """Holds `services.json`, by which services know each other, and this service's own key, `<name>.pem`."""
    version: str = "1"
    """Of the build, for routing between versions side by side."""
    announce_s: float = 1.0
    """How long readers of the registry get to notice that an instance leaves, before it stops."""
    drain_s: float = 10.0
    """How long calls under way get to finish."""
    trace_ratio: float = 0.1
    """Share of the traces that begin here which are recorded, [0, 1]."""
    otlp_endpoint: str | None = None
    """Where spans go, `http://host:4317`; None keeps the latest in memory at `/spans`."""
    log_level: str = "INFO"
    log_format: str = "json"

    def __post_init__(self) -> None:
        if not 0 <= self.trace_ratio <= 1:
            raise ValueError("WEFT_TRACE_RATIO is not in [0, 1]")
        if self.log_format not in ("json", "pretty"):
            raise ValueError("WEFT_LOG_FORMAT is neither json nor pretty")


def run(service: Service) -> None:
    """Run *service* until SIGTERM or SIGINT, with the settings of the environment.

    Exits with 1 and one line where it can't start.
    """
    run_all([service])


def run_all(services: Sequence[Service]) -> None:
    """Run several services in one process, each with a server and a registration of its own."""
    try:
        settings = load(Settings, os.environ, "WEFT")
        configure_logging(settings.log_level, settings.log_format)
        if not migrate_in_child(_schemas(services, os.environ)):
            sys.exit(1)
        uvloop.run(_serve_all(services, settings, dict(os.environ)))
    except (ConfigError, ContractError, TypeError, ValueError, Unavailable, OSError) as error:
        # These say what the operator or author must change; anything else is a defect, and its traceback the message.
        _log.critical("cannot start: %s", error)
        sys.exit(1)


def _schemas(services: Sequence[Service], env: Mapping[str, str]) -> dict[str, tuple[str, Path]]:
    """Return what `migrate_in_child` takes. Raises ConfigError for databases that are nowhere."""
    found = {each.name: (_database_url(each, env), each.migrations) for each in services if each.migrations}
    if missing := [f"{_database_variable(name)} is not set" for name, (url, _) in found.items() if not url]:
        raise ConfigError(missing)
    return found


def _database_url(service: Service, env: Mapping[str, str]) -> str:
    return env.get(_database_variable(service.name), "")


def _database_variable(name: str) -> str:
    return f"{name.upper().replace('-', '_')}_DATABASE_URL"


async def _serve_all(services: Sequence[Service], settings: Settings, env: Mapping[str, str]) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    names = "+".join(service.name for service in services)
    use_control_plane(settings.xds_server, node_id=f"{names}-{uuid4().hex[:8]}", service=names)
    log = LineWriter(sys.stdout) if settings.log_format == "json" else None
    spans = RecentSpans()
    tracing = Tracing(names, ratio=settings.trace_ratio, exporters=[_exporter(settings.otlp_endpoint) or spans])
    try:
        async with (
            metrics_page(settings.address, settings.metrics_port, pages={"/spans": spans.to_json}) as metrics_port,
            Peers(tracing) as peers,
            asyncio.TaskGroup() as group,
        ):
            for service in services:
                group.create_task(_serve(service, settings, env, peers, tracing, log, metrics_port, stop))
    except* (ConfigError, ContractError, TypeError, ValueError, Unavailable, OSError) as errors:
        raise _first(errors) from None
    finally:
        if log:
            log.flush()
        await asyncio.to_thread(tracing.close)


async def _serve(
    service: Service,
    settings: Settings,
    env: Mapping[str, str],
    peers: Peers,
    tracing: Tracing,
    log: LineWriter | None,
    metrics_port: int,
    stop: asyncio.Event,
) -> None:
    verifier, tokens, services = None, None, None
    if settings.jwks_file:
        verifier = TokenVerifier(settings.jwks_file, issuer=settings.token_issuer, audience=settings.token_audience)
    if settings.service_key_dir:
        tokens = ServiceTokens.load(service.name, settings.service_key_dir)
        services = ServiceVerifier(settings.service_key_dir)
    runtime = Runtime(
        name=service.name,
        env=env,
        database_url=_database_url(service, env),
        peers=peers.speaking_for(tokens),
        tracing=tracing,
        outbox=Outbox(service.name),
    )
    async with AsyncExitStack() as stack:
        parts = await stack.enter_async_context(service.build(runtime))
        built = build_server(
            parts.servicers, database=parts.database, verifier=verifier, services=services, tracing=tracing, log=log
        )
        loops = [*parts.background, *await stack.enter_async_context(_events(runtime, parts, built, settings, tracing))]
        await stack.enter_async_context(_in_background(loops))
        port = await stack.enter_async_context(_listening(built, settings))
        consul = await stack.enter_async_context(Consul(settings.registry_url, token=settings.registry_token))
        instance = Instance(
            id=f"{service.name}-{uuid4().hex[:8]}",
            service=service.name,
            address=settings.address,
            port=port,
            metadata={"protocol": "grpc", "version": settings.version, "metrics_port": str(metrics_port)},
        )
        check = GrpcCheck(target=f"{settings.address}:{port}", interval_s=_CHECK_INTERVAL_S)
        async with registered(consul, instance, check):
            _log.info("serving", extra={"service": service.name, "address": settings.address, "port": port})
            await stop.wait()
            built.health.drain()


def _heard(parts: Parts, built: BuiltServer) -> list[Subscription]:
    """Return the subscriptions of what is served here.

    The contract also has the services of every file that ours takes a message from; what they hear is theirs.
    """
    return [each for name in parts.servicers for each in built.contract.service(name).subscriptions]


@asynccontextmanager
async def _events(
    runtime: Runtime, parts: Parts, built: BuiltServer, settings: Settings, tracing: Tracing
) -> AsyncIterator[list[Callable[[], Coroutine[object, object, None]]]]:
    """Yield what carries the service's events to the broker, and others' events to its handlers.

    Raises:
        ConfigError: it has events and there is no broker, or no database to keep them in.
    """
    subscriptions = _heard(parts, built)
    if not (subscriptions or parts.handlers or publishes_events(parts.servicers)):
        yield []
        return
    if parts.database is None:
        raise ConfigError([f"{runtime.name} has events and keeps no data: give its Parts a database"])
    if not settings.broker_url:
        raise ConfigError([f"{runtime.name} has events: set WEFT_BROKER_URL to nats://… or amqp://…"])
    async with open_broker(settings.broker_url, name=runtime.name) as broker:
        events = ServiceEvents(
            database=parts.database,
            outbox=runtime.outbox,
            subscriptions=subscriptions,
            handlers=parts.handlers,
            broker=broker,
            tracing=tracing,
        )
        yield [events.run]


@asynccontextmanager
async def _in_background(loops: Sequence[Callable[[], Coroutine[object, object, None]]]) -> AsyncIterator[None]:
    """Run *loops* until the block is left. One that raises is a defect, and ends the process."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(loop()) for loop in loops]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()


@asynccontextmanager
async def _listening(built: BuiltServer, settings: Settings) -> AsyncIterator[int]:
    """Serve until the block is left; then let the catalog's readers notice, and calls under way finish."""
    port = built.server.add_insecure_port(f"{settings.address}:{settings.port}")
    await built.server.start()
    try:
        yield port
        await asyncio.sleep(settings.announce_s)
    finally:
        built.health.drain()
        built.streams.end()
        await built.server.stop(settings.drain_s)


def _exporter(endpoint: str | None) -> SpanExporter | None:
    if not endpoint:
        return None
    # Costs 15 MB and 0.1 s, which a process without a collector should not pay.
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter  # noqa: PLC0415

    return OTLPSpanExporter(endpoint=endpoint, insecure=endpoint.startswith("http://"))


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    first = group.exceptions[0]
    return _first(first) if isinstance(first, BaseExceptionGroup) else first
