"""One probe of one check: what it asks, and what it makes of the answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from http import HTTPStatus
from typing import Final, TypeAlias

import aiohttp
from grpc import aio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from weft.registry.agent.definition import CheckDefinition, Status

MAX_OUTPUT_BYTES: Final = 4096

Outcome: TypeAlias = tuple[Status, str]


@asynccontextmanager
async def probe_of(
    definition: CheckDefinition, session: aiohttp.ClientSession
) -> AsyncIterator[Callable[[], Awaitable[Outcome]]]:
    """Yield the function that probes once; what it needs lives as long as the block."""
    match definition.kind:
        case "grpc":
            address, _, service = definition.target.partition("/")
            async with aio.insecure_channel(address, options=_channel_options(definition)) as channel:
                stub = health_pb2_grpc.HealthStub(channel)
                yield partial(_probe_grpc, stub, definition, health_pb2.HealthCheckRequest(service=service))
        case "http":
            yield partial(_bounded, definition, partial(_probe_http, definition, session))
        case "tcp":
            yield partial(_bounded, definition, partial(_probe_tcp, definition))
        case "ttl":
            raise ValueError(f"{definition.check_id}: nobody probes a TTL check")


def _channel_options(definition: CheckDefinition) -> list[tuple[str, int]]:
    # By default a channel that was refused tries again after up to two minutes; a probe must see every recovery.
    reconnect_ms = max(100, int(definition.interval_s * 500))
    return [
        ("grpc.initial_reconnect_backoff_ms", reconnect_ms),
        ("grpc.min_reconnect_backoff_ms", reconnect_ms),
        ("grpc.max_reconnect_backoff_ms", reconnect_ms),
        ("grpc.use_local_subchannel_pool", 1),
        ("grpc.enable_http_proxy", 0),
    ]


async def _probe_grpc(
    stub: health_pb2_grpc.HealthStub, definition: CheckDefinition, request: health_pb2.HealthCheckRequest
) -> Outcome:
    try:
        response = await stub.Check(request, timeout=definition.timeout_s)
    except aio.AioRpcError as error:
        code = "".join(word.title() for word in error.code().name.split("_"))
        return "critical", f"rpc error: code = {code} desc = {error.details()}"
    if response.status != health_pb2.HealthCheckResponse.SERVING:
        return "critical", "gRPC application didn't report service healthy"
    return "passing", f"gRPC check {definition.target.partition('/')[0]}: success"


async def _probe_http(definition: CheckDefinition, session: aiohttp.ClientSession) -> Outcome:
    async with session.request(definition.method, definition.target, headers=definition.headers) as response:
        content = (await response.content.read(MAX_OUTPUT_BYTES)).decode(errors="replace")
    output = f"HTTP {definition.method} {definition.target}: {response.status} {response.reason} Output: {content}"
    if response.status == HTTPStatus.TOO_MANY_REQUESTS:
        return "warning", output
    return "passing" if HTTPStatus.OK <= response.status < HTTPStatus.MULTIPLE_CHOICES else "critical", output


async def _probe_tcp(definition: CheckDefinition) -> Outcome:
    host, _, port = definition.target.rpartition(":")
    _, writer = await asyncio.open_connection(host.strip("[]"), int(port))
    writer.close()
    return "passing", f"TCP connect {definition.target}: Success"


async def _bounded(definition: CheckDefinition, probe: Callable[[], Awaitable[Outcome]]) -> Outcome:
    try:
        async with asyncio.timeout(definition.timeout_s):
            return await probe()
    except TimeoutError:
        return "critical", f"no answer from {definition.target} in {definition.timeout_s:g} s"
    except (OSError, OverflowError, ValueError, aiohttp.ClientError) as error:  # refused, no address, not HTTP
        return "critical", f"{definition.target}: {error}"
