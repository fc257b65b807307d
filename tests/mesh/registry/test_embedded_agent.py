"""What is the embedded agent's own: the process, its limits, and what it does not pretend to be."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest
from aiohttp import ClientSession

from tests.mesh.registry.registries import Eventually, NewInstance
from weft.registry import Consul, GrpcCheck, HttpCheck, RegistryUnavailable, TcpCheck, TtlCheck
from weft.registry.agent import Agent

PASSING = TtlCheck(ttl_s=3600, initially_passing=True)


async def start(*arguments: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "weft.registry.agent", *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_the_process_serves_until_it_is_told_to_stop(number: signal.Signals, new_instance: NewInstance) -> None:
    process = await start("--port", "0")
    assert process.stdout is not None
    async with asyncio.timeout(20):
        line = (await process.stdout.readline()).decode()
    async with Consul(line.split()[-1]) as consul:
        await consul.register(new_instance(), [PASSING, GrpcCheck(target="127.0.0.1:1")])
        index = (await consul.services()).index
        waiting = asyncio.create_task(consul.services(index=index, wait_s=60))
        await consul.leader()

        process.send_signal(number)

        async with asyncio.timeout(10):
            output, errors = await process.communicate()
            with pytest.raises(RegistryUnavailable):
                await waiting
    assert (process.returncode, output, errors) == (0, b"", b"")


async def test_a_port_in_use_is_one_clear_line() -> None:
    async with Agent() as agent:
        process = await start("--port", str(agent.port))
        async with asyncio.timeout(20):
            _, errors = await process.communicate()

    assert process.returncode == 1
    assert len(errors.decode().splitlines()) == 1
    assert f"cannot listen on 127.0.0.1:{agent.port}" in errors.decode()
    assert "address already in use" in errors.decode()


@pytest.fixture(name="agent")
async def _agent() -> AsyncIterator[Agent]:
    async with Agent(max_blocked=1) as agent:
        yield agent


async def test_more_waiting_queries_than_allowed_are_sent_away(agent: Agent, eventually: Eventually) -> None:
    async with Consul(agent.url) as consul:
        index = (await consul.services()).index

        async def wait_on() -> None:
            while True:
                with suppress(RegistryUnavailable):  # another query may have been first
                    await consul.services(index=index, wait_s=60)

        waiting = asyncio.create_task(wait_on())

        async def sent_away() -> bool:
            try:
                await consul.services(index=index, wait_s=0.01)
            except RegistryUnavailable as error:
                return "too many concurrent connections" in str(error)
            return False

        await eventually(sent_away)
        assert (await consul.services()).value == frozenset(), "those who do not wait are served"
        waiting.cancel()

        async def served() -> bool:
            return (await consul.services(index=index, wait_s=0.01)).index == index

        await eventually(served)  # who hung up has freed the place


@pytest.mark.parametrize("query", ["filter=x", "tag=blue", "node-meta=a:b"])
async def test_a_query_it_cannot_narrow_is_refused_rather_than_answered_too_widely(agent: Agent, query: str) -> None:
    async with ClientSession(agent.url) as session, session.get(f"/v1/health/service/mugs?{query}") as response:
        assert (response.status, "not supported by the embedded agent" in await response.text()) == (400, True)


async def test_a_check_it_cannot_run_is_refused(agent: Agent) -> None:
    body = {"Name": "mugs", "Check": {"Args": ["true"], "Interval": "1s"}}
    async with (
        ClientSession(agent.url) as session,
        session.put("/v1/agent/service/register", json=body) as response,
    ):
        assert (response.status, "not supported by the embedded agent" in await response.text()) == (400, True)


@pytest.mark.parametrize(
    "check",
    [
        GrpcCheck(target="no target"),
        TcpCheck(target="127.0.0.1:99999"),
        TcpCheck(target="no port"),
        HttpCheck(url="no address"),
    ],
)
async def test_a_check_of_nonsense_is_critical_and_the_agent_lives(
    agent: Agent,
    new_instance: NewInstance,
    eventually: Eventually,
    check: GrpcCheck | TcpCheck | HttpCheck,
) -> None:
    async with Consul(agent.url) as consul, ClientSession(agent.url) as session:
        await consul.register(new_instance(), [check])

        async def probed() -> bool:
            async with session.get("/v1/health/service/mugs") as response:
                (entry,) = await response.json()
            return bool(entry["Checks"][1]["Output"])

        await eventually(probed)
        assert (await consul.healthy("mugs")).value == ()


async def test_a_registration_without_the_replacing_parameter_adds_checks(agent: Agent) -> None:
    async with ClientSession(agent.url) as session:
        for check_id in ("one", "two"):
            body = {"Name": "mugs", "Check": {"CheckID": check_id, "TTL": "60s"}}
            (await session.put("/v1/agent/service/register", json=body)).raise_for_status()

        async with session.get("/v1/health/service/mugs") as response:
            (entry,) = await response.json()

    assert [check["CheckID"] for check in entry["Checks"]] == ["serfHealth", "one", "two"]


async def test_two_agents_live_side_by_side_and_share_nothing(new_instance: NewInstance) -> None:
    async with Agent() as one, Agent() as other, Consul(one.url) as told, Consul(other.url) as untold:
        await told.register(new_instance(), [PASSING])

        assert (await told.healthy("mugs")).value == (new_instance(),)
        assert (await untold.healthy("mugs")).value == ()
