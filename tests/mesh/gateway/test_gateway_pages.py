"""What the gateway answers itself, what browsers may do with it, and what it writes down."""

from __future__ import annotations

import asyncio
import json
import re

import pytest

from tests.mesh.gateway.edge import OPENAPI, Backend, Gateway, Library, StartGateway, Tokens, grpc_web
from weft.gateway import docs

SHOP = {"origin": "https://shop.example"}
PREFLIGHT = SHOP | {"access-control-request-method": "GET", "access-control-request-headers": "authorization"}
PATH = "/example.library.v1.LibraryService/"


async def test_the_api_describes_itself_to_anyone(gateway: Gateway, tokens: Tokens) -> None:
    described = await gateway.rest("GET", "/openapi.json")
    keys = await gateway.rest("GET", "/.well-known/jwks.json")
    page = await gateway.rest("GET", "/docs")
    head = await gateway.rest("HEAD", "/docs")

    assert [answer.status for answer in (described, keys, page, head)] == [200] * 4
    assert described.headers["Content-Type"] == keys.headers["Content-Type"] == "application/json"
    assert (described.json, keys.json) == (json.loads(OPENAPI), json.loads(tokens.jwks))
    assert page.headers["Content-Type"] == "text/html; charset=utf-8"
    assert page.body.decode() == docs.page()
    assert head.body == b""


async def test_the_page_may_run_its_own_script_and_nothing_else(gateway: Gateway) -> None:
    page = await gateway.rest("GET", "/docs")

    policy = page.headers["Content-Security-Policy"]
    assert policy == docs.content_security_policy()
    assert "unsafe" not in policy
    assert not re.search(rb"""(src|href)\s*=\s*["']?(https?:)?//""", page.body)


async def test_health_is_answered_here_and_turns_when_the_gateway_is_told_to_leave(gateway: Gateway) -> None:
    healthy = await gateway.rest("GET", "/healthz")
    await gateway.admin("/healthcheck/fail", "POST")
    leaving = await gateway.rest("GET", "/healthz")

    assert (healthy.status, leaving.status) == (200, 503)


async def test_every_rest_answer_tells_browsers_to_be_careful(gateway: Gateway) -> None:
    answers = [await gateway.rest("GET", path) for path in ("/v1/shelves/s1", "/v1/nothing", "/docs", "/healthz")]

    for answer in answers:
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["X-Frame-Options"] == "DENY"
        assert answer.headers["Referrer-Policy"] == "no-referrer"
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
        assert answer.headers["Server"] == "weft"
        assert "Strict-Transport-Security" not in answer.headers
        assert not {name for name in answer.names if name.startswith(("x-envoy-", "x-weft-"))}
    assert [answer.headers["Cache-Control"] for answer in answers[:2]] == ["no-store"] * 2


async def test_transport_security_is_promised_only_where_it_is_configured(
    start_gateway: StartGateway, backend: Backend
) -> None:
    gateway = await start_gateway(backend, hsts_max_age_s=3600)

    answer = await gateway.rest("GET", "/v1/shelves")

    assert answer.headers["Strict-Transport-Security"] == "max-age=3600"


@pytest.mark.parametrize("path", ["/v1/shelves/s1", "/v1/shelves", PATH + "GetShelf", "/v1/nothing"])
async def test_a_page_of_an_allowed_origin_may_ask(start_gateway: StartGateway, backend: Backend, path: str) -> None:
    gateway = await start_gateway(backend, allowed_origins=("https://shop.example",))

    answer = await gateway.rest("OPTIONS", path, headers=PREFLIGHT)

    assert answer.status == 200
    assert answer.headers["Access-Control-Allow-Origin"] == "https://shop.example"
    assert "PATCH" in answer.headers["Access-Control-Allow-Methods"]
    assert {"authorization", "x-grpc-web", "idempotency-key"} <= set(
        answer.headers["Access-Control-Allow-Headers"].split(", ")
    )
    assert not backend.calls


