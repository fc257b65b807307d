"""What the client reads and writes, on both registries."""

from __future__ import annotations

import asyncio
import time

import pytest
from aiohttp import ClientSession

from tests.mesh.registry.registries import NewInstance, Registry
from weft.registry import Consul, Instance, RegistryRefused, TtlCheck

PASSING = TtlCheck(ttl_s=60, initially_passing=True)
CRITICAL = TtlCheck(ttl_s=60)


async def value_of(consul: Consul, key: str) -> bytes | None:
    entry = (await consul.kv_get(key)).value
    return None if entry is None else entry.value


async def test_a_registered_instance_comes_back_as_it_was_given(consul: Consul, new_instance: NewInstance) -> None:
    mug = new_instance(metadata={"protocol": "grpc", "metrics_port": "9000", "version": "7"}, weight=3)

    await consul.register(mug, [PASSING])

    assert (await consul.healthy("mugs")).value == (mug,)
    assert "mugs" in (await consul.services()).value
    assert set(await consul.agent_services()) == {mug.id}


async def test_registering_twice_is_registering_once(consul: Consul, new_instance: NewInstance) -> None:
    mug = new_instance()
    await consul.register(mug, [PASSING])
    before = await consul.healthy("mugs")

    await consul.register(mug, [PASSING])

    assert await consul.healthy("mugs") == before


async def test_an_instance_without_a_passing_check_is_registered_but_not_healthy(
    consul: Consul, new_instance: NewInstance
) -> None:
    await consul.register(new_instance(), [CRITICAL])

    assert (await consul.healthy("mugs")).value == ()
    assert "mugs" in (await consul.services()).value


async def test_all_checks_of_an_instance_must_pass(consul: Consul, new_instance: NewInstance) -> None:
    mug = new_instance()
    await consul.register(mug, [PASSING, CRITICAL])
    before = (await consul.healthy("mugs")).value

    await consul.report(f"service:{mug.id}:2", "pass")

    assert before == ()
    assert (await consul.healthy("mugs")).value == (mug,)


async def test_a_new_registration_replaces_the_checks_of_the_old_one(consul: Consul, new_instance: NewInstance) -> None:
    mug = new_instance()
    await consul.register(mug, [PASSING, CRITICAL])

    await consul.register(mug, [PASSING])

    assert (await consul.healthy("mugs")).value == (mug,)


async def test_instances_come_sorted_by_id(consul: Consul, new_instance: NewInstance) -> None:
    for number in (3, 1, 2):
        await consul.register(new_instance(number), [PASSING])

    assert [mug.id for mug in (await consul.healthy("mugs")).value] == ["mugs-1", "mugs-2", "mugs-3"]


async def test_a_deregistered_instance_is_gone_and_deregistering_it_again_is_fine(
    consul: Consul, new_instance: NewInstance
) -> None:
    mug = new_instance()
    await consul.register(mug, [PASSING])

    await consul.deregister(mug.id)
    await consul.deregister(mug.id)

    assert (await consul.healthy("mugs")).value == ()
    assert await consul.agent_service(mug.id) is None
    assert "mugs" not in (await consul.services()).value


async def test_an_instance_without_an_ip_address_or_port_is_not_offered(
    registry: Registry, consul: Consul, raw: ClientSession, new_instance: NewInstance
) -> None:
    mug = new_instance()
    await consul.register(mug, [PASSING])
    for broken in ({"Address": "mugs.internal", "Port": 4000}, {"Address": "127.0.0.1", "Port": 0}):
        body = {"ID": f"broken-{broken['Port']}", "Name": "mugs", **broken}
        (await raw.put("/v1/agent/service/register", json=body)).raise_for_status()
    await registry.settled()

    assert (await consul.healthy("mugs")).value == (mug,)


async def test_an_instance_without_an_address_has_that_of_its_node(
    registry: Registry, consul: Consul, raw: ClientSession
) -> None:
    (await raw.put("/v1/agent/service/register", json={"Name": "mugs", "Port": 4000})).raise_for_status()
    await registry.settled()

    (mug,) = (await consul.healthy("mugs")).value

    assert (mug.address, mug.port, mug.weight) == ("127.0.0.1", 4000, 1)


