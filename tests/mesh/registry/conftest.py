"""The registries every test of this folder runs against: the embedded agent, and Consul 1.8.7."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import aiohttp
import pytest

from tests.mesh.registry.registries import (
    ConsulRegistry,
    EmbeddedRegistry,
    Eventually,
    NewInstance,
    Registry,
    SettledConsul,
)
from weft.registry import Consul, Instance, RegistryError

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="session", name="consul_binary")
def _consul_binary() -> Path:
    found = shutil.which("consul") or shutil.which(ROOT / "build/consul/consul")
    if found is None:
        missing = "no consul on PATH and none at build/consul/consul: run scripts/lib/install-consul"
        if os.environ.get("CI") == "true":
            pytest.fail(missing)
        pytest.skip(missing)
    return Path(found)


@pytest.fixture(name="embedded_registry")
async def _embedded_registry() -> AsyncIterator[Registry]:
    registry = EmbeddedRegistry()
    await registry.start()
    yield registry
    await registry.stop()


@pytest.fixture(name="consul_registry")
async def _consul_registry(consul_binary: Path, tmp_path: Path) -> AsyncIterator[Registry]:
    registry = ConsulRegistry(consul_binary, tmp_path)
    await registry.start()
    yield registry
    await registry.stop()


@pytest.fixture(name="stopped_registry", params=["embedded", "consul"])
async def _stopped_registry(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Registry]:
    """A registry that has an address but does not run yet."""
    registry: Registry
    if request.param == "consul":
        registry = ConsulRegistry(request.getfixturevalue("consul_binary"), tmp_path)
    else:
        registry = EmbeddedRegistry()
    yield registry
    await registry.stop()


@pytest.fixture(name="registry")
async def _registry(stopped_registry: Registry) -> Registry:
    """A running registry with nothing in it."""
    await stopped_registry.start()
    return stopped_registry


@pytest.fixture(name="consul")
async def _consul(registry: Registry) -> AsyncIterator[Consul]:
    async with SettledConsul(registry) as consul:
        yield consul


@pytest.fixture(name="raw")
async def _raw(registry: Registry) -> AsyncIterator[aiohttp.ClientSession]:
    """Plain HTTP, for what the client has no words for."""
    async with aiohttp.ClientSession(registry.url) as session:
        yield session


@pytest.fixture(name="eventually")
def _eventually() -> Eventually:
    """Wait until a condition holds; a registry that does not answer counts as not yet."""

    async def eventually(condition: Callable[[], Awaitable[object]], *, within_s: float = 20.0) -> None:
        async with asyncio.timeout(within_s):
            while True:
                try:
                    if await condition():
                        return
                except RegistryError:
                    pass
                await asyncio.sleep(0.02)

    return eventually


@pytest.fixture(name="new_instance")
def _new_instance() -> NewInstance:
    def new_instance(number: int = 1, *, service: str = "mugs", **changes: object) -> Instance:
        values = {"id": f"{service}-{number}", "address": "127.0.0.1", "port": 4000 + number} | changes
        return Instance(service=service, **values)  # type: ignore[arg-type]  # the test says what it wants

    return new_instance
