"""How long: the contract's timeout, the caller's deadline, and streams that have neither."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from grpc import aio

from tests.mesh.gateway.edge import Backend, Context, Gateway, Library, eventually


class Hanging:
    """A handler that never answers, and knows when it was given up on."""

    def __init__(self) -> None:
        self.time_remaining_s: list[float | None] = []
        self.cancelled = asyncio.Event()

    def has_at_most(self, time_s: float) -> bool:
        """Return whether it was called once, and had no more time than this."""
        [remaining_s] = self.time_remaining_s
        return remaining_s is not None and remaining_s <= time_s

    async def __call__(self, _: Any, context: Context) -> None:
        self.time_remaining_s.append(context.time_remaining())
        try:
            await asyncio.Event().wait()
        finally:
            self.cancelled.set()


@pytest.fixture(name="hanging")
def _hanging(backend: Backend) -> Hanging:
    hanging = Hanging()
    backend.on("GetShelf", hanging)
    return hanging


async def test_a_rest_call_ends_with_the_contracts_timeout_and_the_service_knows_it(
    gateway: Gateway, hanging: Hanging
) -> None:
    started = time.monotonic()
    answer = await gateway.rest("GET", "/v1/shelves/s1")

    assert (answer.status, answer.json["code"]) == (504, 4)
    assert time.monotonic() - started < 5
    assert hanging.has_at_most(1)
    await asyncio.wait_for(hanging.cancelled.wait(), 5)


async def test_a_grpc_call_ends_with_the_contracts_timeout_as_deadline_exceeded(
    gateway: Gateway, hanging: Hanging, library: Library
) -> None:
    started = time.monotonic()
    with pytest.raises(aio.AioRpcError) as late:
        await gateway.call("GetShelf")(library.GetShelfRequest(), timeout=30)

    assert (late.value.code(), late.value.details()) == (grpc.StatusCode.DEADLINE_EXCEEDED, "the deadline passed")
    assert time.monotonic() - started < 10
    await asyncio.wait_for(hanging.cancelled.wait(), 5)


async def test_a_shorter_deadline_of_the_caller_reaches_the_service(
    gateway: Gateway, hanging: Hanging, library: Library
) -> None:
    with pytest.raises(aio.AioRpcError) as late:
        await gateway.call("GetShelf")(library.GetShelfRequest(), timeout=0.5)

    assert late.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert hanging.has_at_most(0.5)
    await asyncio.wait_for(hanging.cancelled.wait(), 5)


async def test_a_caller_who_leaves_is_gone_for_the_service(
    gateway: Gateway, hanging: Hanging, library: Library
) -> None:
    call = gateway.call("GetShelf")(library.GetShelfRequest(), timeout=30)

    async def arrived() -> None:
        assert hanging.time_remaining_s

    await eventually(arrived)
    call.cancel()

    await asyncio.wait_for(hanging.cancelled.wait(), 5)


async def test_a_stream_without_a_limit_goes_on_and_ends_with_its_caller(
    gateway: Gateway, backend: Backend, library: Library
) -> None:
    ended = asyncio.Event()

    async def watch(_: Any, context: Context) -> AsyncIterator[Any]:
        assert context.time_remaining() is None
        try:
            yield library.Shelf(shelf_id="s1")
            await asyncio.Event().wait()
        finally:
            ended.set()

    backend.on("WatchShelf", watch)
    call = gateway.call("WatchShelf")(library.GetShelfRequest())

    first = await call.read()
    [route] = [route for route in await gateway.routes() if route.get("name", "").endswith("/WatchShelf")]
    call.cancel()

    assert first.shelf_id == "s1"
    assert route["route"]["timeout"] == "0s"
    await asyncio.wait_for(ended.wait(), 5)


async def test_a_stream_with_a_limit_is_ended_by_it_even_if_the_service_does_not(
    gateway: Gateway, backend: Backend, library: Library
) -> None:
    remaining_s = []

    async def chat(requests: Any, context: Context) -> AsyncIterator[Any]:
        remaining_s.append(context.time_remaining())
        async for book in requests:
            yield book
        await asyncio.Event().wait()

    backend.on("Chat", chat)
    call = gateway.call("Chat")(timeout=30)

    await call.write(library.Book(title="Emma"))
    echo = await call.read()
    code = await asyncio.wait_for(call.code(), 10)

    assert echo.title == "Emma"
    assert code is not grpc.StatusCode.OK
    [of_service_s] = remaining_s
    assert 0 < of_service_s <= 2  # the contract's second, and the gateway's grace
