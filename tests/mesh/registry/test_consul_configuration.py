"""The production configuration in consul/, read and enforced by a real Consul."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from string import Template

import pytest
from aiohttp import ClientSession

from tests.mesh.registry.registries import ConsulRegistry, Eventually, NewInstance, Registry
from weft.registry import Consul, RegistryRefused, TtlCheck

CONSUL = Path(__file__).parents[3] / "consul"
PASSING = TtlCheck(ttl_s=3600, initially_passing=True)
ROOT_TOKEN = "11111111-2222-3333-4444-555555555555"

TokenFor = Callable[..., Awaitable[str]]


@pytest.mark.parametrize("name", ["server.hcl", "agent.hcl"])
async def test_the_configuration_is_valid(consul_binary: Path, name: str) -> None:
    validate = await asyncio.create_subprocess_exec(
        consul_binary, "validate", CONSUL / name, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    output, _ = await validate.communicate()

    assert validate.returncode == 0, output.decode()


@pytest.fixture(name="closed_registry")
async def _closed_registry(consul_binary: Path, tmp_path: Path) -> AsyncIterator[Registry]:
    """A Consul that denies everything to whoever has no token."""
    config = tmp_path / "acl.hcl"
    tokens = f'master = "{ROOT_TOKEN}" agent = "{ROOT_TOKEN}"'
    config.write_text(f'acl {{ enabled = true default_policy = "deny" tokens {{ {tokens} }} }}')
    registry = ConsulRegistry(consul_binary, tmp_path, config=config, token=ROOT_TOKEN)
    await registry.start()
    yield registry
    await registry.stop()


@pytest.fixture(name="token_for")
async def _token_for(closed_registry: Registry) -> AsyncIterator[TokenFor]:
    """Make a token with one of the policies in consul/policies."""
    async with ClientSession(closed_registry.url, headers={"X-Consul-Token": ROOT_TOKEN}) as session:

        async def token_for(policy: str, **names: str) -> str:
            rules = Template((CONSUL / "policies" / policy).read_text()).substitute(names)
            name = "-".join([policy.removesuffix(".hcl"), *names.values()])
            async with session.put("/v1/acl/policy", json={"Name": name, "Rules": rules}) as response:
                response.raise_for_status()
            async with session.put("/v1/acl/token", json={"Policies": [{"Name": name}]}) as response:
                return str((await response.json())["SecretID"])

        yield token_for


async def test_a_service_registers_itself_and_nobody_else(
    closed_registry: Registry, token_for: TokenFor, new_instance: NewInstance
) -> None:
    mug, cup = new_instance(), new_instance(service="cups")
    async with (
        Consul(closed_registry.url, token=await token_for("service.hcl", service="mugs")) as mugs,
        Consul(closed_registry.url, token=await token_for("service.hcl", service="cups")) as cups,
    ):
        await mugs.register(mug, [PASSING])
        await cups.register(cup, [PASSING])

        for attempt in (mugs.register(new_instance(2, service="cups"), [PASSING]), mugs.deregister(cup.id)):
            with pytest.raises(RegistryRefused) as refused:
                await attempt
            assert refused.value.status == 403
        assert await mugs.agent_service(mug.id) is not None
        await mugs.deregister(mug.id)


async def test_the_control_plane_sees_everybody_and_changes_nothing(
    closed_registry: Registry, token_for: TokenFor, new_instance: NewInstance, eventually: Eventually
) -> None:
    mug = new_instance()
    async with (
        Consul(closed_registry.url, token=await token_for("service.hcl", service="mugs")) as mugs,
        Consul(closed_registry.url, token=await token_for("control-plane.hcl")) as control_plane,
    ):
        await mugs.register(mug, [PASSING])

        async def seen() -> bool:
            return (await control_plane.healthy("mugs")).value == (mug,)

        await eventually(seen)
        assert "mugs" in (await control_plane.services()).value
        for attempt in (control_plane.register(mug, [PASSING]), control_plane.deregister(mug.id)):
            with pytest.raises(RegistryRefused):
                await attempt


async def test_without_a_token_nothing_is_seen_and_nothing_is_changed(
    closed_registry: Registry, token_for: TokenFor, new_instance: NewInstance
) -> None:
    async with (
        Consul(closed_registry.url, token=await token_for("service.hcl", service="mugs")) as mugs,
        Consul(closed_registry.url) as anybody,
    ):
        await mugs.register(new_instance(), [PASSING])

        assert (await anybody.healthy("mugs")).value == ()  # Consul does not say that it left something out
        with pytest.raises(RegistryRefused):
            await anybody.register(new_instance(), [PASSING])


async def test_a_wrong_token_is_refused_with_the_reason(closed_registry: Registry) -> None:
    async with Consul(closed_registry.url, token="99999999-2222-3333-4444-555555555555") as stranger:
        with pytest.raises(RegistryRefused, match="ACL not found"):
            await stranger.healthy("mugs")


async def test_an_agents_token_may_write_its_own_node_only(closed_registry: Registry, token_for: TokenFor) -> None:
    async with ClientSession(closed_registry.url) as session:
        token = await token_for("agent.hcl", node="mine")

        for node, status in (("mine", 200), ("yours", 403)):
            body = {"Node": node, "Address": "127.0.0.1"}
            async with session.put("/v1/catalog/register", json=body, headers={"X-Consul-Token": token}) as response:
                assert (node, response.status) == (node, status)
