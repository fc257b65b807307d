"""Following the catalog, on both registries."""

from __future__ import annotations

import asyncio

import pytest
from aiohttp import ClientSession

from tests.mesh.registry.registries import Eventually, NewInstance, Registry
from weft.registry import Catalog, CatalogWatch, Consul, Instance, TtlCheck, registered, watch_catalog

PASSING = TtlCheck(ttl_s=3600, initially_passing=True)
CRITICAL = TtlCheck(ttl_s=3600)


async def until(catalogs: CatalogWatch, services: dict[str, tuple[Instance, ...]]) -> None:
    """Read on until the catalog says *services*."""
    async with asyncio.timeout(20):
        async for catalog in catalogs:
            if catalog.services == services:
                return


def watching() -> list[str]:
    return sorted(task.get_name() for task in asyncio.all_tasks() if task.get_name().startswith("watch "))


async def test_the_first_catalog_is_complete(consul: Consul, new_instance: NewInstance) -> None:
    mugs = [new_instance(number) for number in (2, 1)]
    cup = new_instance(service="cups")
    for instance in (*mugs, cup):
        await consul.register(instance, [PASSING])
    await consul.register(new_instance(service="plates"), [CRITICAL])

    async with asyncio.timeout(10), watch_catalog(consul) as catalogs:
        first = await anext(catalogs)

    assert first == Catalog({"cups": (cup,), "mugs": (mugs[1], mugs[0]), "plates": ()})
    assert list(first.services) == ["cups", "mugs", "plates"]


async def test_an_empty_registry_is_an_empty_catalog(consul: Consul) -> None:
    async with asyncio.timeout(10), watch_catalog(consul) as catalogs:
        assert await anext(catalogs) == Catalog({})  # Consul's own service is not ours


async def test_a_catalog_cannot_be_changed(consul: Consul) -> None:
    async with asyncio.timeout(10), watch_catalog(consul) as catalogs:
        catalog = await anext(catalogs)

    with pytest.raises(TypeError):
        catalog.services["mugs"] = ()  # type: ignore[index]  # which is the point


async def test_an_instance_is_seen_joining_and_leaving_down_to_the_last_one(
    consul: Consul, new_instance: NewInstance
) -> None:
    one, two = new_instance(1), new_instance(2)
    async with watch_catalog(consul) as catalogs:
        await until(catalogs, {})

        await consul.register(one, [PASSING])
        await until(catalogs, {"mugs": (one,)})
        await consul.register(two, [PASSING])
        await until(catalogs, {"mugs": (one, two)})
        await consul.deregister(one.id)
        await until(catalogs, {"mugs": (two,)})
        await consul.deregister(two.id)

        await until(catalogs, {"mugs": ()})

        await consul.register(one, [PASSING])
        await until(catalogs, {"mugs": (one,)})


async def test_an_instance_is_seen_turning_unhealthy_and_healthy_again(
    consul: Consul, new_instance: NewInstance
) -> None:
    mug = new_instance()
    await consul.register(mug, [PASSING])
    async with watch_catalog(consul) as catalogs:
        await until(catalogs, {"mugs": (mug,)})

        await consul.report(f"service:{mug.id}", "fail")
        await until(catalogs, {"mugs": ()})

        await consul.report(f"service:{mug.id}", "pass")
        await until(catalogs, {"mugs": (mug,)})


async def test_a_change_of_metadata_or_weight_is_a_change(consul: Consul, new_instance: NewInstance) -> None:
    changed = new_instance(metadata={"version": "2"}, weight=7)
    await consul.register(new_instance(), [PASSING])
    async with watch_catalog(consul) as catalogs:
        await until(catalogs, {"mugs": (new_instance(),)})

        await consul.register(changed, [PASSING])

        await until(catalogs, {"mugs": (changed,)})


async def test_changes_nobody_asked_for_are_coalesced_and_noise_is_left_out(
    consul: Consul, raw: ClientSession, new_instance: NewInstance
) -> None:
    await consul.register(new_instance(1), [PASSING])
    async with asyncio.timeout(20), watch_catalog(consul) as catalogs:
        await anext(catalogs)

        # A tag wakes every watch of the service, but is no change to us.
        body = {"ID": "mugs-1", "Name": "mugs", "Address": "127.0.0.1", "Port": 4001, "Tags": ["blue"]}
        (await raw.put("/v1/agent/service/register", json=body)).raise_for_status()
        for number in range(2, 12):
            await consul.register(new_instance(number), [PASSING])
        everybody = tuple(sorted((new_instance(number) for number in range(1, 12)), key=lambda mug: mug.id))

        seen = [await anext(catalogs)]
        while seen[-1].services["mugs"] != everybody:
            seen.append(await anext(catalogs))

    sizes = [len(catalog.services["mugs"]) for catalog in seen]
    assert sizes == sorted(set(sizes)), "every catalog differs from the one before"
    assert sizes[0] > 1, "the tag alone is not a change"