async def test_an_unknown_service_is_an_empty_answer_with_an_index(consul: Consul) -> None:
    answer = await consul.healthy("nobody")

    assert answer.value == ()
    assert answer.index > 0


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({"ID": "mugs-1"}, "Missing service name"),
        ({"Name": "mugs", "Address": "0.0.0.0"}, "Invalid service address"),
        ({"Name": "mugs", "Weights": {"Passing": 0}}, "Passing must be greater than 0"),
        ({"Name": "mugs", "Weights": {"Passing": 65536}}, "DNS Weight must be between 0 and 65535"),
        ({"Name": "mugs", "Meta": {"a b": "c"}}, "Key contains invalid characters"),
        ({"Name": "mugs", "Colour": "blue"}, 'unknown field "Colour"'),
        ({"Name": "mugs", "Port": "4000"}, "Request decode failed"),
        ({"Name": "mugs", "Check": {"GRPC": "127.0.0.1:1"}}, "Interval must be > 0"),
        ({"Name": "mugs", "Check": {"TTL": "5s", "Interval": "5s"}}, "Interval and TTL cannot both be specified"),
        ({"Name": "mugs", "Check": {"Interval": "5s"}}, "TTL must be > 0 for TTL checks"),
        ({"Name": "mugs", "Check": {"TCP": "127.0.0.1:1", "Interval": "soon"}}, 'time: invalid duration "soon"'),
    ],
)
async def test_a_registration_that_makes_no_sense_is_refused_with_the_reason(
    raw: ClientSession, body: dict[str, object], reason: str
) -> None:
    async with raw.put("/v1/agent/service/register", json=body) as response:
        assert (response.status, reason in await response.text()) == (400, True)


async def test_the_client_hands_on_the_reason_of_a_refusal(consul: Consul, new_instance: NewInstance) -> None:
    with pytest.raises(RegistryRefused) as refused:
        await consul.register(new_instance(metadata={"not a key": "x"}), [])

    assert refused.value.status == 400
    assert "Key contains invalid characters" in refused.value.reason


@pytest.mark.parametrize("path", ["?index=x", "?index=-1", "?index=1&wait=x", "?index=1&wait=5", "?passing=perhaps"])
async def test_malformed_query_parameters_are_refused(raw: ClientSession, path: str) -> None:
    async with raw.get(f"/v1/health/service/mugs{path}") as response:
        assert response.status == 400


async def test_a_wrong_method_is_refused(raw: ClientSession) -> None:
    async with raw.post("/v1/agent/service/register") as response:
        assert response.status == 405
        assert await response.text() == "method POST not allowed"


async def test_a_blocking_query_waits_at_least_as_long_as_asked_when_nothing_happens(consul: Consul) -> None:
    before = await consul.healthy("nobody")
    started = time.monotonic()

    after = await consul.healthy("nobody", index=before.index, wait_s=0.5)

    assert time.monotonic() - started >= 0.5
    assert after == before


async def test_an_index_from_the_future_waits_and_then_tells_the_real_one(
    consul: Consul, new_instance: NewInstance
) -> None:
    await consul.register(new_instance(), [PASSING])
    real = await consul.healthy("mugs")
    started = time.monotonic()

    after = await consul.healthy("mugs", index=real.index + 1000, wait_s=0.5)

    assert time.monotonic() - started >= 0.5
    assert after == real


async def test_an_old_index_is_answered_at_once(consul: Consul, new_instance: NewInstance) -> None:
    await consul.register(new_instance(), [PASSING])
    current = await consul.healthy("mugs")

    async with asyncio.timeout(5):
        assert await consul.healthy("mugs", index=current.index - 1, wait_s=60) == current


async def test_a_blocking_query_returns_on_the_first_registration_of_an_unknown_service(
    consul: Consul, new_instance: NewInstance
) -> None:
    before = await consul.healthy("mugs")

    async def first() -> tuple[Instance, ...]:
        answer = before
        while not answer.value:  # it may return for other reasons
            answer = await consul.healthy("mugs", index=answer.index, wait_s=60)
        return answer.value

    waiting = asyncio.create_task(first())
    await consul.leader()

    await consul.register(new_instance(), [PASSING])

    async with asyncio.timeout(10):
        assert await waiting == (new_instance(),)


