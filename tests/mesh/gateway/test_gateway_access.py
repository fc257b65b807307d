"""Who gets in: tokens by method, denied by default, and nothing a caller says of themselves believed."""

from __future__ import annotations

import re
import time
from typing import Any

import grpc
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from grpc import aio

from tests.mesh.gateway.edge import Backend, Gateway, Library, Tokens, grpc_web
from weft.contract import Access, Method

GUARDED = {"code": 16, "message": "Jwt is missing", "details": []}


def rest_paths(library: Library, access: Access) -> list[tuple[Method, str, str]]:
    return [
        (method, rule.verb, re.sub(r"\{[^}]+\}", "x", rule.template))
        for method in library.contract.methods.values()
        for rule in method.http
        if method.access is access
    ]


async def test_no_rest_path_of_a_guarded_method_is_open_without_a_token(
    gateway: Gateway, backend: Backend, library: Library
) -> None:
    paths = rest_paths(library, Access.AUTHENTICATED)

    answers = [await gateway.rest(verb, path, json={} if verb != "GET" else None) for _, verb, path in paths]

    assert len(paths) >= 4
    assert [(answer.status, answer.json) for answer in answers] == [(401, GUARDED)] * len(paths)
    assert not backend.calls


async def test_no_guarded_method_is_open_without_a_token_over_grpc(
    gateway: Gateway, backend: Backend, library: Library
) -> None:
    guarded = [method for method in library.contract.methods.values() if method.access is Access.AUTHENTICATED]

    for method in guarded:
        with pytest.raises(aio.AioRpcError) as refused:
            await gateway.call(method.name)(library.type(method.request)(), timeout=5)
        assert (refused.value.code(), refused.value.details()) == (grpc.StatusCode.UNAUTHENTICATED, "Jwt is missing")

    assert not backend.calls


async def test_public_methods_need_no_token(gateway: Gateway, backend: Backend, library: Library) -> None:
    await gateway.call("GetShelf")(library.GetShelfRequest(shelf_id="s1"), timeout=5)
    answer = await gateway.rest("GET", "/v1/shelves")

    assert answer.status == 200
    assert backend.calls == {"GetShelf": 1, "ListShelves": 1}


async def test_a_valid_token_gets_in_and_is_passed_on_for_the_service_to_verify_again(
    gateway: Gateway, backend: Backend, library: Library, tokens: Tokens
) -> None:
    sent = tokens.header()

    rest = await gateway.rest("POST", "/v1/shelves", json={"shelf": {"displayName": "New"}}, headers=sent)
    await gateway.call("CreateShelf")(library.CreateShelfRequest(), metadata=tuple(sent.items()), timeout=5)

    assert rest.status == 200
    assert [metadata["authorization"] for metadata in backend.metadata] == [sent["authorization"]] * 2


@pytest.mark.parametrize(
    ("claims", "said"),
    [
        ({"key": ec.generate_private_key(ec.SECP256R1())}, "Jwt verification fails"),
        (
            {"key": "", "algorithm": "none"},
            "Jwt is not in the form of Header.Payload.Signature with two dots and 3 sections",
        ),
        (
            {"key": "what everybody knows, as a secret", "algorithm": "HS256"},
            "Jwks doesn't have key to match kid or alg from Jwt",
        ),
        ({"exp": int(time.time()) - 3600}, "Jwt is expired"),
        ({"exp": None}, "Jwt verification fails"),
        ({"nbf": int(time.time()) + 3600}, "Jwt not yet valid"),
        ({"iss": "someone"}, "Jwt issuer is not configured"),
    ],
)
async def test_a_token_that_proves_nothing_is_refused(
    gateway: Gateway, backend: Backend, tokens: Tokens, claims: dict[str, Any], said: str
) -> None:
    answer = await gateway.rest("POST", "/v1/shelves", json={}, headers=tokens.header(**claims))

    assert (answer.status, answer.json["code"], answer.json["details"]) == (401, 16, [])
    assert answer.json["message"] == said
    assert "WWW-Authenticate" in answer.headers
    assert not backend.calls


async def test_a_token_for_somebody_else_is_refused(gateway: Gateway, backend: Backend, tokens: Tokens) -> None:
    answer = await gateway.rest("POST", "/v1/shelves", json={}, headers=tokens.header(aud="other"))

    assert (answer.status, answer.json["code"]) == (403, 7)
    assert not backend.calls


async def test_a_token_in_the_query_string_is_not_looked_at(gateway: Gateway, backend: Backend, tokens: Tokens) -> None:
    answer = await gateway.rest("POST", f"/v1/shelves/s1:open?access_token={tokens.sign()}", json={})

    assert answer.status in (400, 401)
    assert not backend.calls


async def test_forged_identity_headers_never_reach_a_service(
    gateway: Gateway, backend: Backend, library: Library
) -> None:
    forged = {
        "x-weft-subject": "admin",
        "x-weft-anything-to-come": "1",
        "x-forwarded-client-cert": "By=spiffe://weft/sa/orders",
        "x-envoy-original-path": "/v1/other",
        "x-envoy-max-retries": "9",
        "x-envoy-upstream-rq-timeout-ms": "60000",
    }

    await gateway.rest("GET", "/v1/shelves/s1", headers=forged)
    await gateway.call("GetShelf")(library.GetShelfRequest(), metadata=tuple(forged.items()), timeout=5)

    rest, native = backend.metadata
    assert rest.keys() & forged.keys() == {"x-envoy-original-path"}
    assert rest["x-envoy-original-path"] == "/v1/shelves/s1"
    assert not native.keys() & forged.keys()


async def test_the_request_id_is_the_gateways_own_and_the_same_everywhere(gateway: Gateway, backend: Backend) -> None:
    answer = await gateway.rest("GET", "/v1/shelves/s1", headers={"x-request-id": "chosen"})

    request_id = answer.headers["X-Request-ID"]
    [line] = await gateway.access_log(1)
    assert len(request_id) == 36
    assert (backend.metadata[0]["x-request-id"], line["request_id"]) == (request_id, request_id)


async def test_a_header_with_underscores_that_a_service_might_take_for_dashes_is_dropped(
    gateway: Gateway, backend: Backend
) -> None:
    answer = await gateway.rest("GET", "/v1/shelves/s1", headers={"x_weft_subject": "admin"})

    assert answer.status == 200
    assert "x_weft_subject" not in backend.metadata[0]


async def test_an_unknown_grpc_method_is_unimplemented_with_a_token_or_without(
    gateway: Gateway, backend: Backend, library: Library
) -> None:
    unknown = gateway.channel.unary_unary("/example.library.v1.LibraryService/NoSuchMethod")

    with pytest.raises(aio.AioRpcError) as refused:
        await unknown(b"", timeout=5)
    rest_path = gateway.channel.unary_unary("/v1/shelves")
    with pytest.raises(aio.AioRpcError) as not_transcoded:
        await rest_path(b"", timeout=5)
    over_web = await grpc_web(gateway, "/example.library.v1.Nobody/Nothing", library.GetShelfRequest())

    assert (refused.value.code(), refused.value.details()) == (grpc.StatusCode.UNIMPLEMENTED, "no such method")
    assert not_transcoded.value.code() is grpc.StatusCode.UNIMPLEMENTED
    assert (over_web.status, over_web.headers["grpc-status"]) == (404, "12")
    assert not backend.calls
