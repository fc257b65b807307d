"""Who may call what: every method of every contract, by REST and gRPC, through the gateway and directly."""

from __future__ import annotations

import base64
import hmac
import http.client
import json
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import jwt
import pytest

from tests.mesh.acceptance.conftest import ROOT, Mesh
from weft.contract import Access, HttpRule, Method, load_image, read_contract
from weft.security import ServiceTokens, SigningKey

CONTRACT = read_contract(load_image(ROOT / "gen" / "image.binpb").file)
METHODS = sorted(CONTRACT.methods.values(), key=lambda method: method.path)
PROTECTED = [method for method in METHODS if method.access is Access.AUTHENTICATED]
FOR_ROLES = [method for method in PROTECTED if method.roles]
PUBLIC = [method for method in METHODS if method.access is Access.PUBLIC]
FOR_SERVICES = [method for method in METHODS if method.access is Access.SERVICE]
SOMEBODY = "11111111-1111-4111-8111-111111111111"
REFUSED = {"UNAUTHENTICATED": 401, "PERMISSION_DENIED": 403}
FORGED_IDENTITY = {
    "x-weft-subject": SOMEBODY,
    "x-weft-roles": "admin",
    "x-forwarded-client-cert": "URI=spiffe://weft/users",
}


def test_the_table_below_covers_every_method() -> None:
    assert len(PROTECTED) + len(PUBLIC) + len(FOR_SERVICES) == len(METHODS) > 30


def claims(**changes: Any) -> dict[str, Any]:
    now = int(time.time())
    right = {"iss": "weft", "aud": "weft", "sub": SOMEBODY, "roles": ["admin", "user"], "iat": now, "exp": now + 60}
    return right | changes


def sign(key: SigningKey, payload: dict[str, Any], kid: str) -> str:
    return jwt.encode(payload, key.private, algorithm="ES256", headers={"kid": kid})


def base64url(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).decode().rstrip("=")


def encoded(value: dict[str, Any]) -> str:
    return base64url(json.dumps(value).encode())


@dataclass(frozen=True)
class Credential:
    """Headers that must not let anyone in."""

    name: str

    @property
    def refusal_at_the_gateway(self) -> str:
        """Envoy calls a token for another audience forbidden, where the services call it none."""
        return "PERMISSION_DENIED" if self.name == "for somebody else" else "UNAUTHENTICATED"

    def headers(self, mesh: Mesh) -> dict[str, str]:
        key, kid = mesh.key, mesh.key.key_id
        match self.name:
            case "no token":
                return {}
            case "identity headers":
                return dict(FORGED_IDENTITY)
            case "forged":
                token = sign(SigningKey.generate(), claims(), kid)
            case "unsigned":
                token = f"{encoded({'alg': 'none', 'kid': kid, 'typ': 'JWT'})}.{encoded(claims())}."
            case "signed with the public key":
                # By hand: a library that signs would refuse such a secret.
                signed = f"{encoded({'alg': 'HS256', 'kid': kid, 'typ': 'JWT'})}.{encoded(claims())}"
                secret = json.dumps(dict(key.public_jwk)).encode()
                token = f"{signed}.{base64url(hmac.digest(secret, signed.encode(), 'sha256'))}"
            case "expired":
                token = sign(key, claims(iat=int(time.time()) - 7200, exp=int(time.time()) - 3600), kid)
            case "for somebody else":
                token = sign(key, claims(aud="another"), kid)
            case "from somebody else":
                token = sign(key, claims(iss="another"), kid)
            case "wrong role":
                token = sign(key, claims(roles=["user", "administrator"]), kid)
            case other:
                raise AssertionError(other)
        return {"authorization": f"Bearer {token}"} | FORGED_IDENTITY


NOBODY = [
    Credential(name)
    for name in (
        "no token",
        "identity headers",
        "forged",
        "unsigned",
        "signed with the public key",
        "expired",
        "for somebody else",
        "from somebody else",
    )
]
WRONG_ROLE = Credential("wrong role")


