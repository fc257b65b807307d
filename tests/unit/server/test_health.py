"""Health is what the process's own database says, asked once however many ask."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from grpc import StatusCode, aio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.library import SERVICE
from weft.server.health import Health

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


class Database:
    """Counts probes, and fails when told to."""

    def __init__(self) -> None:
        self.probes = 0
        self.works = True
        self.hold: asyncio.Event | None = None

    async def probe(self) -> None:
        self.probes += 1
        if self.hold:
            await self.hold.wait()
        if not self.works:
            raise ConnectionError


async def status(channel: aio.Channel, service: str) -> Any:
    request = health_pb2.HealthCheckRequest(service=service)
    return (await health_pb2_grpc.HealthStub(channel).Check(request, timeout=5)).status


@pytest.mark.parametrize("service", ["", SERVICE])
async def test_a_server_answers_for_itself_and_for_each_service(library: Any, service: str) -> None:
    assert await status(library.channel, service) == SERVING


async def test_a_service_nobody_serves_is_not_found(library: Any) -> None:
    with pytest.raises(aio.AioRpcError) as refused:
        await status(library.channel, "library.v1.Nothing")

    assert refused.value.code() is StatusCode.NOT_FOUND


async def test_a_database_that_fails_means_not_serving_until_it_works_again() -> None:
    database = Database()
    health = Health([SERVICE], database.probe)
    database.works = False

    assert await health.serving() is False

    database.works = True
    async with asyncio.timeout(5):
        while not await health.serving():
            await asyncio.sleep(0.01)


async def test_a_hundred_checkers_cost_one_probe() -> None:
    database = Database()
    database.hold = asyncio.Event()
    health = Health([SERVICE], database.probe)

    checks = [asyncio.ensure_future(health.serving()) for _ in range(100)]
    await asyncio.sleep(0)
    database.hold.set()

    assert await asyncio.gather(*checks) == [True] * 100
    assert database.probes == 1


async def test_a_checker_who_leaves_does_not_take_the_others_probe_along() -> None:
    database = Database()
    database.hold = asyncio.Event()
    health = Health([SERVICE], database.probe)
    first, second = (asyncio.ensure_future(health.serving()) for _ in range(2))
    await asyncio.sleep(0)

    first.cancel()
    database.hold.set()

    assert await second is True


async def test_draining_says_not_serving_and_ends_every_watch() -> None:
    health = Health([SERVICE])
    watch = health.Watch(health_pb2.HealthCheckRequest(service=SERVICE), None)
    assert (await anext(watch)).status == SERVING

    health.drain()

    assert [answer.status async for answer in watch] == [NOT_SERVING]
    assert await health.serving() is False
