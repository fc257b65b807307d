"""Access tokens: signed where users log in, verified by the gateway and again by every service."""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final
from uuid import uuid4

import jwt

from weft.errors import Unauthenticated
from weft.security.identity import Identity
from weft.security.keys import SigningKey

__all__ = ["AccessToken", "TokenIssuer", "TokenVerifier"]

ALGORITHM: Final = "ES256"
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class AccessToken:
    text: str
    expire_time: datetime

    def __repr__(self) -> str:
        return f"AccessToken(expire_time={self.expire_time.isoformat()})"


class TokenIssuer:
    """Signs access tokens (RFC 9068's claims) with one key."""

    def __init__(
        self,
        key: SigningKey,
        *,
        issuer: str = "weft",
        audience: str = "weft",
        lifetime_s: float = 900,
        key_id: str | None = None,
    ) -> None:
        self._key, self._issuer, self._audience, self._lifetime_s = key, issuer, audience, lifetime_s
        self._key_id = key_id or key.key_id

    def issue(self, subject: str, roles: Iterable[str] = ()) -> AccessToken:
        """Return a token for *subject*, valid from now for the issuer's lifetime."""
        now = int(time.time())
        expires = now + int(self._lifetime_s)
        claims = {
            "iss": self._issuer,
            "aud": self._audience,
            "sub": subject,
            "roles": sorted(roles),
            "iat": now,
            "exp": expires,
            "jti": str(uuid4()),
        }
        headers = {"kid": self._key_id, "typ": "at+jwt"}
        text = jwt.encode(claims, self._key.private, algorithm=ALGORITHM, headers=headers)
        return AccessToken(text, datetime.fromtimestamp(expires, UTC))


class TokenVerifier:
    """Verifies access tokens by a key set file, which is read again when it changes.

    A verified token is remembered until it ends (at most *cache_size* of them, the latest used), since the signature
    costs more than
    the rest of a call.
    """

    def __init__(self, jwks: Path, *, issuer: str = "weft", audience: str = "weft", cache_size: int = 4096) -> None:
        self._path, self._issuer, self._audience, self._cache_size = jwks, issuer, audience, cache_size
        self._cache: OrderedDict[str, tuple[Identity, float]] = OrderedDict()
        self._keys: dict[str, jwt.PyJWK] = {}
        self._read_mtime_ns = 0
        self._looked_s = float("-inf")

    def verify(self, token: str) -> Identity:
        """Return who *token* speaks for.

        Raises:
            Unauthenticated: reason TOKEN_EXPIRED or TOKEN_INVALID, without saying what is wrong with it.
        """
        self._look_for_new_keys()
        cached = self._cache.get(token)
        if cached:
            identity, expires_s = cached
            if time.time() < expires_s:
                self._cache.move_to_end(token)
                return identity
            del self._cache[token]
            raise _expired()
        identity, expires_s = self._check(token)
        self._cache[token] = (identity, expires_s)
        if len(self._cache) > self._cache_size:
            self._cache.popitem(last=False)
        return identity

    def _issuer_of(self, key_id: str) -> str:
        """Return whose tokens the key may sign."""
        return self._issuer

    def _check(self, token: str) -> tuple[Identity, float]:
        try:
            key_id = jwt.get_unverified_header(token)["kid"]
            claims = jwt.decode(
                token,
                self._keys[key_id],
                algorithms=[ALGORITHM],
                issuer=self._issuer_of(key_id),
                audience=self._audience,
                options={"require": ["exp", "iat", "sub", "iss", "aud"]},
            )
            roles = claims.get("roles", [])
            return Identity(str(claims["sub"]), frozenset(map(str, roles))), float(claims["exp"])
        except jwt.ExpiredSignatureError:
            raise _expired() from None
        except (jwt.InvalidTokenError, KeyError, TypeError, ValueError):
            raise Unauthenticated("the access token is not valid", reason="TOKEN_INVALID") from None

    def _look_for_new_keys(self) -> None:
        """Read the file when it has changed, looking at most once a second.

        A key that has left takes its tokens along.
        """
        now_s = time.monotonic()
        if now_s - self._looked_s < 1.0:
            return
        self._looked_s = now_s
        try:
            mtime_ns = self._path.stat().st_mtime_ns
            if mtime_ns != self._read_mtime_ns:
                keys = jwt.PyJWKSet.from_json(self._path.read_text()).keys
                self._keys = {key.key_id: key for key in keys if key.key_id}
                self._read_mtime_ns = mtime_ns
                self._cache.clear()
        except (OSError, jwt.PyJWTError, ValueError):
            _log.exception("cannot read the key set; keeping the last one", extra={"file.path": str(self._path)})


def _expired() -> Unauthenticated:
    return Unauthenticated("the access token has expired", reason="TOKEN_EXPIRED")
