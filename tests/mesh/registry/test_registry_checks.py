"""What the registry finds out by itself: probes of instances, run by both registries."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from aiohttp import ClientSession, web
from grpc import aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as health  # type: ignore[attr-defined]  # the stubs lack it

from tests.mesh.registry.registries import CheckOf, Condition, Eventually, NewInstance
from weft.registry import Consul, GrpcCheck, HttpCheck, TcpCheck, TtlCheck
from weft.registry.agent import Agent

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


class GrpcServer:
    def __init__(self, port: int, servicer: health.HealthServicer) -> None:
        self.port = port
        self.servicer = servicer
        self.target = f"127.0.0.1:{port}"


@pytest.fixture(name="server")
async def _server() -> AsyncIterator[GrpcServer]:
    """A gRPC server with nothing but health; `mugs.v1.Mugs` is SERVING."""
    server = aio.server()
    servicer = health.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await servicer.set("mugs.v1.Mugs", SERVING)
    await server.start()
    yield GrpcServer(port, servicer)
    await server.stop(None)


@pytest.fixture(name="healthy")
def _healthy(consul: Consul, new_instance: NewInstance) -> Condition:
    async def healthy() -> bool:
        return (await consul.healthy("mugs")).value == (new_instance(),)

    return healthy


@pytest.fixture(name="unhealthy")
def _unhealthy(consul: Consul) -> Condition:
    async def unhealthy() -> bool:
        return (await consul.healthy("mugs")).value == ()

    return unhealthy


@pytest.fixture(name="check_of")
def _check_of(raw: ClientSession) -> CheckOf:
    """The check of mugs-1 as the registry tells it."""

    async def check_of() -> dict[str, str]:
        async with raw.get("/v1/health/service/mugs") as response:
            (entry,) = await response.json()
        checks: list[dict[str, str]] = [check for check in entry["Checks"] if check["ServiceID"] == "mugs-1"]
        return checks[0]

    return check_of


@pytest.mark.parametrize("service", ["", "/mugs.v1.Mugs"])
async def test_a_serving_instance_becomes_healthy(
    consul: Consul,
    new_instance: NewInstance,
    server: GrpcServer,
    healthy: Condition,
    eventually: Eventually,
    service: str,
) -> None:
    await consul.register(new_instance(), [GrpcCheck(target=server.target + service)])

    await eventually(healthy)


async def test_not_serving_takes_an_instance_out_and_serving_brings_it_back(
    consul: Consul,
    new_instance: NewInstance,
    server: GrpcServer,
    healthy: Condition,
    unhealthy: Condition,
    check_of: CheckOf,
    eventually: Eventually,
) -> None:
    await consul.register(new_instance(), [GrpcCheck(target=f"{server.target}/mugs.v1.Mugs")])
    await eventually(healthy)

    await server.servicer.set("mugs.v1.Mugs", NOT_SERVING)

    await eventually(unhealthy)
    assert (await check_of())["Output"] == "gRPC application didn't report service healthy"

    await server.servicer.set("mugs.v1.Mugs", SERVING)

    await eventually(healthy)


async def test_an_instance_that_does_not_know_the_service_is_not_healthy(
    consul: Consul,
    new_instance: NewInstance,
    server: GrpcServer,
    check_of: CheckOf,
    eventually: Eventually,
) -> None:
    await consul.register(new_instance(), [GrpcCheck(target=f"{server.target}/cups.v1.Cups", initially_passing=True)])

    async def critical() -> bool:
        return (await check_of())["Status"] == "critical"

    await eventually(critical)
    assert "code = NotFound" in (await check_of())["Output"]


async def test_an_instance_nobody_listens_for_is_taken_out_and_recovers_as_soon_as_somebody_does(
    consul: Consul, new_instance: NewInstance, healthy: Condition, unhealthy: Condition, eventually: Eventually
) -> None:
    server = aio.server()
    port = server.add_insecure_port("127.0.0.1:0")  # bound, but not yet accepting
    servicer = health.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    await consul.register(
        new_instance(), [GrpcCheck(target=f"127.0.0.1:{port}", timeout_s=0.5, initially_passing=True)]
    )
    await eventually(unhealthy)

    await server.start()

    await eventually(healthy)
    await server.stop(None)


async def test_an_instance_may_count_as_healthy_until_its_first_probe(
    consul: Consul, new_instance: NewInstance
) -> None:
    check = TcpCheck(target="127.0.0.1:1", interval_s=3600, initially_passing=True)

    await consul.register(new_instance(), [check])
    first = await consul.healthy("mugs")

    assert [mug.id for mug in first.value] in (["mugs-1"], [])  # the embedded agent may have probed already


async def test_a_tcp_check_passes_while_connections_are_accepted(
    consul: Consul, new_instance: NewInstance, healthy: Condition, unhealthy: Condition, eventually: Eventually
) -> None:
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    await consul.register(new_instance(), [TcpCheck(target=f"{host}:{port}")])
    await eventually(healthy)

    server.close()
    await server.wait_closed()

    await eventually(unhealthy)


@pytest.mark.parametrize(
    ("status", "expected"), [(200, "passing"), (204, "passing"), (429, "warning"), (500, "critical")]
)
async def test_an_http_check_follows_the_status_code(
    consul: Consul,
    new_instance: NewInstance,
    check_of: CheckOf,
    eventually: Eventually,
    status: int,
    expected: str,
) -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=status)

    app = web.Application()
    app.add_routes([web.get("/ready", answer)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}/ready"

    await consul.register(new_instance(), [HttpCheck(url=url, initially_passing=expected != "passing")])

    async def told() -> bool:
        return (await check_of())["Status"] == expected

    await eventually(told)
    await runner.cleanup()


async def test_a_ttl_check_says_what_its_owner_says(
    consul: Consul, new_instance: NewInstance, healthy: Condition, check_of: CheckOf
) -> None:
    await consul.register(new_instance(), [TtlCheck(ttl_s=60)])

    await consul.report("service:mugs-1", "pass", note="warmed up")
    passing = await healthy()
    await consul.report("service:mugs-1", "warn")
    warning = (await check_of())["Status"]
    await consul.report("service:mugs-1", "fail")
    critical = (await check_of())["Status"]

    assert (passing, warning, critical) == (True, "warning", "critical")


async def test_a_ttl_check_turns_critical_when_its_owner_falls_silent(
    consul: Consul,
    new_instance: NewInstance,
    healthy: Condition,
    check_of: CheckOf,
    eventually: Eventually,
) -> None:
    await consul.register(new_instance(), [TtlCheck(ttl_s=1)])
    await consul.report("service:mugs-1", "pass")
    assert await healthy()

    async def expired() -> bool:
        return (await check_of())["Status"] == "critical"

    await eventually(expired)
    await consul.report("service:mugs-1", "pass")
    assert await healthy()


async def test_an_instance_that_stays_critical_is_forgotten(new_instance: NewInstance, eventually: Eventually) -> None:
    # Embedded only: Consul raises the time to one minute and looks every 30 s.
    check = TtlCheck(ttl_s=60, deregister_critical_after_s=0.01)
    async with (
        Agent(reap_every_s=0.02, minimum_deregister_s=0.0) as agent,
        Consul(agent.url) as consul,
    ):
        await consul.register(new_instance(1), [check])
        await consul.register(new_instance(2), [TtlCheck(ttl_s=60, deregister_critical_after_s=None)])

        async def forgotten() -> bool:
            return set(await consul.agent_services()) == {"mugs-2"}

        await eventually(forgotten)
