from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TypeAlias

import grpc
import pytest

from tests.mesh.control import harness
from tests.mesh.control.harness import Backend
from weft.control import ControlPlane, Settings, control_plane
from weft.registry import Consul
from weft.registry.agent import Agent

StartBackend: TypeAlias = Callable[..., Awaitable[Backend]]
OpenChannel: TypeAlias = Callable[..., grpc.aio.Channel]


@pytest.fixture(name="agent")
async def _agent() -> AsyncIterator[Agent]:
    async with Agent() as agent:
        yield agent


@pytest.fixture(name="consul")
async def _consul(agent: Agent) -> AsyncIterator[Consul]:
    async with Consul(agent.url) as consul:
        yield consul


@pytest.fixture(name="image")
def _image(tmp_path: Path) -> Path:
    """Descriptors of a contract with one service, "parcel"; a test may write others in their place."""
    path = tmp_path / "image.binpb"
    path.write_bytes(harness.image("parcel"))
    return path


@pytest.fixture(name="settings")
def _settings(agent: Agent, image: Path) -> Settings:
    return Settings(
        listen="127.0.0.1:0",
        registry_url=agent.url,
        image=image,
        hold_s=0,
        gateway_port=0,
        gateway_requests_per_s=1_000_000,  # tests call as fast as they can
        gateway_burst=1_000_000,
    )


@pytest.fixture(name="control")
async def _control(settings: Settings) -> AsyncIterator[ControlPlane]:
    async with control_plane(settings) as control:
        yield control


@pytest.fixture(name="start_backend")
async def _start_backend(consul: Consul) -> AsyncIterator[StartBackend]:
    """Start an instance and register it; it is stopped when the test ends."""
    async with AsyncExitStack() as stack:

        async def start(name: str, **fields: object) -> Backend:
            backend = await stack.enter_async_context(Backend(name, **fields))  # type: ignore[arg-type]  # as the test says
            await harness.register(consul, backend)
            return backend

        yield start


@pytest.fixture(name="open_channel")
async def _open_channel() -> AsyncIterator[OpenChannel]:
    """Open an xDS channel; it is closed when the test ends."""
    async with AsyncExitStack() as stack:

        def open_channel(*ports: int, **options: str) -> grpc.aio.Channel:
            channel = harness.channel(*ports, **options)
            stack.push_async_callback(channel.close, None)
            return channel

        yield open_channel


@pytest.fixture(name="channel")
def _channel(control: ControlPlane, open_channel: OpenChannel) -> grpc.aio.Channel:
    return open_channel(control.port)
