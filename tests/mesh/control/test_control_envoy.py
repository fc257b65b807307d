"""A real Envoy over ADS, told everything by a real control plane."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import aiohttp
import grpc
import pytest
from google.protobuf.message import Message
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from tests.mesh.control import harness
from tests.mesh.control.conftest import StartBackend
from tests.mesh.control.harness import Envoy, Process, call, envoy, sample, until
from weft.control import Blueprint, ControlPlane, DataPlane
from weft.gateway import build_endpoints
from weft.registry import Consul, Instance
from weft.registry.agent import Agent


@pytest.fixture(name="gateway")
async def _gateway(control: ControlPlane, tmp_path: Path) -> AsyncIterator[Envoy]:
    async with envoy(control.port, tmp_path) as gateway:
        await gateway.find_port()
        yield gateway


@pytest.fixture(name="edge")
async def _edge(gateway: Envoy) -> AsyncIterator[grpc.aio.Channel]:
    """A plain channel to the gateway."""
    async with grpc.aio.insecure_channel(f"127.0.0.1:{gateway.port}") as channel:
        yield channel


async def answers(edge: grpc.aio.Channel, *names: str, service: str = "parcel") -> None:
    """Wait until exactly *names* answer through the gateway."""

    async def only_these() -> bool:
        try:
            return {await call(edge, service=service) for _ in range(4 * len(names) + 4)} == set(names)
        except grpc.aio.AioRpcError:
            return False

    await until(only_these)


async def test_the_gateway_calls_instances_that_join_and_no_longer_those_that_leave(
    edge: grpc.aio.Channel, start_backend: StartBackend, consul: Consul
) -> None:
    await start_backend("a")
    await answers(edge, "a")

    await start_backend("b")
    await answers(edge, "a", "b")

    await consul.deregister("a")
    await answers(edge, "b")


async def test_rest_goes_the_same_way(gateway: Envoy, edge: grpc.aio.Channel, start_backend: StartBackend) -> None:
    await start_backend("a")
    await answers(edge, "a")

    async with aiohttp.ClientSession() as http, http.get(f"http://127.0.0.1:{gateway.port}/v1/parcel/x:find") as answer:
        assert (answer.status, await answer.json()) == (200, {"text": "a"})


async def test_the_gateway_acts_on_a_join_within_the_budget(
    edge: grpc.aio.Channel, start_backend: StartBackend, consul: Consul
) -> None:
    await start_backend("a")
    await answers(edge, "a")
    took_s = []
    for number in range(10):
        async with harness.Backend(f"b-{number}") as backend:
            began = time.monotonic()
            await harness.register(consul, backend)
            while not backend.attempts:
                await call(edge)
            took_s.append(time.monotonic() - began)
            await consul.deregister(backend.name)
            await answers(edge, "a")

    assert sorted(took_s)[len(took_s) // 2] < 0.2, json.dumps(took_s)


async def test_a_changed_cluster_is_in_use_at_once_since_its_endpoints_come_again(
    gateway: Envoy, edge: grpc.aio.Channel, start_backend: StartBackend, control: ControlPlane, image: Path
) -> None:
    """Without them Envoy would warm it for 15 s and acknowledge nothing meanwhile."""
    await start_backend("a")
    await answers(edge, "a")

    harness.write_image(image, "parcel", max_requests=77)

    async def in_use() -> bool:
        return "parcel::default_priority::max_requests::77" in await gateway.admin("/clusters")

    await until(in_use, within_s=5)
    assert await warming(gateway) == []
    assert await sample(control.metrics_port, "weft_control_nacks_total") == 0
    await answers(edge, "a")


async def test_a_new_service_is_routed_to_without_a_failed_call_and_a_removed_one_is_gone(
    gateway: Envoy, edge: grpc.aio.Channel, start_backend: StartBackend, image: Path
) -> None:
    await start_backend("a")
    await start_backend("l", service="letter")
    await answers(edge, "a")
    codes: Counter[grpc.StatusCode] = Counter()

    async def load() -> None:
        while True:
            try:
                await call(edge, service="letter", wait_for_ready=False)
                codes[grpc.StatusCode.OK] += 1
            except grpc.aio.AioRpcError as error:
                codes[error.code()] += 1

    calling = asyncio.create_task(load())
    await until(lambda: codes.total() > 20)
    assert not codes[grpc.StatusCode.OK]
    harness.write_image(image, "parcel", "letter")
    await until(lambda: codes[grpc.StatusCode.OK] > 20)
    harness.write_image(image, "parcel")

    async def gone() -> bool:
        return "letter::" not in await gateway.admin("/clusters")

    await until(gone)
    calling.cancel()
    await asyncio.wait([calling])
    assert not codes[grpc.StatusCode.UNAVAILABLE], "never a route without its cluster"
    await answers(edge, "a")


async def test_what_envoy_refuses_is_seen_in_a_metric_and_a_log_line_and_does_not_hold_up_the_rest(
    edge: grpc.aio.Channel, start_backend: StartBackend, control: ControlPlane, caplog: pytest.LogCaptureFixture
) -> None:
    a = await start_backend("a")
    await answers(edge, "a")
    snapshots = control.publisher.snapshots
    assert snapshots is not None
    fixed = [each for each in snapshots[DataPlane.ENVOY] if each.type_url.endswith(("Listener", "RouteConfiguration"))]
    fixed += [each for each in snapshots[DataPlane.ENVOY] if each.type_url.endswith("Cluster")]

    def with_a_host_name(name: str, instances: tuple[Instance, ...]) -> Message:
        message = build_endpoints(name, instances)
        for locality in message.endpoints:
            for endpoint in locality.lb_endpoints:
                endpoint.endpoint.address.socket_address.address = "a.host.name"
        return message

    bad = Blueprint.of(["parcel"], [], with_a_host_name, elsewhere=["xds"])
    control.publisher.adopt({DataPlane.ENVOY: replace(bad, fixed=tuple(fixed))})

    labels = {"data_plane": "envoy", "type": "ClusterLoadAssignment"}
    await until(lambda: sample(control.metrics_port, "weft_control_nacks_total", **labels))
    (record,) = (vars(each) for each in caplog.records if each.message.startswith("NACK"))
    assert (record["xds.node.id"], record["xds.node.cluster"]) == ("gateway-1", "gateway")
    assert "a.host.name" in record["error.message"]
    assert await call(edge) == a.name, "by what it had before"
    assert await sample(control.metrics_port, "weft_control_nacks_total", **labels) == 1, "the same is not sent again"


async def test_when_the_control_plane_is_killed_no_call_fails_and_the_gateway_catches_up_when_it_is_back(
    agent: Agent, image: Path, start_backend: StartBackend, tmp_path: Path
) -> None:
    arguments = ("--registry", agent.url, "--image", str(image), "--hold-s", "0", "--gateway-port", "0")
    unlimited = ("--gateway-requests-per-s", "1000000", "--gateway-burst", "1000000")
    process = Process(*arguments, *unlimited, log=tmp_path / "control.log")
    await start_backend("a")
    await process.start()
    try:
        async with (
            envoy(process.port, tmp_path) as gateway,
            grpc.aio.insecure_channel(f"127.0.0.1:{await gateway.find_port()}") as edge,
        ):
            await answers(edge, "a")
            failures: list[BaseException] = []
            seen: Counter[str] = Counter()

            async def load() -> None:
                while True:
                    try:
                        seen[await call(edge, "Send", wait_for_ready=False)] += 1
                    except grpc.aio.AioRpcError as error:
                        failures.append(error)

            calling = asyncio.create_task(load())
            await process.end()
            await start_backend("b")
            before = seen.total()
            await until(lambda: seen.total() > before + 100)
            assert set(seen) == {"a"}, "nobody has told of b"

            await process.start()
            await until(lambda: seen["b"] > 10)

            calling.cancel()
            await asyncio.wait([calling])
            assert failures == []
    finally:
        await process.end()


async def test_a_client_at_the_gateway_sees_every_service(edge: grpc.aio.Channel) -> None:
    stub = reflection_pb2_grpc.ServerReflectionStub(edge)
    question = reflection_pb2.ServerReflectionRequest(list_services="")

    stream = stub.ServerReflectionInfo(iter([question]), timeout=harness.TIMEOUT_S)

    answer = await stream.read()
    assert [each.name for each in answer.list_services_response.service] == [harness.full_name("parcel")]


async def warming(gateway: Envoy) -> list[str]:
    dump = json.loads(await gateway.admin("/config_dump?resource=dynamic_warming_clusters"))
    return [each["cluster"]["name"] for each in dump.get("configs", [])]