async def test_a_page_may_read_answers_and_refusals(
    start_gateway: StartGateway, backend: Backend, library: Library, unused_port: int
) -> None:
    gateway = await start_gateway(
        backend,
        hosts={"archive": [unused_port]},
        allowed_origins=("https://shop.example",),
        requests_per_s=1,
        burst=7,
    )

    answers = [
        await gateway.rest("GET", "/v1/shelves", headers=SHOP),
        await gateway.rest("GET", "/v1/nothing", headers=SHOP),
        await gateway.rest("POST", "/v1/shelves", json={}, headers=SHOP),
        await gateway.rest("GET", "/v1/shelves?nothing=1", headers=SHOP),
        await gateway.rest("POST", "/v1/archive/b/books:store", json={}, headers=SHOP),
        await grpc_web(gateway, PATH + "GetShelf", library.GetShelfRequest(), **SHOP),
        await grpc_web(gateway, PATH + "CreateShelf", library.CreateShelfRequest(), **SHOP),
    ]
    answers += await asyncio.gather(*(gateway.rest("GET", "/v1/nothing", headers=SHOP) for _ in range(50)))

    assert 429 in {answer.status for answer in answers}
    assert [answer.status for answer in answers[:7]] == [200, 404, 401, 400, 503, 200, 401]
    for answer in answers:
        assert answer.headers["Access-Control-Allow-Origin"] == "https://shop.example"
        assert "grpc-status" in answer.headers["Access-Control-Expose-Headers"]


async def test_a_page_of_another_origin_is_not_allowed(start_gateway: StartGateway, backend: Backend) -> None:
    gateway = await start_gateway(backend, allowed_origins=("https://shop.example",))

    answer = await gateway.rest("OPTIONS", "/v1/shelves", headers=PREFLIGHT | {"origin": "https://evil.example"})

    assert "Access-Control-Allow-Origin" not in answer.headers


async def test_without_origins_no_page_is_allowed(gateway: Gateway) -> None:
    answer = await gateway.rest("OPTIONS", "/v1/shelves", headers=PREFLIGHT)

    assert answer.status == 404
    assert "Access-Control-Allow-Origin" not in answer.headers


async def test_each_request_is_one_line_of_json_without_anything_personal(
    gateway: Gateway, backend: Backend, library: Library, tokens: Tokens
) -> None:
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    await gateway.rest("GET", "/healthz")
    await gateway.rest("GET", "/v1/shelves?names=Jane%20Roe", headers=tokens.header() | {"traceparent": trace})
    await gateway.rest("POST", "/v1/shelves?secret=1", json={})
    await gateway.call("GetShelf")(library.GetShelfRequest(shelf_id="s1"), timeout=5)

    lines = await gateway.access_log(3)

    assert [
        (
            line["http.request.method"],
            line["url.path"],
            line["rpc.method"],
            line["http.response.status_code"],
            line["traceparent"],
        )
        for line in lines
    ] == [
        ("GET", "/v1/shelves", PATH + "ListShelves", 200, trace),
        ("POST", "/v1/shelves", None, 400, None),
        ("POST", PATH + "GetShelf", PATH + "GetShelf", 200, None),
    ]
    assert lines[0]["upstream.address"] == f"127.0.0.1:{backend.port}"
    assert backend.metadata[0]["traceparent"] == trace
    text = json.dumps(lines)
    assert not [word for word in ("Jane", "Roe", "secret", "Bearer", tokens.sign()[:20]) if word in text]


async def test_the_log_says_why_the_gateway_refused(gateway: Gateway) -> None:
    await gateway.rest("POST", "/v1/shelves", json={})

    [line] = await gateway.access_log(1)

    assert line["http.response.status_code"] == 401
    assert line["rpc.response.status_code"] == "Unauthenticated"
    assert line["response_details"] == "jwt_authn_access_denied{Jwt_is_missing}"
