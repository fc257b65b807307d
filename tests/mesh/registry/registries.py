"""The two registries the tests of this folder run against, as things to start and stop."""

from __future__ import annotations

import asyncio
import random
import socket
import subprocess
from collections.abc import Awaitable, Callable, Iterable
from contextlib import AsyncExitStack, ExitStack, suppress
from pathlib import Path
from typing import Any, Literal, Protocol

import aiohttp
import pytest

from weft.registry import Check, Consul, Instance
from weft.registry.agent import Agent

NewInstance = Callable[..., Instance]
Condition = Callable[[], Awaitable[object]]
Eventually = Callable[[Condition], Awaitable[None]]
CheckOf = Callable[[], Awaitable[dict[str, str]]]

START_S = 20.0


class Registry(Protocol):
    """A registry that can be stopped and started again, empty, at the same address."""

    kind: str
    url: str

    async def start(self) -> None: ...
    async def stop(self) -> None: ...

    async def settled(self) -> None:
        """Wait until what was told to the agent is in the catalog; at once if the registry is away."""


class EmbeddedRegistry:
    kind = "embedded"

    def __init__(self) -> None:
        (port,) = free_ports(1)
        self._port = port
        self.url = f"http://127.0.0.1:{port}"
        self._stack = AsyncExitStack()

    async def start(self) -> None:
        await self._stack.enter_async_context(Agent(port=self._port))

    async def stop(self) -> None:
        await self._stack.aclose()

    async def settled(self) -> None:
        return  # agent and catalog are one


class ConsulRegistry:
    kind = "consul"

    def __init__(self, binary: Path, folder: Path, *, config: Path | None = None, token: str = "") -> None:
        self._binary = binary
        self._log = folder / "consul.log"
        self._config = config
        self._headers = {"X-Consul-Token": token}
        self._process: subprocess.Popen[bytes] | None = None
        self._choose_ports()

    def _choose_ports(self) -> None:
        self._http, self._server, self._lan, self._wan = free_ports(4)
        self.url = f"http://127.0.0.1:{self._http}"

    async def start(self) -> None:
        ports = (
            f"-http-port={self._http} -server-port={self._server} -serf-lan-port={self._lan} -serf-wan-port={self._wan}"
        )
        command = [
            str(self._binary),
            "agent",
            "-dev",
            "-bind=127.0.0.1",
            "-dns-port=-1",
            "-grpc-port=-1",
            *ports.split(),
        ]
        if self._config is not None:
            command.append(f"-config-file={self._config}")
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)  # noqa: ASYNC220
        try:
            async with asyncio.timeout(START_S), aiohttp.ClientSession(self.url, headers=self._headers) as session:
                while not await self._ready(session):
                    if self._process.poll() is not None:
                        pytest.fail(f"consul ended at once:\n{self._log.read_text()[-2000:]}")
                    await asyncio.sleep(0.02)
        except BaseException:
            await self.stop()
            raise

    async def _ready(self, session: aiohttp.ClientSession) -> bool:
        """Tell whether the node is in the catalog with its metadata, which is the last thing to happen at the start."""
        try:
            async with session.get("/v1/health/service/consul?passing=1") as response:
                return response.ok and any(entry["Node"]["Meta"] for entry in await response.json())
        except aiohttp.ClientError:
            return False

    async def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    async def settled(self) -> None:
        with suppress(aiohttp.ClientError):
            async with asyncio.timeout(START_S), aiohttp.ClientSession(self.url, raise_for_status=True) as session:
                node = (await read(session, "/v1/agent/self"))["Config"]["NodeName"]
                while await told(session) != await listed(session, node):
                    await asyncio.sleep(0.01)


async def read(session: aiohttp.ClientSession, path: str) -> Any:
    async with session.get(path) as response:
        return await response.json()


async def told(session: aiohttp.ClientSession) -> tuple[Any, Any]:
    """Return what the agent has been told: its services, and the status of its checks."""
    services = await read(session, "/v1/agent/services")
    checks = await read(session, "/v1/agent/checks")
    return {key: described(each) for key, each in services.items()}, {key: checks[key]["Status"] for key in checks}


async def listed(session: aiohttp.ClientSession, node: str) -> tuple[Any, Any]:
    """Return the same, as the catalog has it."""
    services = (await read(session, f"/v1/catalog/node/{node}"))["Services"]
    checks = {check["CheckID"]: check["Status"] for check in await read(session, f"/v1/health/node/{node}")}
    del services["consul"], checks["serfHealth"]
    return {key: described(each) for key, each in services.items()}, checks


def described(service: dict[str, Any]) -> tuple[object, ...]:
    return *(service[field] for field in ("Service", "Address", "Port", "Tags", "Weights")), service["Meta"] or {}


class SettledConsul(Consul):
    """A client whose writes are in the catalog when they return.

    Consul's agent tells its servers a moment after it has answered. Those who use the mesh need not care, but a test
    that reads back what it wrote does.
    """

    def __init__(self, registry: Registry) -> None:
        super().__init__(registry.url)
        self._registry = registry

    async def register(self, instance: Instance, checks: Iterable[Check] = ()) -> None:
        await super().register(instance, checks)
        await self._registry.settled()

    async def deregister(self, instance_id: str) -> None:
        await super().deregister(instance_id)
        await self._registry.settled()

    async def report(self, check_id: str, status: Literal["pass", "warn", "fail"], *, note: str = "") -> None:
        await super().report(check_id, status, note=note)
        await self._registry.settled()


def free_ports(count: int) -> list[int]:
    """Return *count* ports that nobody uses, neither for TCP nor for UDP.

    They lie below those the kernel gives to whoever asks for port 0 or connects: a stopped registry's port must still
    be free when it starts again, however many clients have tried to reach it meanwhile.
    """
    with ExitStack() as stack:
        ports: list[int] = []
        while len(ports) < count:
            port = random.randrange(20_000, 32_000)
            try:
                for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
                    stack.enter_context(socket.socket(type=kind)).bind(("127.0.0.1", port))
            except OSError:
                continue
            ports.append(port)
        return ports
