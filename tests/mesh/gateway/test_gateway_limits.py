"""How much: per client, per method, per body, per service."""

from __future__ import annotations

import asyncio
import io
from typing import Any

import grpc
import pytest
from grpc import aio

from tests.mesh.gateway.edge import Backend, Context, Gateway, Library, StartGateway, eventually, grpc_web

LIMITED = {"code": 8, "message": "too many requests", "details": []}
MANY = 20
"""More calls than a limit of one a second lets through while a test lasts."""
PATH = "/example.library.v1.LibraryService/"


async def test_a_client_that_asks_for_too_much_is_told_when_to_come_back(
    start_gateway: StartGateway, backend: Backend, library: Library
) -> None:
    gateway = await start_gateway(backend, requests_per_s=1, burst=3)
    get = gateway.call("GetShelf")

    answers = await asyncio.gather(*(gateway.rest("GET", "/v1/nothing") for _ in range(MANY)))
    calls = [get(library.GetShelfRequest(), timeout=5) for _ in range(MANY)]
    ends = {(await call.code(), await call.details()) for call in calls}
    web = await asyncio.gather(*(grpc_web(gateway, PATH + "GetShelf", library.GetShelfRequest()) for _ in range(MANY)))

    assert [answer.status for answer in answers].count(404) >= 3
    refused = [answer for answer in answers if answer.status == 429]
    assert refused
    assert all(answer.json == LIMITED and int(answer.headers["Retry-After"]) >= 1 for answer in refused)
    assert (grpc.StatusCode.RESOURCE_EXHAUSTED, "too many requests") in ends
    assert (429, "8") in {(answer.status, answer.headers.get("grpc-status")) for answer in web}
    assert grpc.StatusCode.UNAVAILABLE not in {code for code, _ in ends}


async def test_clients_behind_a_trusted_proxy_are_counted_apart(start_gateway: StartGateway, backend: Backend) -> None:
    gateway = await start_gateway(backend, requests_per_s=1, burst=1, trusted_hops=1)
    one, other = {"x-forwarded-for": "198.51.100.1"}, {"x-forwarded-for": "198.51.100.1, 198.51.100.2"}

    of_one = await asyncio.gather(*(gateway.rest("GET", "/v1/shelves", headers=one) for _ in range(MANY)))
    of_other = await gateway.rest("GET", "/v1/shelves", headers=other)

    assert {answer.status for answer in of_one} == {200, 429}
    assert of_other.status == 200


async def test_a_client_cannot_talk_itself_out_of_its_limit(start_gateway: StartGateway, backend: Backend) -> None:
    gateway = await start_gateway(backend, requests_per_s=1, burst=1)

    answers = await asyncio.gather(
        *(gateway.rest("GET", "/v1/shelves", headers={"x-forwarded-for": f"198.51.100.{n}"}) for n in range(MANY))
    )

    assert {answer.status for answer in answers} == {200, 429}


async def test_a_limited_method_is_limited_alone_and_over_all_protocols_together(
    gateway: Gateway, backend: Backend, library: Library
) -> None:
    join = gateway.call("JoinLibrary")

    await join(library.JoinLibraryRequest(), timeout=5)
    await join(library.JoinLibraryRequest(), timeout=5)
    third = await gateway.rest("POST", "/v1/members", json={})
    fourth = await gateway.rest("POST", "/v1/members", json={})
    with pytest.raises(aio.AioRpcError) as refused:
        await join(library.JoinLibraryRequest(), timeout=5)
    other = await gateway.rest("GET", "/v1/shelves")

    assert (third.status, fourth.status, fourth.json, other.status) == (200, 429, LIMITED, 200)
    assert int(fourth.headers["Retry-After"]) >= 1
    assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert backend.calls["JoinLibrary"] == 3


@pytest.mark.parametrize("size", [2_100, 1_100_000])
async def test_a_body_over_the_services_limit_is_refused(gateway: Gateway, backend: Backend, size: int) -> None:
    body = io.BytesIO(b'{"title": "' + b"x" * size + b'"}')

    answer = await gateway.rest("POST", "/v1/archive/b1/books:store", data=body)

    assert (answer.status, answer.json) == (413, {"code": 8, "message": "the request is too large", "details": []})
    assert not backend.calls


async def test_a_body_within_the_limit_of_another_service_is_welcome_there(gateway: Gateway, backend: Backend) -> None:
    fits = await gateway.rest("POST", "/v1/members", json={"name": "x" * 500_000})
    too_large = await gateway.rest("POST", "/v1/members", data=io.BytesIO(b'{"name": "' + b"x" * 1_100_000 + b'"}'))

    assert (fits.status, too_large.status) == (200, 413)
    assert backend.calls == {"JoinLibrary": 1}


async def test_a_stream_of_requests_flows_however_long_it_is(
    gateway: Gateway, backend: Backend, library: Library
) -> None:
    first_came = asyncio.Event()

    async def take(requests: Any, _: Context) -> Any:
        count = 0
        async for _book in requests:
            count += 1
            first_came.set()
        return library.ImportBooksResponse(count=count)

    backend.on("ImportBooks", take)
    call = gateway.call("ImportBooks")()

    await call.write(library.Book(title="x" * 400_000))
    await asyncio.wait_for(first_came.wait(), 5)  # while the stream is still open
    for _ in range(3):
        await call.write(library.Book(title="x" * 400_000))
    await call.done_writing()

    assert (await call).count == 4


async def test_calls_over_a_services_limit_are_unavailable_at_once(
    gateway: Gateway, backend: Backend, library: Library
) -> None:
    let_go = asyncio.Event()

    async def store(_: Any, __: Context) -> Any:
        await let_go.wait()
        return library.Book()

    backend.on("StoreBook", store)
    running = asyncio.create_task(gateway.rest("POST", "/v1/archive/b1/books:store", json={}))

    async def one_is_under_way() -> None:
        assert backend.calls["StoreBook"] == 1

    await eventually(one_is_under_way)
    refused = await gateway.rest("POST", "/v1/archive/b1/books:store", json={})
    let_go.set()

    assert (refused.status, refused.json["code"]) == (503, 14)
    assert (await running).status == 200
    assert await gateway.stat("cluster.archive.upstream_rq_active_overflow") == 1