def by_rest(mesh: Mesh, rule: HttpRule, headers: dict[str, str]) -> tuple[int, dict[str, Any]]:
    path = re.sub(r"\{[^}]+\}", SOMEBODY, rule.template)
    connection = http.client.HTTPConnection(mesh.address, timeout=10)
    try:
        connection.request(rule.verb, path, body="{}" if rule.body else None, headers=headers)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read() or b"{}")
    finally:
        connection.close()


def by_grpc(address: str, method: Method, headers: dict[str, str]) -> str:
    with grpc.insecure_channel(address) as channel:
        try:
            metadata = tuple(headers.items())
            if method.client_streaming:
                assert not method.server_streaming, "or the table must learn to call it"
                channel.stream_unary(method.path, None, None)(iter([b""]), timeout=10, metadata=metadata)
            elif method.server_streaming:
                next(iter(channel.unary_stream(method.path, None, None)(b"", timeout=10, metadata=metadata)))
            else:
                channel.unary_unary(method.path, None, None)(b"", timeout=10, metadata=metadata)
        except grpc.RpcError as error:
            return str(error.code().name)
    return "OK"


def instance_of(mesh: Mesh, method: Method) -> str:
    return next(iter(sorted(addresses(mesh)[method.service_name])))


_addresses: dict[Path, dict[str, set[str]]] = {}


def addresses(mesh: Mesh) -> dict[str, set[str]]:
    if mesh.state not in _addresses:
        found: dict[str, set[str]] = {}
        for instance in mesh.status()["instances"]:
            found.setdefault(instance["service"], set()).add(instance["address"])
        _addresses[mesh.state] = found
    return _addresses[mesh.state]


def rest_rules(methods: list[Method]) -> list[Any]:
    return [pytest.param(rule, id=f"{rule.verb} {rule.template}") for method in methods for rule in method.http]


names = [pytest.param(credential, id=credential.name) for credential in NOBODY]
protected = [pytest.param(method, id=method.name) for method in PROTECTED]
for_roles = [pytest.param(method, id=method.name) for method in FOR_ROLES]
public = [pytest.param(method, id=method.name) for method in PUBLIC]
for_services = [pytest.param(method, id=method.name) for method in FOR_SERVICES]


@pytest.mark.parametrize("credential", names)
@pytest.mark.parametrize("rule", rest_rules(PROTECTED))
def test_rest_refuses_who_is_not_known(mesh: Mesh, rule: HttpRule, credential: Credential) -> None:
    status, body = by_rest(mesh, rule, credential.headers(mesh))

    name = credential.refusal_at_the_gateway
    assert (status, body["code"]) == (REFUSED[name], grpc.StatusCode[name].value[0])
    assert set(body) == {"code", "message", "details"}


@pytest.mark.parametrize("rule", rest_rules(FOR_ROLES))
def test_rest_refuses_the_wrong_role(mesh: Mesh, rule: HttpRule) -> None:
    status, body = by_rest(mesh, rule, WRONG_ROLE.headers(mesh))

    assert (status, body["code"]) == (403, grpc.StatusCode.PERMISSION_DENIED.value[0])
    assert body["details"][0]["reason"] == "ROLE_MISSING"


@pytest.mark.parametrize("rule", rest_rules(PUBLIC))
def test_rest_lets_anyone_call_what_is_public(mesh: Mesh, rule: HttpRule) -> None:
    status, _ = by_rest(mesh, rule, {})

    assert status not in REFUSED.values()


@pytest.mark.parametrize("credential", names)
@pytest.mark.parametrize("method", protected)
def test_grpc_through_the_gateway_refuses_who_is_not_known(mesh: Mesh, method: Method, credential: Credential) -> None:
    assert by_grpc(mesh.address, method, credential.headers(mesh)) == credential.refusal_at_the_gateway


