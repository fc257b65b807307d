"""A real Envoy in front of real gRPC servers, with a contract of its own."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from google.api import http_pb2
from grpc_tools import protoc

from tests.mesh.gateway.edge import (
    OPENAPI,
    Backend,
    Gateway,
    Library,
    StartBackend,
    StartGateway,
    Tokens,
    inlined,
    running_gateway,
)
from weft.gateway import GatewayConfig, docs, static

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="session", name="library")
def _library(tmp_path_factory: pytest.TempPathFactory) -> Library:
    image = tmp_path_factory.mktemp("contract") / "image.binpb"
    google, tools = Path(http_pb2.__file__).parents[2], Path(protoc.__file__).parent / "_proto"
    includes = [f"-I{folder}" for folder in (Path(__file__).parent, ROOT / "protos", google, tools)]
    arguments = ["protoc", *includes, f"--descriptor_set_out={image}", "--include_imports", "--include_source_info"]
    assert protoc.main([*arguments, "library.proto", "google/rpc/status.proto", "google/rpc/error_details.proto"]) == 0
    return Library(image)


@pytest.fixture(scope="session", name="tokens")
def _tokens() -> Tokens:
    return Tokens()


@pytest.fixture(name="start_backend")
async def _start_backend(library: Library) -> AsyncIterator[StartBackend]:
    async with AsyncExitStack() as stack:
        yield lambda: stack.enter_async_context(Backend(library))


@pytest.fixture(name="backend")
async def _backend(start_backend: StartBackend) -> Backend:
    return await start_backend()


@pytest.fixture(name="start_gateway")
async def _start_gateway(library: Library, tokens: Tokens, tmp_path: Path) -> AsyncIterator[StartGateway]:
    numbers = count()
    async with AsyncExitStack() as stack:

        async def start(
            *backends: Backend,
            hosts: Mapping[str, list[int]] | None = None,
            inline: bool = False,
            endpoints: Path | None = None,
            **settings: Any,
        ) -> Gateway:
            folder = tmp_path / f"gateway-{next(numbers)}"
            folder.mkdir()
            config = GatewayConfig(**({"port": 0} | settings))
            ports = {service.name: [backend.port for backend in backends] for service in library.contract.services}
            instances = {name: [("127.0.0.1", port) for port in of] for name, of in (ports | dict(hosts or {})).items()}
            if inline:
                form = inlined(library, config, instances, endpoints)
            else:
                (folder / "image.binpb").symlink_to(library.image)
                (folder / "jwks.json").write_text(tokens.jwks)
                (folder / "openapi.json").write_text(OPENAPI)
                (folder / "docs.html").write_text(docs.page())
                form = static(library.contract, config, hosts=instances, folder=str(folder), admin_port=0)
            (folder / "envoy.yaml").write_text(form)
            return await stack.enter_async_context(running_gateway(library, folder))

        yield start


@pytest.fixture(name="gateway")
async def _gateway(start_gateway: StartGateway, backend: Backend) -> Gateway:
    return await start_gateway(backend)


@pytest.fixture(name="unused_port")
def _unused_port() -> Iterator[int]:
    """A port that refuses connections: bound and not listening."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]
