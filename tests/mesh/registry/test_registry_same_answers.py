"""The embedded agent's answers next to Consul's, field by field, for the same registrations."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import ClientSession

# Each server counts and names for itself; what must agree is that the field is there, and its type.
OWN = {"CreateIndex", "ModifyIndex", "Node", "NodeID", "NodeName", "ContentHash"}

REGISTRATIONS = [
    {
        "ID": "mugs-1",
        "Name": "mugs",
        "Address": "127.0.0.1",
        "Port": 4001,
        "Tags": ["blue"],
        "Meta": {"protocol": "grpc"},
        "Weights": {"Passing": 3, "Warning": 2},
        "Checks": [
            {"TTL": "60s", "Status": "passing", "Notes": "a note"},
            {"TTL": "60s", "Name": "mine", "CheckID": "mine"},
        ],
    },
    {"ID": "mugs-2", "Name": "mugs", "Address": "::1", "Port": 4002, "Check": {"TTL": "60s", "Status": "passing"}},
    {"Name": "cups", "Port": 4003},
    {"Name": "plates", "Address": "plates.internal", "EnableTagOverride": False, "Check": {}},
]

PATHS = [
    "/v1/catalog/service/mugs",
    "/v1/catalog/service/cups",
    "/v1/catalog/service/plates",
    "/v1/catalog/service/nobody",
    "/v1/health/service/mugs",
    "/v1/health/service/mugs?passing=1",
    "/v1/health/service/cups",
    "/v1/health/service/plates?passing",
    "/v1/health/service/nobody",
    "/v1/agent/services",
    "/v1/agent/service/mugs-1",
    "/v1/agent/service/cups",
    "/v1/agent/service/nobody",
    "/v1/kv/weft/key",
    "/v1/kv/weft/key?raw",
    "/v1/kv/weft/empty",
    "/v1/kv/weft/?recurse",
    "/v1/kv/missing",
    "/v1/kv/",
    "/v1/health/service/",
    "/v1/nothing",
]


@pytest.fixture(name="both")
async def _both(embedded_registry: Any, consul_registry: Any) -> AsyncIterator[tuple[ClientSession, ClientSession]]:
    """The embedded agent and Consul, told the same."""
    async with (
        ClientSession(embedded_registry.url) as ours,
        ClientSession(consul_registry.url) as theirs,
    ):
        for session in (ours, theirs):
            for registration in REGISTRATIONS:
                (await session.put("/v1/agent/service/register", json=registration)).raise_for_status()
            (await session.put("/v1/kv/weft/key?flags=7", data=b"value")).raise_for_status()
            (await session.put("/v1/kv/weft/empty", data=b"")).raise_for_status()
        await consul_registry.settled()
        yield ours, theirs


async def answer(session: ClientSession, path: str) -> dict[str, Any]:
    async with session.get(path) as response:
        is_json = response.content_type == "application/json"
        body = comparable(await response.json()) if is_json else await response.text()
        headers = {name.lower() for name in response.headers if name.startswith("X-Consul")}
        return {"status": response.status, "body": body, "headers": headers - {"x-consul-effective-consistency"}}


def comparable(value: Any) -> Any:
    """Replace what is each server's own by its type."""
    if isinstance(value, dict):
        own = OWN | {"ID"} if "Datacenter" in value else OWN  # the id beside a data centre is the node's
        return {
            name: type(content).__name__ if name in own and not isinstance(content, dict) else comparable(content)
            for name, content in value.items()
        }
    if isinstance(value, list):
        return [comparable(content) for content in value]
    return value


@pytest.mark.parametrize("path", PATHS)
async def test_both_registries_answer_alike(both: tuple[ClientSession, ClientSession], path: str) -> None:
    ours, theirs = both

    assert await answer(ours, path) == await answer(theirs, path)


async def test_both_registries_list_the_same_services_but_for_consul_itself(
    both: tuple[ClientSession, ClientSession],
) -> None:
    ours, theirs = both

    (listed, expected) = [(await answer(session, "/v1/catalog/services"))["body"] for session in (ours, theirs)]

    assert listed == {name: tags for name, tags in expected.items() if name != "consul"}


async def test_both_agents_describe_themselves_alike(both: tuple[ClientSession, ClientSession]) -> None:
    ours, theirs = both

    own, expected = [(await answer(session, "/v1/agent/self"))["body"] for session in (ours, theirs)]

    assert own.keys() == expected.keys()
    assert own["Config"] | {"Revision": ""} == expected["Config"]
    assert own["Member"].keys() <= expected["Member"].keys()
