"""Instances that come and go while calls are under way, as the control plane would tell of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.json_format import MessageToJson
from xds_api.envoy.service.discovery.v3.discovery_pb2 import DiscoveryResponse

from tests.mesh.gateway.edge import Backend, Context, Library, StartBackend, StartGateway, eventually
from weft.gateway import build_endpoints
from weft.gateway.messages import packed
from weft.registry import Instance

Announce = Callable[[Sequence[Backend]], None]


@pytest.fixture(name="endpoints")
def _endpoints(tmp_path: Path) -> Path:
    folder = tmp_path / "endpoints"
    folder.mkdir()
    return folder


@pytest.fixture(name="announce")
def _announce(endpoints: Path) -> Announce:
    def announce(backends: Sequence[Backend]) -> None:
        instances = [
            Instance(id=f"library-{backend.port}", service="library", address="127.0.0.1", port=backend.port)
            for backend in backends
        ]
        for name in ("library", "archive"):
            fresh = endpoints / "fresh"
            fresh.write_text(MessageToJson(DiscoveryResponse(resources=[packed(build_endpoints(name, instances))])))
            fresh.replace(endpoints / f"{name}.json")

    return announce


async def test_an_instance_that_leaves_finishes_its_calls_and_gets_no_more(
    start_gateway: StartGateway, start_backend: StartBackend, endpoints: Path, announce: Announce, library: Library
) -> None:
    let_go = asyncio.Event()

    async def slow(_: Any, __: Context) -> Any:
        await let_go.wait()
        return library.ListShelvesResponse(next_page_token="from the one that leaves")

    leaving, staying = await start_backend(), await start_backend()
    leaving.on("ListShelves", slow)
    announce([leaving])
    gateway = await start_gateway(inline=True, endpoints=endpoints)

    async def answered() -> None:
        assert (await gateway.rest("GET", "/v1/shelves/s1")).status == 200

    await eventually(answered)
    under_way = asyncio.create_task(gateway.rest("GET", "/v1/shelves"))

    async def arrived() -> None:
        assert leaving.calls["ListShelves"] == 1

    await eventually(arrived)
    announce([staying])

    async def replaced() -> None:
        await gateway.rest("GET", "/v1/shelves/s1")
        assert staying.calls["GetShelf"]

    await eventually(replaced)
    calls_before = leaving.calls["GetShelf"]
    answers = [await gateway.rest("GET", "/v1/shelves/s1") for _ in range(5)]
    let_go.set()

    assert [answer.status for answer in answers] == [200] * 5
    assert leaving.calls["GetShelf"] == calls_before
    assert (await under_way).json["nextPageToken"] == "from the one that leaves"


async def test_a_service_whose_last_instance_left_is_unavailable_until_one_comes(
    start_gateway: StartGateway, backend: Backend, endpoints: Path, announce: Announce
) -> None:
    announce([])
    gateway = await start_gateway(inline=True, endpoints=endpoints)

    nobody = await gateway.rest("GET", "/v1/shelves")
    announce([backend])

    async def answered() -> None:
        assert (await gateway.rest("GET", "/v1/shelves")).status == 200

    assert (nobody.status, nobody.json["code"]) == (503, 14)
    await eventually(answered)
