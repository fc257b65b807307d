"""A real gRPC client over xDS, told by a real control plane."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import pytest
from xds_api.envoy.config.cluster.v3.cluster_pb2 import Cluster

from tests.mesh.control import harness
from tests.mesh.control.conftest import OpenChannel, StartBackend
from tests.mesh.control.harness import Process, answering, call, sample, until
from weft.contract import load_image, read_contract
from weft.control import Blueprint, ControlPlane, DataPlane, Settings, control_plane
from weft.control.grpc_resources import build_assignment, build_listener
from weft.registry import Consul
from weft.registry.agent import Agent


async def unavailable(_: str, context: Any) -> None:
    await context.abort(grpc.StatusCode.UNAVAILABLE, "try another")


async def test_calls_reach_every_instance_in_turn(channel: grpc.aio.Channel, start_backend: StartBackend) -> None:
    for name in ("a", "b", "c"):
        await start_backend(name)
    await answering(channel, "a", "b", "c")

    answers = Counter([await call(channel) for _ in range(30)])

    assert answers == {"a": 10, "b": 10, "c": 10}


async def test_instances_that_join_are_called_and_those_that_leave_are_not(
    channel: grpc.aio.Channel, start_backend: StartBackend, consul: Consul
) -> None:
    await start_backend("a")
    await answering(channel, "a")

    await start_backend("b")
    await answering(channel, "a", "b")

    await consul.deregister("a")
    await answering(channel, "b")


async def test_weights_are_shares_of_the_calls(channel: grpc.aio.Channel, start_backend: StartBackend) -> None:
    await start_backend("stable-1", weight=9)
    await start_backend("stable-2", weight=9)
    await start_backend("canary", weight=2)
    await answering(channel, "stable-1", "stable-2", "canary")

    answers = Counter([await call(channel) for _ in range(400)])

    assert 0.03 < answers["canary"] / 400 < 0.2
    assert abs(answers["stable-1"] - answers["stable-2"]) <= 2


async def test_a_method_declared_idempotent_is_repeated_on_unavailable(
    channel: grpc.aio.Channel, start_backend: StartBackend
) -> None:
    backend = await start_backend("a", behave=unavailable)

    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await call(channel, "Find")

    assert failed.value.code() is grpc.StatusCode.UNAVAILABLE
    assert backend.attempts == {"Find": 3}


async def test_any_other_method_is_called_once(channel: grpc.aio.Channel, start_backend: StartBackend) -> None:
    backend = await start_backend("a", behave=unavailable)

    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await call(channel, "Send")

    assert failed.value.code() is grpc.StatusCode.UNAVAILABLE
    assert backend.attempts == {"Send": 1}


async def test_nothing_is_repeated_on_another_status(channel: grpc.aio.Channel, start_backend: StartBackend) -> None:
    async def internal(_: str, context: Any) -> None:
        await context.abort(grpc.StatusCode.INTERNAL, "a defect")

    backend = await start_backend("a", behave=internal)

    with pytest.raises(grpc.aio.AioRpcError):
        await call(channel, "Find")

    assert backend.attempts == {"Find": 1}


async def test_a_call_without_a_deadline_ends_some_time_after_its_contracts_timeout(
    channel: grpc.aio.Channel, start_backend: StartBackend
) -> None:
    """0.5 s by the contract, and up to one more by the client's clock; never less."""

    async def never(_: str, __: Any) -> None:
        await asyncio.sleep(60)

    backend = await start_backend("a")
    await answering(channel, "a")
    backend.behave = never
    began = time.monotonic()

    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await call(channel, "Find", timeout=None)

    assert failed.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert 0.45 < time.monotonic() - began < 2.5


async def test_more_calls_at_a_time_than_the_contract_allows_are_refused_by_the_client(
    image: Path, settings: Settings, start_backend: StartBackend, open_channel: OpenChannel
) -> None:
    harness.write_image(image, "parcel", max_requests=2)
    release = asyncio.Event()
    backend = await start_backend("a")
    async with control_plane(settings) as control:
        channel = open_channel(control.port)
        await answering(channel, "a")

        async def wait(_: str, __: Any) -> None:
            await release.wait()

        backend.behave, backend.attempts = wait, Counter()
        waiting = [asyncio.create_task(call(channel, "Send", wait_for_ready=False)) for _ in range(2)]
        await until(lambda: backend.attempts["Send"] == 2)

        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await call(channel, "Send", wait_for_ready=False)
        release.set()

        assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
        assert "circuit breaker" in (refused.value.details() or "")
        assert await asyncio.gather(*waiting) == ["a", "a"]


async def test_an_instance_that_fails_is_left_out_also_of_two(
    image: Path, settings: Settings, start_backend: StartBackend, open_channel: OpenChannel
) -> None:
    harness.write_image(image, "parcel", failure_percent=50)
    await start_backend("good")
    bad = await start_backend("bad")
    async with control_plane(settings) as control:
        channel = open_channel(control.port)
        await answering(channel, "good", "bad")
        bad.behave = unavailable

        async def only_good_answer() -> bool:
            before = bad.attempts["Send"]
            answers = await asyncio.gather(*(call(channel, "Send") for _ in range(30)), return_exceptions=True)
            return answers == ["good"] * 30 and bad.attempts["Send"] == before

        await until(only_good_answer)


