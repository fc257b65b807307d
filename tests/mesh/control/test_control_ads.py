"""The server's side of the wire, with a client that is only as well behaved as each test wants."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias, cast

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from xds_api.envoy.config.core.v3.base_pb2 import Node
from xds_api.envoy.service.discovery.v3.ads_pb2_grpc import AggregatedDiscoveryServiceStub
from xds_api.envoy.service.discovery.v3.discovery_pb2 import DiscoveryRequest, DiscoveryResponse

from tests.mesh.control import harness
from tests.mesh.control.conftest import StartBackend
from tests.mesh.control.harness import Process, sample, until
from weft.control import ControlPlane, Publisher, Settings, Stream, control_plane
from weft.control.ads import AggregatedDiscovery
from weft.control.metrics import Metrics
from weft.control.resources import CLUSTER, ENDPOINT, LISTENER, DataPlane
from weft.registry.agent import Agent

Call: TypeAlias = "grpc.aio.StreamStreamCall[DiscoveryRequest, DiscoveryResponse]"
EOF: Any = grpc.aio.EOF  # type: ignore[attr-defined]  # the stubs lack it
NODE = Node(id="raw-1", user_agent_name="gRPC by hand")


@pytest.fixture(name="connection")
async def _connection(control: ControlPlane) -> AsyncIterator[grpc.aio.Channel]:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{control.port}") as channel:
        yield channel


def stub(channel: grpc.aio.Channel) -> Any:
    return AggregatedDiscoveryServiceStub(channel)  # type: ignore[no-untyped-call]  # generated


def ads(channel: grpc.aio.Channel) -> Call:
    return cast("Call", stub(channel).StreamAggregatedResources(timeout=harness.TIMEOUT_S))


async def next_of(stream: Call) -> DiscoveryResponse:
    return cast("DiscoveryResponse", await stream.read())


async def code_of(stream: Call) -> grpc.StatusCode:
    with pytest.raises(grpc.aio.AioRpcError) as ended:
        while await stream.read() is not EOF:
            pass
    return ended.value.code()


async def test_a_stream_that_breaks_the_protocol_ends_with_invalid_argument(
    connection: grpc.aio.Channel, control: ControlPlane
) -> None:
    for request in (DiscoveryRequest(type_url=CLUSTER), DiscoveryRequest(node=NODE)):
        stream = ads(connection)
        await stream.write(request)

        assert await code_of(stream) is grpc.StatusCode.INVALID_ARGUMENT

    assert await sample(control.metrics_port, "weft_control_refused_streams_total", code="INVALID_ARGUMENT") == 2
    assert await sample(control.metrics_port, "weft_control_streams") == 0


async def test_the_incremental_variant_is_not_there(connection: grpc.aio.Channel) -> None:
    stream = stub(connection).DeltaAggregatedResources(timeout=harness.TIMEOUT_S)

    assert await code_of(stream) is grpc.StatusCode.UNIMPLEMENTED


async def test_streams_are_counted_by_data_plane_while_they_are_open(
    connection: grpc.aio.Channel, control: ControlPlane
) -> None:
    stream, other = ads(connection), ads(connection)
    await stream.write(DiscoveryRequest(node=NODE, type_url=CLUSTER, resource_names=["parcel"]))
    await other.write(DiscoveryRequest(node=Node(id="edge", user_agent_name="envoy"), type_url=LISTENER))
    await stream.read()
    await other.read()
    assert await sample(control.metrics_port, "weft_control_streams", data_plane="grpc") == 1
    assert await sample(control.metrics_port, "weft_control_streams", data_plane="envoy") == 1

    stream.cancel()
    await other.done_writing()

    assert await other.read() is EOF
    assert await other.code() is grpc.StatusCode.OK
    await until(lambda: closed(control))


async def closed(control: ControlPlane) -> bool:
    return await sample(control.metrics_port, "weft_control_streams") == 0


async def test_a_stream_opened_before_the_registry_was_heard_waits_for_it(
    agent: Agent, settings: Settings, start_backend: StartBackend
) -> None:
    """A control plane that has just started must not withdraw what its predecessor told."""
    await start_backend("a")
    port = agent.port
    await agent.__aexit__(None, None, None)
    async with control_plane(settings) as control, grpc.aio.insecure_channel(f"127.0.0.1:{control.port}") as channel:
        health = health_pb2_grpc.HealthStub(channel)
        stream = ads(channel)
        await stream.write(DiscoveryRequest(node=NODE, type_url=ENDPOINT, resource_names=["parcel"]))
        answer = asyncio.create_task(next_of(stream))
        await until(lambda: sample(control.metrics_port, "weft_control_registry_stale_seconds"))
        assert not answer.done()
        assert (
            await health.Check(health_pb2.HealthCheckRequest())
        ).status == health_pb2.HealthCheckResponse.NOT_SERVING

        async with Agent(port=port):
            response = await answer

            assert response.type_url == ENDPOINT
            serving = health_pb2.HealthCheckResponse.SERVING
            assert (await health.Check(health_pb2.HealthCheckRequest())).status == serving
            assert await sample(control.metrics_port, "weft_control_ready") == 1


async def test_while_the_registry_is_away_the_last_good_data_is_served_and_its_age_is_shown(
    agent: Agent, control: ControlPlane, start_backend: StartBackend, connection: grpc.aio.Channel
) -> None:
    await start_backend("a")
    await until(lambda: endpoints(control))
    assert await sample(control.metrics_port, "weft_control_registry_stale_seconds") == 0

    await agent.__aexit__(None, None, None)

    await until(lambda: sample(control.metrics_port, "weft_control_registry_stale_seconds"))
    stream = ads(connection)
    await stream.write(DiscoveryRequest(node=NODE, type_url=ENDPOINT, resource_names=["parcel"]))
    assert b"127.0.0.1" in (await next_of(stream)).resources[0].value


def endpoints(control: ControlPlane) -> bool:
    snapshots = control.publisher.snapshots
    return snapshots is not None and b"127.0.0.1" in snapshots[DataPlane.GRPC].resources[ENDPOINT]["parcel"].wire


async def test_when_the_control_plane_ends_streams_end_with_unavailable_and_at_once(settings: Settings) -> None:
    async with control_plane(settings) as control:
        channel = grpc.aio.insecure_channel(f"127.0.0.1:{control.port}")
        stream = ads(channel)
        await stream.write(DiscoveryRequest(node=NODE, type_url=CLUSTER, resource_names=["parcel"]))
        await stream.read()

    with pytest.raises(grpc.aio.AioRpcError) as ended:
        await stream.read()
    assert ended.value.code() is grpc.StatusCode.UNAVAILABLE
    assert ended.value.details() == "the control plane is shutting down"
    await channel.close(None)


async def test_sigterm_ends_the_process_well(agent: Agent, image: Path, tmp_path: Path) -> None:
    process = Process("--registry", agent.url, "--image", str(image), log=tmp_path / "log")
    await process.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{process.port}") as channel:
        stream = ads(channel)
        await stream.write(DiscoveryRequest(node=NODE, type_url=CLUSTER, resource_names=["parcel"]))
        await stream.read()

        assert await process.end(signal.SIGTERM) == 0

        assert await code_of(stream) is grpc.StatusCode.UNAVAILABLE
    assert [line for line in process.lines() if line["level"] not in ("INFO", "DEBUG")] == []


async def test_what_is_wrong_with_the_settings_is_said_in_one_line(tmp_path: Path) -> None:
    process = Process("--image", str(tmp_path / "missing.binpb"), log=tmp_path / "log")
    with pytest.raises(ChildProcessError):
        await process.start()

    assert await process.end() == 1
    (line,) = process.lines()
    assert "missing.binpb" in line["message"]


async def test_no_more_streams_than_the_limit_are_open() -> None:
    metrics = Metrics()
    server = grpc.aio.server()
    AggregatedDiscovery(Publisher(metrics), metrics, max_streams=1).add_to(server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        first = ads(channel)
        await first.write(DiscoveryRequest(node=NODE, type_url=CLUSTER))
        await until(lambda: metrics.registry.get_sample_value("weft_control_streams", {"data_plane": "grpc"}))

        assert await code_of(ads(channel)) is grpc.StatusCode.RESOURCE_EXHAUSTED

        first.cancel()
    await server.stop(0)


async def test_names_beyond_the_limit_end_the_stream() -> None:
    metrics = Metrics()
    server = grpc.aio.server()
    limited = AggregatedDiscovery(Publisher(metrics), metrics, new_stream=lambda: Stream(max_names=2))
    limited.add_to(server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        stream = ads(channel)
        await stream.write(DiscoveryRequest(node=NODE, type_url=CLUSTER, resource_names=["a", "b", "c"]))

        assert await code_of(stream) is grpc.StatusCode.RESOURCE_EXHAUSTED
    await server.stop(0)


async def test_a_client_that_acknowledges_nothing_is_sent_one_response_whatever_happens(
    control: ControlPlane, connection: grpc.aio.Channel, start_backend: StartBackend
) -> None:
    stream = ads(connection)
    await stream.write(DiscoveryRequest(node=NODE, type_url=ENDPOINT, resource_names=["parcel"]))
    await stream.read()

    before = await sample(control.metrics_port, "weft_control_snapshots_total")
    for number in range(5):
        await start_backend(f"b-{number}")
        await until(partial(more_snapshots, control, before + number))

    pushes = await sample(control.metrics_port, "weft_control_pushes_total", type="ClusterLoadAssignment")
    assert pushes == 1


async def more_snapshots(control: ControlPlane, than: float) -> bool:
    return await sample(control.metrics_port, "weft_control_snapshots_total") > than


async def test_the_contract_is_read_again_and_a_broken_one_is_not_used(
    control: ControlPlane, image: Path, caplog: pytest.LogCaptureFixture
) -> None:
    await until(lambda: control.publisher.snapshots)

    harness.write(image, b"\xff")
    await until(lambda: sample(control.metrics_port, "weft_control_failed_reloads_total"))
    assert "can't be used" in caplog.text
    harness.write_image(image, "parcel", "letter")

    await until(lambda: "letter" in clusters(control))
    assert await sample(control.metrics_port, "weft_control_failed_reloads_total") == 1


def clusters(control: ControlPlane) -> set[str]:
    assert control.publisher.snapshots is not None
    return set(control.publisher.snapshots[DataPlane.GRPC].resources[CLUSTER])


async def test_new_keys_are_published(tmp_path: Path, settings: Settings) -> None:
    jwks = tmp_path / "jwks.json"
    async with control_plane(replace(settings, jwks_file=jwks)) as control:
        await until(lambda: control.publisher.snapshots)

        harness.write(jwks, b'{"keys":[{"kid":"fresh"}]}')

        await until(
            lambda: b"fresh" in b"".join(each.wire for each in (control.publisher.snapshots or {})[DataPlane.ENVOY])
        )
