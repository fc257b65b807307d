"""Keeping an instance registered, on both registries."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from tests.mesh.registry.registries import Condition, Eventually, NewInstance, Registry
from weft.registry import Consul, TtlCheck, registered

PASSING = TtlCheck(ttl_s=3600, initially_passing=True)


@pytest.fixture(name="listed")
def _listed(consul: Consul, new_instance: NewInstance) -> Condition:
    async def listed() -> bool:
        return (await consul.healthy("mugs")).value == (new_instance(),)

    return listed


async def test_an_instance_is_registered_while_the_block_runs_and_not_after(
    consul: Consul, new_instance: NewInstance, listed: Condition
) -> None:
    async with registered(consul, new_instance(), PASSING) as registration:
        await asyncio.wait_for(registration.first(), 10)
        assert registration.happened
        assert await listed()

    assert (await consul.healthy("mugs")).value == ()


async def test_an_instance_starts_before_its_registry_does(
    stopped_registry: Registry, new_instance: NewInstance, eventually: Eventually
) -> None:
    async with (
        Consul(stopped_registry.url) as consul,
        registered(consul, new_instance(), PASSING, interval_s=0.1) as registration,
    ):

        async def refused() -> bool:
            return registration.last_error is not None

        await eventually(refused)
        assert not registration.happened

        await stopped_registry.start()

        async def listed() -> bool:
            return (await consul.healthy("mugs")).value == (new_instance(),)

        await asyncio.wait_for(registration.first(), 20)
        await eventually(listed)


async def test_an_instance_comes_back_after_its_registry_was_restarted_empty(
    registry: Registry, consul: Consul, new_instance: NewInstance, listed: Condition, eventually: Eventually
) -> None:
    async with registered(consul, new_instance(), PASSING, interval_s=0.2) as registration:
        await registration.first()
        await eventually(listed)

        await registry.stop()
        await registry.start()

        await eventually(listed)


async def test_an_instance_that_somebody_else_deregistered_comes_back(
    consul: Consul, new_instance: NewInstance, listed: Condition, eventually: Eventually
) -> None:
    async with registered(consul, new_instance(), PASSING, interval_s=0.1) as registration:
        await registration.first()

        await consul.deregister(new_instance().id)

        await eventually(listed)


@pytest.mark.parametrize("change", [{"metadata": {"version": "0"}}, {"port": 5000}, {"weight": 9}])
async def test_an_instance_that_is_known_differently_is_put_right(
    consul: Consul, new_instance: NewInstance, listed: Condition, eventually: Eventually, change: dict[str, Any]
) -> None:
    async with registered(consul, new_instance(), PASSING, interval_s=0.1) as registration:
        await registration.first()

        await consul.register(new_instance(**change), [PASSING])

        await eventually(listed)


async def test_what_an_earlier_run_left_behind_is_replaced_with_its_checks(
    consul: Consul, new_instance: NewInstance, listed: Condition
) -> None:
    await consul.register(new_instance(), [TtlCheck(ttl_s=3600), TtlCheck(ttl_s=3600)])

    async with registered(consul, new_instance(), PASSING) as registration:
        await registration.first()
        await consul.report(f"service:{new_instance().id}", "pass")

        assert await listed()


async def test_an_id_taken_over_by_another_process_is_left_alone(consul: Consul, new_instance: NewInstance) -> None:
    successor = new_instance(port=5000)
    async with registered(consul, new_instance(), PASSING, interval_s=3600) as registration:
        await registration.first()

        await consul.register(successor, [PASSING])

    assert (await consul.healthy("mugs")).value == (successor,)


async def test_a_failing_block_still_deregisters(consul: Consul, new_instance: NewInstance) -> None:
    async def serve() -> None:
        async with registered(consul, new_instance(), PASSING) as registration:
            await registration.first()
            raise RuntimeError("spilt")

    with pytest.raises(RuntimeError, match="spilt"):
        await serve()

    assert await consul.agent_service(new_instance().id) is None


async def test_a_cancelled_block_still_deregisters(consul: Consul, new_instance: NewInstance) -> None:
    entered = asyncio.Event()

    async def serve() -> None:
        async with registered(consul, new_instance(), PASSING) as registration:
            await registration.first()
            entered.set()
            await asyncio.Event().wait()

    serving = asyncio.create_task(serve())
    await entered.wait()
    serving.cancel()
    await asyncio.wait([serving])

    assert serving.cancelled()
    assert await consul.agent_service(new_instance().id) is None


async def test_a_registry_that_is_gone_does_not_keep_the_process_from_ending(
    registry: Registry, consul: Consul, new_instance: NewInstance, caplog: pytest.LogCaptureFixture
) -> None:
    async with asyncio.timeout(10):
        async with registered(consul, new_instance(), PASSING) as registration:
            await registration.first()
            await registry.stop()

    assert ("weft.registry.registration", logging.WARNING, "instance left registered") in caplog.record_tuples


async def test_a_registry_that_never_answers_does_not_keep_the_process_from_ending(
    new_instance: NewInstance, caplog: pytest.LogCaptureFixture
) -> None:
    before = asyncio.all_tasks()
    held: asyncio.Queue[asyncio.StreamWriter] = asyncio.Queue()
    silent = await asyncio.start_server(lambda _, writer: held.put_nowait(writer), "127.0.0.1", 0)
    host, port = silent.sockets[0].getsockname()

    async with asyncio.timeout(10), Consul(f"http://{host}:{port}", timeout_s=60) as consul:
        async with registered(consul, new_instance(), PASSING, deregister_timeout_s=0.1):
            writer = await held.get()  # the registration is under way
        assert asyncio.all_tasks() == before

    assert "instance left registered" in caplog.messages
    writer.close()
    silent.close()
    await silent.wait_closed()