async def test_when_the_control_plane_is_killed_no_call_fails_and_it_catches_up_when_it_is_back(
    agent: Agent, image: Path, start_backend: StartBackend, consul: Consul, open_channel: OpenChannel, tmp_path: Path
) -> None:
    process = Process("--registry", agent.url, "--image", str(image), "--hold-s", "0", log=tmp_path / "control.log")
    await start_backend("a")
    await process.start()
    try:
        channel = open_channel(process.port)
        await answering(channel, "a")
        failures: list[BaseException] = []
        answers: Counter[str] = Counter()

        async def load() -> None:
            while True:
                try:
                    answers[await call(channel, "Send", wait_for_ready=False)] += 1
                except grpc.aio.AioRpcError as error:
                    failures.append(error)
                await asyncio.sleep(0.001)

        calling = asyncio.create_task(load())
        await process.end()
        await start_backend("b")
        before = answers.total()
        await until(lambda: answers.total() > before + 100)
        assert set(answers) == {"a"}, "nobody has told of b"

        await process.start()
        await until(lambda: answers["b"] > 10)
        await consul.deregister("a")
        await answering(channel, "b")

        calling.cancel()
        await asyncio.wait([calling])
        assert failures == []
    finally:
        await process.end()


async def test_a_registry_that_suddenly_names_nobody_withdraws_nobody(
    settings: Settings, start_backend: StartBackend, consul: Consul, open_channel: OpenChannel
) -> None:
    backend = await start_backend("a")
    async with control_plane(replace(settings, hold_s=30)) as control:
        channel = open_channel(control.port)
        await answering(channel, "a")

        await consul.deregister("a")
        await until(lambda: sample(control.metrics_port, "weft_control_held_services"))
        await answering(channel, "a")

        await harness.register(consul, backend)
        await until(partial(nothing_is_held, control))
        await answering(channel, "a")


async def nothing_is_held(control: ControlPlane) -> bool:
    return await sample(control.metrics_port, "weft_control_held_services") == 0


async def test_two_replicas_behind_one_target_stand_in_for_each_other(
    settings: Settings, start_backend: StartBackend, open_channel: OpenChannel
) -> None:
    await start_backend("a")
    async with control_plane(settings) as second:
        async with control_plane(settings) as first:
            channel = open_channel(first.port, second.port)
            await answering(channel, "a")
            assert await until(lambda: second.publisher.snapshots) == first.publisher.snapshots
        await start_backend("b")
        await answering(channel, "a", "b")


async def test_an_unknown_service_fails_at_once_with_the_control_planes_own_words(control: ControlPlane) -> None:
    """In a process of its own, for the client reads its environment once."""
    script = """
import asyncio, sys, time
from tests.mesh.control.harness import call, channel
async def main():
    async with channel(int(sys.argv[1]), target="xds:///nobody") as on:
        began = time.monotonic()
        try:
            await call(on, wait_for_ready=False)
        except Exception as error:
            print(error.code().name, time.monotonic() - began, error.details())
asyncio.run(main())
"""
    env = {
        **os.environ,
        "GRPC_EXPERIMENTAL_XDS_DATA_ERROR_HANDLING": "true",
        "PYTHONPATH": os.pathsep.join((str(harness.ROOT), str(harness.ROOT / "gen"))),
    }

    command = [sys.executable, "-c", script, str(control.port)]
    done = await asyncio.to_thread(subprocess.run, command, env=env, capture_output=True, text=True, check=True)

    code, took_s, details = done.stdout.split(" ", 2)
    assert code == "UNAVAILABLE"
    assert float(took_s) < 5, "without the error it is 15 s"
    assert "'nobody' does not exist" in details


async def test_a_nack_is_seen_in_a_metric_and_a_log_line_with_the_node_and_the_text(
    control: ControlPlane,
    image: Path,
    start_backend: StartBackend,
    open_channel: OpenChannel,
    caplog: pytest.LogCaptureFixture,
) -> None:
    await start_backend("a")
    channel = open_channel(control.port, node_id="client-7")
    await answering(channel, "a")
    contract = read_contract(load_image(image).file)
    bad = Cluster(name="parcel", type=Cluster.EDS, lb_policy=Cluster.MAGLEV)
    bad.eds_cluster_config.eds_config.ads.SetInParent()

    blueprint = Blueprint.of(["parcel"], [build_listener("parcel", contract.services), bad], build_assignment)
    control.publisher.adopt({DataPlane.GRPC: blueprint})

    nacks = ("weft_control_nacks_total", {"data_plane": "grpc", "type": "Cluster"})
    await until(lambda: sample(control.metrics_port, nacks[0], **nacks[1]))
    (record,) = (vars(each) for each in caplog.records if each.message.startswith("NACK"))
    assert record["xds.node.id"] == "client-7"
    assert record["xds.resources"] == ("parcel",)
    assert "parcel: INVALID_ARGUMENT" in record["error.message"]
    await answering(channel, "a")  # by what it had before
    assert await sample(control.metrics_port, nacks[0], **nacks[1]) == 1, "the same is not sent again"


async def test_a_join_and_a_departure_are_acted_on_within_the_budget(
    channel: grpc.aio.Channel, start_backend: StartBackend, consul: Consul
) -> None:
    await start_backend("a")
    await answering(channel, "a")
    took_s = []
    for number in range(10):
        backend = harness.Backend(f"b-{number}")
        async with backend:
            began = time.monotonic()
            await harness.register(consul, backend)
            await until(partial(called, channel, backend))
            took_s.append(time.monotonic() - began)
            await consul.deregister(backend.name)
            await answering(channel, "a")

    assert sorted(took_s)[len(took_s) // 2] < 0.2, json.dumps(took_s)


async def called(channel: grpc.aio.Channel, backend: harness.Backend) -> bool:
    await call(channel)
    return bool(backend.attempts)
