"""What a caller is told when the gateway refuses: one shape over REST, a status over gRPC and gRPC-Web."""

from __future__ import annotations

import struct
from typing import Any

import grpc
import pytest
from grpc import aio

from tests.mesh.gateway.edge import Backend, Context, Gateway, Library, StartGateway, Tokens, grpc_web, raw_http

PATH = "/example.library.v1.LibraryService/"


async def test_grpc_web_answers_have_the_message_and_the_status(
    gateway: Gateway, backend: Backend, library: Library
) -> None:
    async def get(request: Any, _: Context) -> Any:
        return library.Shelf(shelf_id=request.shelf_id)

    backend.on("GetShelf", get)

    answer = await grpc_web(gateway, PATH + "GetShelf", library.GetShelfRequest(shelf_id="s1"))

    message = library.Shelf(shelf_id="s1").SerializeToString()
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "application/grpc-web+proto"
    assert answer.body.startswith(b"\0" + struct.pack(">I", len(message)) + message)
    assert b"grpc-status:0\r\n" in answer.body


async def test_a_service_that_is_down_is_unavailable_in_every_protocol(
    start_gateway: StartGateway, backend: Backend, library: Library, unused_port: int
) -> None:
    gateway = await start_gateway(backend, hosts={"library": [unused_port]})

    rest = await gateway.rest("GET", "/v1/shelves")
    web = await grpc_web(gateway, PATH + "ListShelves", library.ListShelvesRequest())
    with pytest.raises(aio.AioRpcError) as refused:
        await gateway.call("ListShelves")(library.ListShelvesRequest(), timeout=5)

    assert (rest.status, rest.json) == (503, {"code": 14, "message": "the service is unavailable", "details": []})
    assert (web.headers["grpc-status"], web.headers["grpc-message"]) == ("14", "the service is unavailable")
    assert (refused.value.code(), refused.value.details()) == (
        grpc.StatusCode.UNAVAILABLE,
        "the service is unavailable",
    )


async def test_grpc_messages_are_sentences_and_not_json(gateway: Gateway, library: Library, tokens: Tokens) -> None:
    bad, good = (("authorization", "Bearer not.a.token"),), tuple(tokens.header().items())
    create = gateway.call("CreateShelf")

    said = []
    for metadata, request in (
        ((), library.CreateShelfRequest()),
        (bad, library.CreateShelfRequest()),
        (good, library.CreateShelfRequest(request_id="x" * 1_100_000)),
    ):
        with pytest.raises(aio.AioRpcError) as refused:
            await create(request, metadata=metadata, timeout=5)
        said.append((refused.value.code(), refused.value.details()))

    assert said == [
        (grpc.StatusCode.UNAUTHENTICATED, "Jwt is missing"),
        (grpc.StatusCode.UNAUTHENTICATED, "Jwt header is an invalid JSON"),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "the request is too large"),
    ]


@pytest.mark.parametrize(
    "request_text",
    [
        "GET /v1/shelves HTTP/1.1\r\n\r\n",
        "GET /v1/shelves/%00 HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n",
        "NONSENSE\r\n\r\n",
    ],
)
async def test_what_is_hardly_http_is_refused_in_the_same_shape(gateway: Gateway, request_text: str) -> None:
    text = await raw_http(gateway, request_text)

    head, _, body = text.partition("\r\n\r\n")
    assert head.startswith("HTTP/1.1 400")
    assert "content-type: application/json" in head
    assert body.strip() == '{"code":3,"details":[],"message":"malformed request"}'


async def test_headers_that_are_too_large_are_refused_in_the_same_shape(gateway: Gateway) -> None:
    text = await raw_http(gateway, f"GET /v1/shelves HTTP/1.1\r\nhost: x\r\nx-large: {'x' * 70_000}\r\n\r\n")

    assert text.startswith("HTTP/1.1 431")
    assert text.endswith('{"code":3,"details":[],"message":"the request\'s headers are too large"}\n')
