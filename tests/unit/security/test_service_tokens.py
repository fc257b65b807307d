"""A service is believed to be the one whose key signed its token, and no other."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from weft.errors import Unauthenticated
from weft.security import (
    Identity,
    ServiceTokens,
    ServiceVerifier,
    SigningKey,
    TokenIssuer,
    TokenVerifier,
    create_service_keys,
    write_jwks,
    write_service_jwks,
)


@pytest.fixture(name="keys")
def _keys(tmp_path: Path) -> Path:
    folder = tmp_path / "services"
    create_service_keys(["orders", "stock"], folder)
    return folder


def token(tokens: ServiceTokens) -> str:
    return tokens.authorization().removeprefix("Bearer ")


def refused(verifier: TokenVerifier, text: str) -> bool:
    with pytest.raises(Unauthenticated) as error:
        verifier.verify(text)
    return error.value.reason == "TOKEN_INVALID"


def test_a_service_is_known_by_its_token(keys: Path) -> None:
    tokens = ServiceTokens.load("orders", keys)

    assert ServiceVerifier(keys).verify(token(tokens)) == Identity("service:orders", frozenset({"service"}))


def test_no_service_speaks_for_another(keys: Path) -> None:
    stolen_name = ServiceTokens("orders", SigningKey.load(keys / "stock.pem"))

    assert refused(ServiceVerifier(keys), token(stolen_name))


def test_a_key_that_is_known_signs_only_in_its_own_name(keys: Path) -> None:
    key = SigningKey.load(keys / "stock.pem")
    forged = TokenIssuer(key, issuer="orders", audience="weft-services", key_id=f"stock/{key.key_id}")

    assert refused(ServiceVerifier(keys), forged.issue("service:orders", ["service"]).text)


def test_users_and_services_do_not_pass_for_each_other(keys: Path, tmp_path: Path) -> None:
    users = SigningKey.generate()
    write_jwks([users], tmp_path / "jwks.json")

    assert refused(ServiceVerifier(keys), TokenIssuer(users).issue("service:orders", ["service"]).text)
    assert refused(TokenVerifier(tmp_path / "jwks.json"), token(ServiceTokens.load("orders", keys)))


def test_a_token_is_sent_again_until_a_minute_before_its_end(keys: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = {"now": 1_900_000_000.0}
    monkeypatch.setattr("weft.security.services.time.time", lambda: clock["now"])
    tokens = ServiceTokens.load("orders", keys)

    first = tokens.authorization()
    clock["now"] += 239
    assert tokens.authorization() == first

    clock["now"] += 2
    assert tokens.authorization() != first


def test_a_key_that_leaves_the_set_takes_its_tokens_along(keys: Path) -> None:
    text = token(ServiceTokens.load("orders", keys))
    write_service_jwks({"stock": SigningKey.load(keys / "stock.pem")}, keys)

    assert refused(ServiceVerifier(keys), text)


def test_keys_are_made_once_and_private(keys: Path) -> None:
    before = (keys / "orders.pem").read_bytes()
    create_service_keys(["orders", "stock", "parcels"], keys)

    assert (keys / "orders.pem").read_bytes() == before
    assert stat.S_IMODE((keys / "parcels.pem").stat().st_mode) == 0o600
    names = [entry["kid"].partition("/")[0] for entry in json.loads((keys / "services.json").read_text())["keys"]]
    assert names == ["orders", "parcels", "stock"]
    assert not [entry for entry in json.loads((keys / "services.json").read_text())["keys"] if "d" in entry]
