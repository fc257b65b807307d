from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from functools import partial

import pytest
from xds_api.envoy.config.cluster.v3.cluster_pb2 import Cluster
from xds_api.envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment

from weft.control import Blueprint, DataPlane, Publisher, Snapshots
from weft.control.grpc_resources import build_assignment
from weft.control.metrics import Metrics
from weft.control.resources import ENDPOINT
from weft.registry import Instance


def instances(count: int) -> tuple[Instance, ...]:
    return tuple(Instance(id=f"a-{n}", service="a", address="127.0.0.1", port=1000 + n) for n in range(count))


def blueprint(*clusters: str, services: tuple[str, ...] = ("a",)) -> dict[DataPlane, Blueprint]:
    messages = [Cluster(name=name, type=Cluster.EDS) for name in clusters or services]
    return dict.fromkeys(DataPlane, Blueprint.of(services, messages, build_assignment))


def ports(snapshots: Snapshots | None, service: str = "a") -> list[int]:
    assert snapshots is not None
    wire = snapshots[DataPlane.ENVOY].resources[ENDPOINT][service].wire
    message = ClusterLoadAssignment.FromString(wire[wire.index(b"\n\x01a") :])
    return [each.endpoint.address.socket_address.port_value for part in message.endpoints for each in part.lb_endpoints]


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.001)


@pytest.fixture(name="metrics")
def _metrics() -> Metrics:
    return Metrics()


@pytest.fixture(name="publisher")
async def _publisher(metrics: Metrics) -> AsyncIterator[Publisher]:
    publisher = Publisher(metrics, hold_s=0.05, coalesce_s=0.02)
    task = asyncio.create_task(publisher.run())
    yield publisher
    task.cancel()
    await asyncio.wait([task])


def has(publisher: Publisher, count: int) -> bool:
    return publisher.snapshots is not None and len(ports(publisher.snapshots)) == count


def value(metrics: Metrics, name: str) -> float | None:
    return metrics.registry.get_sample_value(name)


async def test_nothing_is_published_before_the_registry_was_heard(publisher: Publisher) -> None:
    publisher.adopt(blueprint())
    await asyncio.sleep(0.05)  # twice the time between snapshots
    assert publisher.snapshots is None

    publisher.hear({"a": instances(1)})

    await until(lambda: publisher.snapshots)
    assert ports(publisher.snapshots) == [1000]


async def test_watchers_are_woken_by_each_snapshot_and_by_nothing_else(publisher: Publisher) -> None:
    publisher.adopt(blueprint())
    with publisher.watching() as changed:
        publisher.hear({"a": instances(1)})
        await asyncio.wait_for(changed.wait(), 5)
        changed.clear()

        publisher.hear({"a": instances(1)})
        publisher.hear({"a": instances(1), "stranger": instances(1)})
        await asyncio.sleep(0.05)
        assert not changed.is_set(), "nothing differs"

        publisher.hear({"a": instances(2)})
        await asyncio.wait_for(changed.wait(), 5)


async def test_a_burst_of_changes_is_one_snapshot(publisher: Publisher, metrics: Metrics) -> None:
    publisher.adopt(blueprint())
    publisher.hear({"a": instances(1)})
    await until(lambda: publisher.snapshots)

    for count in range(2, 30):
        publisher.hear({"a": instances(count)})
        await asyncio.sleep(0)

    await until(lambda: len(ports(publisher.snapshots)) == 29)
    assert value(metrics, "weft_control_snapshots_total") in (2, 3)


async def test_an_inconsistent_snapshot_is_refused_and_the_one_before_is_served(
    publisher: Publisher, metrics: Metrics, caplog: pytest.LogCaptureFixture
) -> None:
    publisher.adopt(blueprint())
    publisher.hear({"a": instances(1)})
    await until(lambda: publisher.snapshots)
    good = publisher.snapshots

    publisher.adopt(blueprint("a", "nobody", services=("a",)))

    await until(lambda: value(metrics, "weft_control_refused_snapshots_total"))
    assert publisher.snapshots is good
    (record,) = (each for each in caplog.records if each.levelno == logging.ERROR)
    assert "Cluster 'nobody' names ClusterLoadAssignment 'nobody', which is not there" in str(vars(record)["problems"])


async def test_two_resources_of_one_name_are_refused_too(publisher: Publisher, metrics: Metrics) -> None:
    publisher.hear({})
    publisher.adopt(blueprint("a", "a"))

    await until(lambda: value(metrics, "weft_control_refused_snapshots_total"))
    assert publisher.snapshots is None


async def test_a_service_with_nobody_left_is_held_loudly_and_then_given_up(
    publisher: Publisher, metrics: Metrics, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    publisher.adopt(blueprint())
    publisher.hear({"a": instances(2)})
    await until(lambda: publisher.snapshots)

    publisher.hear({"a": ()})

    assert value(metrics, "weft_control_held_services") == 1
    assert ports(publisher.snapshots) == [1000, 1001]
    await until(lambda: not ports(publisher.snapshots))
    assert value(metrics, "weft_control_held_services") == 0
    assert [record.message for record in caplog.records] == [
        "the registry names no instance any more, keeping the last ones",
        "no instance came back, the service has none now",
    ]


async def test_the_served_versions_are_visible_and_only_those(publisher: Publisher, metrics: Metrics) -> None:
    publisher.adopt(blueprint())
    for count in (1, 2):
        publisher.hear({"a": instances(count)})
        await until(partial(has, publisher, count))

    shown = {
        sample.labels["version"]
        for metric in metrics.registry.collect()
        for sample in metric.samples
        if sample.name == "weft_control_snapshot_info" and sample.labels["type"] == "ClusterLoadAssignment"
    }
    assert publisher.snapshots is not None
    assert shown == {publisher.snapshots[DataPlane.ENVOY].versions[ENDPOINT]}