async def test_the_last_good_catalog_stays_while_the_registry_is_away_and_its_age_is_told(
    registry: Registry, consul: Consul, new_instance: NewInstance, eventually: Eventually
) -> None:
    mug = new_instance()
    await consul.register(mug, [PASSING])
    async with asyncio.timeout(30), watch_catalog(consul) as catalogs:
        await until(catalogs, {"mugs": (mug,)})
        following = asyncio.create_task(anext(catalogs))
        before = asyncio.get_running_loop().time()

        await registry.stop()

        def ages() -> list[float]:
            return [] if catalogs.stale_since is None else [catalogs.stale_since]

        async def stale() -> bool:
            return bool(ages())

        await eventually(stale)
        assert ages() >= [before]
        assert not following.done(), "nothing is said about what is not known"

        await registry.start()

        assert (await following).services == {"mugs": ()}, "a registry that forgot says so, and that is heard"

        async def fresh() -> bool:
            return not ages()

        await eventually(fresh)


async def test_after_an_empty_restart_instances_and_catalog_converge(
    registry: Registry, consul: Consul, new_instance: NewInstance, eventually: Eventually
) -> None:
    mug = new_instance()
    async with (
        watch_catalog(consul) as catalogs,
        registered(consul, mug, PASSING, interval_s=0.2),
    ):
        await until(catalogs, {"mugs": (mug,)})

        async def lost() -> bool:
            return catalogs.stale_since is not None

        await registry.stop()
        await eventually(lost)
        await registry.start()

        async def listed() -> bool:
            return (await consul.healthy("mugs")).value == (mug,)

        async def caught_up() -> bool:
            return catalogs.stale_since is None

        await eventually(listed)
        await eventually(caught_up)
        await consul.register(new_instance(service="cups"), [PASSING])
        await until(catalogs, {"cups": (new_instance(service="cups"),), "mugs": (mug,)})


async def test_a_watch_may_start_before_the_registry_does(stopped_registry: Registry) -> None:
    async with asyncio.timeout(30), Consul(stopped_registry.url) as consul, watch_catalog(consul) as catalogs:
        first = asyncio.create_task(anext(catalogs))
        await stopped_registry.start()

        assert (await first).services == {}


async def test_cancelling_the_reader_ends_everything_the_watch_runs(consul: Consul, new_instance: NewInstance) -> None:
    await consul.register(new_instance(), [PASSING])
    catalogs = watch_catalog(consul)
    await anext(catalogs)
    assert watching() == ["watch catalog", "watch mugs"]

    reading = asyncio.create_task(anext(catalogs))
    await consul.leader()
    reading.cancel()
    await asyncio.wait([reading])

    assert reading.cancelled()
    assert watching() == []
    with pytest.raises(StopAsyncIteration):
        await anext(catalogs)


async def test_closing_a_watch_ends_the_loop_of_its_reader(consul: Consul) -> None:
    catalogs = watch_catalog(consul)
    await anext(catalogs)

    async def read_on() -> int:
        return len([catalog async for catalog in catalogs])

    reading = asyncio.create_task(read_on())
    await consul.leader()

    await catalogs.aclose()

    assert await asyncio.wait_for(reading, 5) == 0
    assert watching() == []


async def test_more_services_than_can_be_watched_are_cut_off_loudly_and_nobody_is_pushed_out(
    consul: Consul, new_instance: NewInstance, eventually: Eventually, caplog: pytest.LogCaptureFixture
) -> None:
    mug, plate = new_instance(service="mugs"), new_instance(service="plates")
    for instance in (mug, plate):
        await consul.register(instance, [PASSING])

    async with asyncio.timeout(20), watch_catalog(consul, max_services=2) as catalogs:
        await until(catalogs, {"mugs": (mug,), "plates": (plate,)})
        await consul.register(new_instance(service="cups"), [PASSING])

        async def complained() -> bool:
            return "more services than can be watched, the last to come are left out" in caplog.messages

        await eventually(complained)
        await consul.deregister(mug.id)
        await until(catalogs, {"cups": (new_instance(service="cups"),), "mugs": (), "plates": (plate,)})
