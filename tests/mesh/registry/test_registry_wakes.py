"""Which event wakes whom, as measured on Consul 1.8.7; the embedded agent must do exactly the same."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from aiohttp import ClientSession

from tests.mesh.registry.registries import Registry

NAMES = "/v1/catalog/services"
INSTANCES = "/v1/catalog/service/mugs"
HEALTH = "/v1/health/service/mugs"
HEALTHY = "/v1/health/service/mugs?passing=1"
NOBODY = "/v1/health/service/nobody?passing=1"
KEY = "/v1/kv/weft/key"
PREFIX = "/v1/kv/weft/?recurse"
OTHER_PREFIX = "/v1/kv/other/?recurse"
MISSING_KEY = "/v1/kv/missing"
EVERYBODY = (NAMES, INSTANCES, HEALTH, HEALTHY, NOBODY, KEY, PREFIX, OTHER_PREFIX, MISSING_KEY)

WAIT = "600ms"


class Events:
    """Things that happen in a registry with `mugs-1` (passing) and `mugs-2` (critical), and two keys."""

    def __init__(self, raw: Any) -> None:
        self._raw = raw

    async def put(self, path: str, body: object = None, data: bytes | None = None) -> None:
        (await self._raw.put(path, json=body, data=data)).raise_for_status()

    async def register(self, number: int, *, service: str = "mugs", **changes: object) -> None:
        body = {"ID": f"{service}-{number}", "Name": service, "Address": "127.0.0.1", "Port": 4000 + number}
        check = {"TTL": "60s", "Status": "passing" if number == 1 else "critical"}
        await self.put("/v1/agent/service/register?replace-existing-checks=true", body | {"Check": check} | changes)

    async def deregister(self, instance_id: str) -> None:
        await self.put(f"/v1/agent/service/deregister/{instance_id}")

    async def given(self) -> None:
        await self.register(1)
        await self.register(2)
        await self.register(1, service="cups")
        await self.put("/v1/kv/weft/key", data=b"value")
        await self.put("/v1/kv/other/key", data=b"value")
        # Once a service has lost its last instance, unrelated changes no longer wake those who wait for an unknown one.
        await self.register(1, service="gone")
        await self.deregister("gone-1")

    async def an_instance_is_added(self) -> None:
        await self.register(3)

    async def an_instance_is_removed(self) -> None:
        await self.deregister("mugs-2")

    async def the_last_instance_is_removed(self) -> None:
        await self.deregister("mugs-2")
        await self.deregister("mugs-1")

    async def an_unknown_instance_is_removed(self) -> None:
        await self.deregister("mugs-9")

    async def metadata_changes(self) -> None:
        await self.register(1, Meta={"version": "2"})

    async def the_port_changes(self) -> None:
        await self.register(1, Port=5000)

    async def the_weight_changes(self) -> None:
        await self.register(1, Weights={"Passing": 5, "Warning": 1})

    async def a_tag_is_added(self) -> None:
        await self.register(1, Tags=["blue"])

    async def an_instance_turns_healthy(self) -> None:
        await self.put("/v1/agent/check/pass/service:mugs-2")

    async def an_instance_turns_unhealthy(self) -> None:
        await self.put("/v1/agent/check/fail/service:mugs-1")

    async def a_check_says_more_but_not_otherwise(self) -> None:
        await self.put("/v1/agent/check/pass/service:mugs-1?note=still+fine")

    async def an_identical_registration_comes(self) -> None:
        await self.register(1)

    async def the_ttl_of_a_check_changes(self) -> None:
        await self.register(1, Check={"TTL": "50s", "Status": "passing"})

    async def a_check_is_replaced_by_another(self) -> None:
        await self.register(1, Check={"TTL": "60s", "Status": "passing", "CheckID": "another"})

    async def a_check_is_dropped(self) -> None:
        await self.register(1, Check=None)

    async def another_service_grows(self) -> None:
        await self.register(2, service="cups")

    async def another_service_turns_unhealthy(self) -> None:
        await self.put("/v1/agent/check/fail/service:cups-1")

    async def another_service_disappears(self) -> None:
        await self.deregister("cups-1")

    async def the_awaited_service_appears(self) -> None:
        await self.register(1, service="nobody")

    async def the_key_changes(self) -> None:
        await self.put("/v1/kv/weft/key", data=b"another value")

    async def the_key_is_put_unchanged(self) -> None:
        await self.put("/v1/kv/weft/key", data=b"value")

    async def another_key_with_the_prefix_is_put(self) -> None:
        await self.put("/v1/kv/weft/another", data=b"value")

    async def an_unrelated_key_is_put(self) -> None:
        await self.put("/v1/kv/unrelated", data=b"value")

    async def the_key_is_deleted(self) -> None:
        (await self._raw.delete("/v1/kv/weft/key")).raise_for_status()


WAKES = [
    (Events.an_instance_is_added, {NAMES, INSTANCES, HEALTH, HEALTHY}),
    (Events.an_instance_is_removed, {NAMES, INSTANCES, HEALTH, HEALTHY}),
    (Events.the_last_instance_is_removed, {NAMES, INSTANCES, HEALTH, HEALTHY, NOBODY}),
    (Events.an_unknown_instance_is_removed, set()),
    (Events.metadata_changes, {NAMES, INSTANCES, HEALTH, HEALTHY}),
    (Events.the_port_changes, {NAMES, INSTANCES, HEALTH, HEALTHY}),
    (Events.the_weight_changes, {NAMES, INSTANCES, HEALTH, HEALTHY}),
    (Events.a_tag_is_added, {NAMES, INSTANCES, HEALTH, HEALTHY}),
    (Events.an_instance_turns_healthy, {HEALTH, HEALTHY}),
    (Events.an_instance_turns_unhealthy, {HEALTH, HEALTHY}),
    (Events.a_check_says_more_but_not_otherwise, set()),
    (Events.an_identical_registration_comes, set()),
    (Events.the_ttl_of_a_check_changes, set()),
    (Events.a_check_is_replaced_by_another, {HEALTH, HEALTHY}),
    (Events.a_check_is_dropped, {HEALTH, HEALTHY}),
    (Events.another_service_grows, {NAMES}),
    (Events.another_service_turns_unhealthy, set()),
    (Events.another_service_disappears, {NAMES, NOBODY}),
    (Events.the_awaited_service_appears, {NAMES, NOBODY}),
    (Events.the_key_changes, {KEY, PREFIX, MISSING_KEY}),
    (Events.the_key_is_put_unchanged, set()),
    (Events.another_key_with_the_prefix_is_put, {PREFIX, MISSING_KEY}),
    (Events.an_unrelated_key_is_put, {MISSING_KEY}),
    (Events.the_key_is_deleted, {KEY, PREFIX, MISSING_KEY}),
]


@pytest.mark.parametrize(("event", "woken"), WAKES, ids=[event.__name__ for event, _ in WAKES])
async def test_an_event_wakes_those_it_concerns_and_nobody_else(
    registry: Registry, raw: ClientSession, event: Callable[[Events], Awaitable[None]], woken: set[str]
) -> None:
    events = Events(raw)
    await events.given()
    await registry.settled()
    before = await asyncio.gather(*(index_of(raw, path) for path in EVERYBODY))
    waiting = [asyncio.create_task(index_of(raw, path, index)) for path, index in zip(EVERYBODY, before, strict=True)]
    await asyncio.sleep(0)  # lets the questions be sent, on the connections opened before
    for _ in range(2):  # after a round trip, what was sent before it has been read
        await index_of(raw, NAMES)

    await event(events)

    after = await asyncio.gather(*waiting)
    moved = {path for path, then, now in zip(EVERYBODY, before, after, strict=True) if now > then}
    assert moved == woken


async def index_of(raw: Any, path: str, known: int | None = None) -> int:
    params = {} if known is None else {"index": str(known), "wait": WAIT}
    async with raw.get(path, params=params) as response:
        return int(response.headers["X-Consul-Index"])
