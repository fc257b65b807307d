"""A token is believed if one of our keys signed it, for us, and it has not ended."""

from __future__ import annotations

import base64
import json
import stat
import time
from pathlib import Path
from typing import Any

import jwt
import pytest

from weft.errors import Unauthenticated
from weft.security import Identity, SigningKey, TokenIssuer, TokenVerifier, create_signing_key, write_jwks


@pytest.fixture(name="key")
def _key() -> SigningKey:
    return SigningKey.generate()


@pytest.fixture(name="jwks")
def _jwks(key: SigningKey, tmp_path: Path) -> Path:
    path = tmp_path / "jwks.json"
    write_jwks([key], path)
    return path


def claims(**changes: Any) -> dict[str, Any]:
    now = int(time.time())
    right = {"iss": "weft", "aud": "weft", "sub": "anna", "roles": ["user"], "iat": now, "exp": now + 60}
    return {name: value for name, value in (right | changes).items() if value is not None}


def signed(key: SigningKey, payload: dict[str, Any], kid: str | None = None) -> str:
    return jwt.encode(payload, key.private, algorithm="ES256", headers={"kid": kid or key.key_id})


def refusal(verifier: TokenVerifier, token: str) -> str:
    with pytest.raises(Unauthenticated) as refused:
        verifier.verify(token)
    return refused.value.reason


def test_an_issued_token_names_its_subject_and_roles(key: SigningKey, jwks: Path) -> None:
    token = TokenIssuer(key).issue("anna", ["user", "admin"])

    assert TokenVerifier(jwks).verify(token.text) == Identity("anna", frozenset({"user", "admin"}))
    assert jwt.get_unverified_header(token.text)["kid"] == key.key_id
    assert 890 < token.expire_time.timestamp() - time.time() <= 900


def test_a_token_does_not_print_itself(key: SigningKey) -> None:
    token = TokenIssuer(key).issue("anna")

    assert token.text not in repr(token)


def test_a_token_that_has_ended_is_refused_also_when_it_was_seen_before(
    key: SigningKey, jwks: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    verifier = TokenVerifier(jwks)
    token = signed(key, claims())
    verifier.verify(token)

    assert refusal(verifier, signed(key, claims(exp=int(time.time()) - 1))) == "TOKEN_EXPIRED"
    later = time.time() + 61
    monkeypatch.setattr(time, "time", lambda: later)

    assert refusal(verifier, token) == "TOKEN_EXPIRED"


@pytest.mark.parametrize(
    "changes",
    [{"iss": "other"}, {"aud": "other"}, {"sub": None}, {"exp": None}, {"iat": None}, {"exp": "soon"}, {"roles": 7}],
    ids=str,
)
def test_a_token_with_wrong_claims_is_refused(key: SigningKey, jwks: Path, changes: dict[str, Any]) -> None:
    assert refusal(TokenVerifier(jwks), signed(key, claims(**changes))) == "TOKEN_INVALID"


def test_a_key_we_do_not_know_is_refused_whatever_it_calls_itself(key: SigningKey, jwks: Path) -> None:
    stranger = SigningKey.generate()

    assert refusal(TokenVerifier(jwks), signed(stranger, claims())) == "TOKEN_INVALID"
    assert refusal(TokenVerifier(jwks), signed(stranger, claims(), kid=key.key_id)) == "TOKEN_INVALID"


def test_no_signature_and_a_symmetric_one_are_refused(key: SigningKey, jwks: Path) -> None:
    public = json.dumps(dict(key.public_jwk))

    unsigned = jwt.encode(claims(), "", algorithm="none", headers={"kid": key.key_id})
    head, payload, _ = signed(key, claims()).split(".")
    other_head = base64.urlsafe_b64encode(json.dumps({"alg": "HS256", "kid": key.key_id}).encode()).decode().rstrip("=")

    assert refusal(TokenVerifier(jwks), unsigned) == "TOKEN_INVALID"
    assert refusal(TokenVerifier(jwks), f"{other_head}.{payload}.{public[:20].encode().hex()}") == "TOKEN_INVALID"
    assert refusal(TokenVerifier(jwks), f"{head}.{payload}.") == "TOKEN_INVALID"


def test_a_rotated_key_set_is_read_without_a_restart(
    key: SigningKey, jwks: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    verifier = TokenVerifier(jwks)
    old = signed(key, claims())
    verifier.verify(old)
    new_key = SigningKey.generate()

    write_jwks([new_key], jwks)
    later_s = time.monotonic() + 2
    monkeypatch.setattr(time, "monotonic", lambda: later_s)

    assert verifier.verify(signed(new_key, claims())).subject == "anna"
    assert refusal(verifier, old) == "TOKEN_INVALID"


def test_a_key_set_that_cannot_be_read_leaves_the_last_one(
    key: SigningKey, jwks: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    verifier = TokenVerifier(jwks)
    verifier.verify(signed(key, claims()))

    jwks.write_text("{")
    later_s = time.monotonic() + 2
    monkeypatch.setattr(time, "monotonic", lambda: later_s)

    assert verifier.verify(signed(key, claims())).subject == "anna"


def test_the_memory_of_tokens_is_bounded(key: SigningKey, jwks: Path) -> None:
    verifier = TokenVerifier(jwks, cache_size=3)

    for number in range(10):
        verifier.verify(signed(key, claims(sub=str(number))))

    assert len(verifier._cache) == 3


def test_a_key_file_is_for_its_owner_only_and_never_replaced(tmp_path: Path) -> None:
    path = tmp_path / "signing.pem"
    made = create_signing_key(path)

    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert SigningKey.load(path).key_id == made.key_id
    with pytest.raises(FileExistsError):
        create_signing_key(path)