@pytest.mark.parametrize("method", for_roles)
def test_grpc_through_the_gateway_refuses_the_wrong_role(mesh: Mesh, method: Method) -> None:
    assert by_grpc(mesh.address, method, WRONG_ROLE.headers(mesh)) == "PERMISSION_DENIED"


@pytest.mark.parametrize("method", public)
def test_grpc_through_the_gateway_lets_anyone_call_what_is_public(mesh: Mesh, method: Method) -> None:
    assert by_grpc(mesh.address, method, {}) not in REFUSED


@pytest.mark.parametrize("credential", names)
@pytest.mark.parametrize("method", protected)
def test_a_service_called_directly_refuses_who_is_not_known(mesh: Mesh, method: Method, credential: Credential) -> None:
    assert by_grpc(instance_of(mesh, method), method, credential.headers(mesh)) == "UNAUTHENTICATED"


@pytest.mark.parametrize("method", for_roles)
def test_a_service_called_directly_refuses_the_wrong_role(mesh: Mesh, method: Method) -> None:
    assert by_grpc(instance_of(mesh, method), method, WRONG_ROLE.headers(mesh)) == "PERMISSION_DENIED"


@pytest.mark.parametrize("method", public)
def test_a_service_called_directly_lets_anyone_call_what_is_public(mesh: Mesh, method: Method) -> None:
    assert by_grpc(instance_of(mesh, method), method, {}) not in REFUSED


@pytest.mark.parametrize("method", for_services)
def test_the_gateway_does_not_know_what_only_services_may_call(mesh: Mesh, method: Method) -> None:
    admin = {"authorization": f"Bearer {mesh.token(SOMEBODY, 'admin', 'user', 'service')}"}

    assert by_grpc(mesh.address, method, admin) == "UNIMPLEMENTED"
    assert by_grpc(mesh.address, method, {}) == "UNIMPLEMENTED"


@pytest.mark.parametrize("credential", [*names, pytest.param(WRONG_ROLE, id="a user's")])
@pytest.mark.parametrize("method", for_services)
def test_a_service_called_directly_refuses_who_is_no_service(
    mesh: Mesh, method: Method, credential: Credential
) -> None:
    assert by_grpc(instance_of(mesh, method), method, credential.headers(mesh)) == "UNAUTHENTICATED"


@pytest.mark.parametrize("method", for_services)
def test_a_service_called_directly_refuses_services_it_is_not_for(mesh: Mesh, method: Method) -> None:
    keys = mesh.state / "keys" / "services"
    caller = min(method.callers)
    other = min({path.stem for path in keys.glob("*.pem")} - method.callers)
    allowed = ServiceTokens.load(caller, keys).authorization()
    forbidden = ServiceTokens.load(other, keys).authorization()
    # What one service signs in another's name is not believed.
    forged = ServiceTokens(caller, SigningKey.load(keys / f"{other}.pem")).authorization()

    assert by_grpc(instance_of(mesh, method), method, {"authorization": allowed}) not in REFUSED
    assert by_grpc(instance_of(mesh, method), method, {"authorization": forbidden}) == "PERMISSION_DENIED"
    assert by_grpc(instance_of(mesh, method), method, {"authorization": forged}) == "UNAUTHENTICATED"


def test_the_right_token_is_let_in_everywhere(mesh: Mesh) -> None:
    """Or all of the above would pass on a gateway that refuses everyone."""
    headers = {"authorization": f"Bearer {mesh.token(SOMEBODY, 'admin', 'user')}"}
    for method in PROTECTED:
        assert by_grpc(mesh.address, method, headers) not in REFUSED, method.path
        assert by_grpc(instance_of(mesh, method), method, headers) not in REFUSED, method.path
        for rule in method.http:
            assert by_rest(mesh, rule, headers)[0] not in REFUSED.values(), rule.template
