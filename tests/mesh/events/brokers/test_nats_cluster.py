"""A cluster of three NATS servers keeps what it has confirmed when one of them is gone."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.mesh.events.brokers.parts import Topic, hear_until, until_back
from tests.mesh.events.conftest import ClusterNatsServer
from weft.cli.probes import free_ports
from weft.events.broker import open_broker


@pytest.fixture(name="cluster")
def _cluster() -> Iterator[list[ClusterNatsServer]]:
    routes = free_ports(3)
    with TemporaryDirectory(prefix="weft-nats-cluster-") as folder:
        servers = [ClusterNatsServer(Path(folder) / str(route), route, routes) for route in routes]
        for server in servers:
            server.start()
        yield servers
        for server in servers:
            server.kill()


async def test_what_is_confirmed_outlives_any_one_server(cluster: list[ClusterNatsServer], topic: Topic) -> None:
    hearing, numbers = topic.subscription(), list[int]()
    first, *others = [topic.event(number) for number in range(4)]
    async with open_broker(",".join(server.url for server in cluster), name="test") as broker:
        await until_back(lambda: broker.declare(hearing))
        await until_back(lambda: broker.publish(first))

        for server, event in zip(cluster, others, strict=True):
            await asyncio.to_thread(server.kill)
            await until_back(lambda event=event: broker.publish(event))  # type: ignore[misc]
            await asyncio.to_thread(server.start)

        async def hear() -> None:
            numbers[:] = await hear_until(broker, hearing, 3)

        await until_back(hear)

    assert numbers == [0, 1, 2, 3]