async def test_the_index_of_a_service_never_goes_back_when_its_last_instance_leaves(
    consul: Consul, new_instance: NewInstance
) -> None:
    mug = new_instance()
    await consul.register(mug, [PASSING])
    with_mug = await consul.healthy("mugs")

    await consul.deregister(mug.id)

    without = await consul.healthy("mugs", index=with_mug.index, wait_s=10)
    assert without.value == ()
    assert without.index > with_mug.index


async def test_a_key_holds_what_was_put(consul: Consul) -> None:
    assert (await consul.kv_get("weft/unknown")).value is None

    assert await consul.kv_put("weft/flags/a b", b"\x00\xff")

    assert await value_of(consul, "weft/flags/a b") == b"\x00\xff"


async def test_an_empty_value_is_a_value(consul: Consul) -> None:
    await consul.kv_put("weft/empty", b"")

    assert await value_of(consul, "weft/empty") == b""


async def test_compare_and_set_lets_only_one_of_two_writers_win(consul: Consul) -> None:
    assert await consul.kv_put("weft/leader", b"first", cas=0)
    seen = (await consul.kv_get("weft/leader")).index

    assert not await consul.kv_put("weft/leader", b"late", cas=0)
    assert await consul.kv_put("weft/leader", b"second", cas=seen)
    assert not await consul.kv_put("weft/leader", b"third", cas=seen)
    assert await value_of(consul, "weft/leader") == b"second"


async def test_a_deleted_key_is_gone_and_deleting_it_again_is_fine(consul: Consul) -> None:
    await consul.kv_put("weft/key", b"value")

    await consul.kv_delete("weft/key")
    await consul.kv_delete("weft/key")

    assert (await consul.kv_get("weft/key")).value is None


async def test_waiting_for_a_key_returns_when_it_is_put(consul: Consul) -> None:
    await consul.kv_put("weft/key", b"old")
    before = await consul.kv_get("weft/key")
    waiting = asyncio.create_task(consul.kv_get("weft/key", index=before.index, wait_s=60))
    await consul.leader()

    await consul.kv_put("weft/key", b"new")

    async with asyncio.timeout(10):
        await waiting
    assert await value_of(consul, "weft/key") == b"new"


async def test_putting_the_same_value_again_moves_nothing(consul: Consul) -> None:
    await consul.kv_put("weft/key", b"value")
    before = await consul.kv_get("weft/key")

    await consul.kv_put("weft/key", b"value")

    assert await consul.kv_get("weft/key") == before


async def test_a_value_may_have_512_kib_and_no_more(consul: Consul) -> None:
    assert await consul.kv_put("weft/big", bytes(512 * 1024))

    with pytest.raises(RegistryRefused) as refused:
        await consul.kv_put("weft/bigger", bytes(512 * 1024 + 1))

    assert refused.value.status == 413
    assert (await consul.kv_get("weft/bigger")).value is None


async def test_keys_are_listed_and_removed_by_prefix(raw: ClientSession) -> None:
    for key in ("weft/a", "weft/b", "other"):
        (await raw.put(f"/v1/kv/{key}", data=b"x")).raise_for_status()

    async with raw.get("/v1/kv/weft/?recurse") as response:
        listed = [entry["Key"] for entry in await response.json()]
    async with raw.delete("/v1/kv/weft/?recurse") as response:
        removed = await response.json()

    assert (listed, removed) == (["weft/a", "weft/b"], True)
    assert (await raw.get("/v1/kv/weft/?recurse")).status == 404
    assert await (await raw.get("/v1/kv/other?raw")).read() == b"x"


async def test_the_agent_tells_who_it_is_and_that_there_is_a_leader(consul: Consul) -> None:
    assert (await consul.agent_self())["Config"]["Datacenter"] == "dc1"
    assert ":" in await consul.leader()


async def test_reporting_on_a_check_without_a_ttl_fails_with_the_reason(raw: ClientSession) -> None:
    async with raw.put("/v1/agent/check/pass/service:nobody") as response:
        assert response.status == 500
        assert await response.text() == 'CheckID "service:nobody" does not have associated TTL'
