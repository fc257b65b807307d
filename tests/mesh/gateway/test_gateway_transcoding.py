"""REST in, gRPC out: the traps of Envoy's transcoder."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from google.protobuf.any_pb2 import Any as AnyProto
from google.rpc import error_details_pb2, status_pb2
from grpc import aio
from grpc_status import rpc_status

from tests.mesh.gateway.edge import Backend, Context, Gateway, Library, Tokens, raw_http


async def test_an_answer_has_every_field_in_json_names_with_enums_as_words_and_long_integers_as_text(
    gateway: Gateway, backend: Backend, library: Library
) -> None:
    async def get(request: Any, _: Context) -> Any:
        return library.Shelf(shelf_id=request.shelf_id, book_count=2**40, topic="TOPIC_FICTION")

    backend.on("GetShelf", get)

    answer = await gateway.rest("GET", "/v1/shelves/s1")

    assert answer.status == 200
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.json == {
        "shelfId": "s1",
        "displayName": "",
        "bookCount": "1099511627776",
        "open": False,
        "topic": "TOPIC_FICTION",
        "books": [],
        "labels": {},
    }


async def test_an_error_with_details_becomes_the_status_it_is_as_json(gateway: Gateway, backend: Backend) -> None:
    async def refuse(_: Any, context: Context) -> None:
        detail = AnyProto()
        detail.Pack(
            error_details_pb2.ErrorInfo(reason="SHELF_NOT_FOUND", domain="library", metadata={"shelf_id": "s1"})
        )
        status = status_pb2.Status(
            code=grpc.StatusCode.NOT_FOUND.value[0], message="no shelf: 100 % sure", details=[detail]
        )
        await context.abort_with_status(rpc_status.to_status(status))

    backend.on("GetShelf", refuse)

    answer = await gateway.rest("GET", "/v1/shelves/s1")

    assert answer.status == 404
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.json == {
        "code": 5,
        "message": "no shelf: 100 % sure",
        "details": [
            {
                "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                "reason": "SHELF_NOT_FOUND",
                "domain": "library",
                "metadata": {"shelf_id": "s1"},
            }
        ],
    }


async def test_an_error_without_details_has_the_same_shape(gateway: Gateway, backend: Backend) -> None:
    async def refuse(_: Any, context: Context) -> None:
        await context.abort(grpc.StatusCode.FAILED_PRECONDITION, "zu spät")

    backend.on("GetShelf", refuse)

    answer = await gateway.rest("GET", "/v1/shelves/s1")

    assert (answer.status, answer.json) == (400, {"code": 9, "message": "zu spät", "details": []})


async def test_rest_answers_carry_no_grpc_headers_and_grpc_answers_keep_them(
    gateway: Gateway, backend: Backend, library: Library
) -> None:
    async def get(request: Any, context: Context) -> Any:
        if request.shelf_id == "none":
            await context.abort(grpc.StatusCode.NOT_FOUND, "no shelf")
        return library.Shelf(shelf_id=request.shelf_id)

    backend.on("GetShelf", get)

    found = await gateway.rest("GET", "/v1/shelves/s1")
    missing = await gateway.rest("GET", "/v1/shelves/none")
    with pytest.raises(aio.AioRpcError) as refused:
        await gateway.call("GetShelf")(library.GetShelfRequest(shelf_id="none"), timeout=5)

    assert not {name for name in found.names | missing.names if name.startswith(("grpc-", "x-envoy-", "x-weft-"))}
    assert (refused.value.code(), refused.value.details()) == (grpc.StatusCode.NOT_FOUND, "no shelf")


@pytest.mark.parametrize(
    ("verb", "path"),
    [
        ("GET", "/v1/nothing"),
        ("POST", "/v1/shelves/s1"),
        ("PUT", "/v1/shelves"),
        ("POST", "/example.library.v1.LibraryService/GetShelf"),
    ],
)
async def test_a_path_or_verb_that_is_in_no_contract_is_not_found_and_reaches_no_service(
    gateway: Gateway, backend: Backend, verb: str, path: str
) -> None:
    answer = await gateway.rest(verb, path, json={} if verb != "GET" else None)

    assert (answer.status, answer.json) == (404, {"code": 5, "message": "no such method", "details": []})
    assert not backend.calls


async def test_an_unknown_query_parameter_is_refused(gateway: Gateway, backend: Backend) -> None:
    answer = await gateway.rest("GET", "/v1/shelves?pagesize=3")

    assert answer.status == 400
    assert answer.json["code"] == 3
    assert "pagesize" in answer.json["message"]
    assert not backend.calls


async def test_repeated_nested_and_enum_query_parameters_arrive(gateway: Gateway, backend: Backend) -> None:
    path = "/v1/shelves?names=a&names=b%20c&names=d+e%2Bf&place.floor=2&place.room=x&topic=TOPIC_SCIENCE&pageSize=3"

    answer = await gateway.rest("GET", path)

    assert answer.status == 200
    [request] = backend.requests
    assert list(request.names) == ["a", "b c", "d e+f"]
    assert (request.place.floor, request.place.room, request.topic, request.page_size) == (2, "x", 2, 3)


async def test_a_field_mask_is_a_query_parameter_beside_a_body(
    gateway: Gateway, backend: Backend, tokens: Tokens
) -> None:
    path = "/v1/shelves/s1?updateMask=displayName,place.floor"

    answer = await gateway.rest("PATCH", path, json={"displayName": "New"}, headers=tokens.header())

    assert answer.status == 200
    [request] = backend.requests
    assert (request.shelf_id, request.shelf.display_name) == ("s1", "New")
    assert list(request.update_mask.paths) == ["display_name", "place.floor"]


@pytest.mark.parametrize("body", ["{", '{"shelf": {"bookCount": "many"}}', '{"shelf": {"topic": "NO_SUCH"}}', "[]"])
async def test_a_body_that_does_not_fit_the_message_is_a_bad_request(
    gateway: Gateway, backend: Backend, tokens: Tokens, body: str
) -> None:
    answer = await gateway.rest("POST", "/v1/shelves", data=body, headers=tokens.header())

    assert answer.status == 400
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.json["code"] == 3
    assert answer.json["message"]
    assert not backend.calls


async def test_an_encoded_slash_stays_inside_its_segment(gateway: Gateway, backend: Backend) -> None:
    answer = await gateway.rest("GET", "/v1/shelves/a%2Fb")

    assert answer.status == 200
    assert backend.requests[0].shelf_id == "a/b"


async def test_dots_do_not_climb_out_of_a_path(gateway: Gateway, backend: Backend) -> None:
    plain = await gateway.rest("GET", "/v1/open/../shelves/s1")
    encoded = await gateway.rest("GET", "/v1/open/..%2Fshelves%2Fs1")

    assert plain.status == 200  # what it means, and what the rules are for
    assert backend.calls == {"GetShelf": 1}
    assert encoded.status == 401  # the other method's own rule


async def test_a_stream_is_one_json_object_a_line(gateway: Gateway, backend: Backend, library: Library) -> None:
    async def watch(_: Any, __: Context) -> AsyncIterator[Any]:
        yield library.Shelf(shelf_id="s1")
        yield library.Shelf(shelf_id="s2")

    backend.on("WatchShelf", watch)

    answer = await gateway.rest("GET", "/v1/shelves/s1:watch")

    assert [line["shelfId"] for line in answer.lines] == ["s1", "s2"]


async def test_a_stream_that_fails_midway_says_so_in_its_trailers(
    gateway: Gateway, backend: Backend, library: Library
) -> None:
    async def watch(_: Any, context: Context) -> AsyncIterator[Any]:
        yield library.Shelf(shelf_id="s1")
        await context.abort(grpc.StatusCode.INTERNAL, "broken")

    backend.on("WatchShelf", watch)

    text = await raw_http(gateway, "GET /v1/shelves/s1:watch HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")

    head, _, body = text.partition("\r\n\r\n")
    assert head.startswith("HTTP/1.1 200")
    assert body.endswith("\r\n0\r\ngrpc-status: 13\r\ngrpc-message: broken\r\n\r\n")


async def test_a_stream_that_fails_at_once_is_an_error_of_the_common_shape(gateway: Gateway, backend: Backend) -> None:
    async def watch(_: Any, context: Context) -> AsyncIterator[Any]:
        await context.abort(grpc.StatusCode.NOT_FOUND, "no shelf")
        yield

    backend.on("WatchShelf", watch)

    answer = await gateway.rest("GET", "/v1/shelves/s1:watch")

    assert (answer.status, answer.json) == (404, {"code": 5, "message": "no shelf", "details": []})


async def test_a_json_array_is_a_stream_of_requests(gateway: Gateway, backend: Backend, library: Library) -> None:
    async def take(requests: Any, _: Context) -> Any:
        return library.ImportBooksResponse(count=len([book async for book in requests]))

    backend.on("ImportBooks", take)

    answer = await gateway.rest("POST", "/v1/books:import", json=[{"title": "a"}, {"title": "b"}])

    assert (answer.status, answer.json) == (200, {"count": 2})


async def test_an_answer_of_several_megabytes_arrives_whole(
    gateway: Gateway, backend: Backend, library: Library
) -> None:
    async def get(_: Any, __: Context) -> Any:
        return library.Shelf(display_name="x" * 3_000_000)

    backend.on("GetShelf", get)

    answer = await gateway.rest("GET", "/v1/shelves/s1")

    assert (answer.status, len(answer.json["displayName"])) == (200, 3_000_000)
