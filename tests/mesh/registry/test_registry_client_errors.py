"""What the client makes of a registry that misbehaves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from aiohttp import web

from weft.registry import Consul, RegistryRefused, RegistryUnavailable

Answering = Callable[[web.Response], Awaitable[Consul]]


class Misbehaving:
    """A server that gives everybody the same answer, and remembers who asked."""

    def __init__(self) -> None:
        self.response = web.Response
        self.requests: list[web.Request] = []
        self.url = ""

    async def answer(self, request: web.Request) -> web.Response:
        self.requests.append(request)
        return self.response()


@pytest.fixture(name="misbehaving")
async def _misbehaving() -> AsyncIterator[Misbehaving]:
    server = Misbehaving()
    app = web.Application()
    app.add_routes([web.route("*", "/{path:.*}", server.answer)])
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    server.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield server
    await runner.cleanup()


@pytest.mark.parametrize(
    ("status", "text", "expected"),
    [
        (500, "No cluster leader", RegistryUnavailable),
        (503, "starting", RegistryUnavailable),
        (429, "too many concurrent connections", RegistryUnavailable),
        (403, "Permission denied", RegistryRefused),
        (400, "Missing service name", RegistryRefused),
        (404, "no such thing", RegistryRefused),
    ],
)
async def test_a_failure_says_whose_fault_it_is_and_the_registrys_reason(
    misbehaving: Misbehaving, status: int, text: str, expected: type[Exception]
) -> None:
    misbehaving.response = lambda: web.Response(status=status, text=text)  # type: ignore[assignment,misc]  # a factory

    async with Consul(misbehaving.url) as consul:
        with pytest.raises(expected, match=text):
            await consul.healthy("mugs")


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ({}, "[]"),  # no index
        ({"X-Consul-Index": "soon"}, "[]"),
        ({"X-Consul-Index": "7"}, "<html>"),
        ({"X-Consul-Index": "7"}, "{}"),
        ({"X-Consul-Index": "7"}, '[{"Service": {}}]'),
        ({"X-Consul-Index": "7"}, "[7]"),
    ],
)
async def test_an_answer_that_is_not_consuls_counts_as_unavailable(
    misbehaving: Misbehaving, headers: dict[str, str], body: str
) -> None:
    misbehaving.response = lambda: web.Response(text=body, headers=headers)  # type: ignore[assignment,misc]  # a factory

    async with Consul(misbehaving.url) as consul:
        with pytest.raises(RegistryUnavailable, match="not an answer of Consul's"):
            await consul.healthy("mugs")


async def test_an_unelected_leader_counts_as_unavailable(misbehaving: Misbehaving) -> None:
    misbehaving.response = lambda: web.json_response("")  # type: ignore[assignment,misc]  # a factory

    async with Consul(misbehaving.url) as consul:
        with pytest.raises(RegistryUnavailable, match="no leader"):
            await consul.leader()


async def test_the_token_travels_in_its_header_only_and_is_not_shown(misbehaving: Misbehaving) -> None:
    misbehaving.response = lambda: web.Response(status=403, text="Permission denied")  # type: ignore[assignment,misc]  # a factory

    async with Consul(misbehaving.url, token="s3cret") as consul:
        with pytest.raises(RegistryRefused) as refused:
            await consul.services()

    (request,) = misbehaving.requests
    assert request.headers["X-Consul-Token"] == "s3cret"
    assert "s3cret" not in f"{request.url}{refused.value!r}{consul!r}"


async def test_names_are_quoted_into_their_path_segment(misbehaving: Misbehaving) -> None:
    async with Consul(misbehaving.url) as consul:
        await consul.deregister("../a b?c#d")

    assert misbehaving.requests[0].raw_path == "/v1/agent/service/deregister/..%2Fa%20b%3Fc%23d"


async def test_nobody_listening_counts_as_unavailable() -> None:
    async with Consul("http://127.0.0.1:1") as consul:
        with pytest.raises(RegistryUnavailable):
            await consul.services()


async def test_a_registry_that_hangs_is_given_up_after_the_timeout() -> None:
    held: list[asyncio.StreamWriter] = []
    server = await asyncio.start_server(lambda _, writer: held.append(writer), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]

    async with asyncio.timeout(10), Consul(f"http://127.0.0.1:{port}", timeout_s=0.05) as consul:
        with pytest.raises(RegistryUnavailable, match=r"no answer in 0\.05 s"):
            await consul.services()
        with pytest.raises(RegistryUnavailable, match=r"no answer in 0\.22 s"):
            await consul.services(index=7, wait_s=0.16)  # 0.05 + 0.16 * 17 / 16

    for writer in held:
        writer.close()
    server.close()
    await server.wait_closed()


@pytest.mark.parametrize("wait_s", [0.0, -1.0, 601.0])
async def test_a_wait_consul_would_not_keep_is_a_mistake(wait_s: float) -> None:
    async with Consul("http://127.0.0.1:1") as consul:
        with pytest.raises(ValueError, match="not within"):
            await consul.services(index=1, wait_s=wait_s)


async def test_a_client_that_was_not_entered_says_so() -> None:
    with pytest.raises(RuntimeError, match="enter it first"):
        await Consul("http://127.0.0.1:1").services()
