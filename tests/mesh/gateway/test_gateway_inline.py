"""The form that a control plane sends: descriptors, keys and pages inside the messages instead of in files."""

from __future__ import annotations

import grpc
import pytest
from grpc import aio

from tests.mesh.gateway.edge import OPENAPI, Backend, Library, StartGateway, Tokens
from weft.gateway import docs


async def test_it_serves_like_the_other(
    start_gateway: StartGateway, backend: Backend, library: Library, tokens: Tokens
) -> None:
    gateway = await start_gateway(backend, inline=True, jwks=tokens.jwks)

    rest = await gateway.rest("GET", "/v1/shelves/s1")
    await gateway.call("CreateShelf")(library.CreateShelfRequest(), metadata=tuple(tokens.header().items()), timeout=5)
    pages = [(await gateway.rest("GET", path)).body.decode() for path in ("/openapi.json", "/docs")]
    keys = await gateway.rest("GET", "/.well-known/jwks.json")

    assert rest.status == 200
    assert backend.calls == {"GetShelf": 1, "CreateShelf": 1}
    assert pages == [OPENAPI, docs.page()]
    assert keys.body.decode() == tokens.jwks


async def test_without_a_key_every_token_is_refused_and_public_methods_work(
    start_gateway: StartGateway, backend: Backend, tokens: Tokens
) -> None:
    gateway = await start_gateway(backend, inline=True)

    public = await gateway.rest("GET", "/v1/shelves/s1")
    guarded = await gateway.rest("POST", "/v1/shelves", json={}, headers=tokens.header())
    unsigned = await gateway.rest("POST", "/v1/shelves", json={})

    assert [answer.status for answer in (public, guarded, unsigned)] == [200, 401, 401]
    assert backend.calls == {"GetShelf": 1}


async def test_reflection_is_the_control_planes_and_needs_no_token(
    start_gateway: StartGateway, backend: Backend
) -> None:
    gateway = await start_gateway(backend, inline=True)
    method = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"

    with pytest.raises(aio.AioRpcError) as refused:
        await gateway.channel.stream_stream(method)(timeout=5).read()

    # There is no such cluster here: neither UNAUTHENTICATED nor UNIMPLEMENTED.
    assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
