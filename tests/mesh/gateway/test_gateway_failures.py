"""Instances that fail: who is tried again, who isn't, and who is left out."""

from __future__ import annotations

from typing import Any

import grpc

from tests.mesh.gateway.edge import Backend, Context, Gateway, Library, StartBackend, StartGateway, Tokens, eventually


async def unavailable(_: Any, context: Context) -> None:
    await context.abort(grpc.StatusCode.UNAVAILABLE, "not now")


async def broken(_: Any, context: Context) -> None:
    await context.abort(grpc.StatusCode.INTERNAL, "a defect")


async def test_an_idempotent_method_is_tried_as_often_as_its_contract_says(gateway: Gateway, backend: Backend) -> None:
    backend.on("GetShelf", unavailable)

    answer = await gateway.rest("GET", "/v1/shelves/s1")

    assert (answer.status, answer.json) == (503, {"code": 14, "message": "not now", "details": []})
    assert backend.calls["GetShelf"] == 3


async def test_what_is_not_declared_idempotent_is_tried_once(
    gateway: Gateway, backend: Backend, library: Library, tokens: Tokens
) -> None:
    backend.on("CreateShelf", unavailable)

    rest = await gateway.rest("POST", "/v1/shelves", json={}, headers=tokens.header() | {"x-envoy-retry-on": "5xx"})
    call = gateway.call("CreateShelf")(library.CreateShelfRequest(), metadata=tuple(tokens.header().items()), timeout=5)

    assert rest.status == 503
    assert await call.code() is grpc.StatusCode.UNAVAILABLE
    assert backend.calls["CreateShelf"] == 2


async def test_only_unavailable_is_tried_again(gateway: Gateway, backend: Backend) -> None:
    backend.on("GetShelf", broken)

    answer = await gateway.rest("GET", "/v1/shelves/s1")

    assert answer.status == 500
    assert backend.calls["GetShelf"] == 1


async def test_a_retry_goes_to_another_instance(
    start_gateway: StartGateway, start_backend: StartBackend, library: Library
) -> None:
    async def fine(_: Any, __: Context) -> Any:
        return library.Shelf()

    bad, good = await start_backend(), await start_backend()
    bad.on("GetShelf", unavailable)
    good.on("GetShelf", fine)
    gateway = await start_gateway(bad, good)

    answers = [await gateway.rest("GET", "/v1/shelves/s1") for _ in range(4)]

    assert [answer.status for answer in answers] == [200] * 4


async def test_an_instance_that_is_gone_costs_an_idempotent_caller_nothing(
    start_gateway: StartGateway, start_backend: StartBackend, unused_port: int
) -> None:
    good = await start_backend()
    gateway = await start_gateway(good, hosts={"library": [unused_port, good.port]})

    answers = [await gateway.rest("GET", "/v1/shelves/s1") for _ in range(6)]

    assert [answer.status for answer in answers] == [200] * 6


async def test_one_failing_instance_of_two_is_left_out(
    start_gateway: StartGateway, start_backend: StartBackend
) -> None:
    bad, good = await start_backend(), await start_backend()
    bad.on("ListShelves", unavailable)
    gateway = await start_gateway(bad, good)

    async def ejected() -> None:
        await gateway.rest("GET", "/v1/shelves")
        assert await gateway.stat("cluster.library.outlier_detection.ejections_active") == 1

    await eventually(ejected)
    calls_before = bad.calls["ListShelves"]
    answers = [await gateway.rest("GET", "/v1/shelves") for _ in range(10)]

    assert [answer.status for answer in answers] == [200] * 10
    assert bad.calls["ListShelves"] == calls_before


async def test_one_dead_instance_of_two_is_left_out(
    start_gateway: StartGateway, start_backend: StartBackend, unused_port: int
) -> None:
    good = await start_backend()
    gateway = await start_gateway(good, hosts={"library": [unused_port, good.port]})

    async def ejected() -> None:
        await gateway.rest("GET", "/v1/shelves")
        assert await gateway.stat("cluster.library.outlier_detection.ejections_active") == 1

    await eventually(ejected)
    answers = [await gateway.rest("GET", "/v1/shelves") for _ in range(10)]

    assert [answer.status for answer in answers] == [200] * 10


async def test_a_defect_of_one_method_leaves_no_instance_out(gateway: Gateway, backend: Backend) -> None:
    backend.on("ListShelves", broken)

    answers = [await gateway.rest("GET", "/v1/shelves") for _ in range(12)]

    assert [answer.status for answer in answers] == [500] * 12
    assert await gateway.stat("cluster.library.outlier_detection.ejections_enforced_total") == 0


async def test_a_single_instance_that_fails_is_still_tried(gateway: Gateway, backend: Backend) -> None:
    backend.on("ListShelves", unavailable)

    async def ejected() -> None:
        await gateway.rest("GET", "/v1/shelves")
        assert await gateway.stat("cluster.library.outlier_detection.ejections_active") == 1

    await eventually(ejected)
    del backend.handlers["ListShelves"]

    assert (await gateway.rest("GET", "/v1/shelves")).status == 200
