"""How a service proves to another which one it is: short tokens that it signs itself.

Every service has a key of its own, and can speak for nobody else: the id of each key in the set that all verify by,
`<service>/<thumbprint>`, says whose it is. Users' tokens are signed by other keys, of another set, for another
audience, so neither kind passes for the other.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final, Self

from weft.security.keys import SigningKey, create_signing_key
from weft.security.tokens import TokenIssuer, TokenVerifier

__all__ = ["SERVICE_ROLE", "ServiceTokens", "ServiceVerifier", "create_service_keys", "write_service_jwks"]

SERVICE_ROLE: Final = "service"
_AUDIENCE: Final = "weft-services"
_LIFETIME_S: Final = 300.0
_RENEW_S: Final = 60.0
"""A token that ends sooner is not sent any more: clocks differ, and calls take time."""
_KEY_SET: Final = "services.json"


class ServiceTokens:
    """Tokens of one service, signed anew a minute before the last one ends."""

    def __init__(self, name: str, key: SigningKey) -> None:
        key_id = f"{name}/{key.key_id}"
        self._issuer = TokenIssuer(key, issuer=name, audience=_AUDIENCE, lifetime_s=_LIFETIME_S, key_id=key_id)
        self._subject = f"service:{name}"
        self._text = ""
        self._renew_at = float("-inf")

    @classmethod
    def load(cls, name: str, folder: Path) -> Self:
        """Read `<name>.pem` in *folder*. Raises OSError or ValueError where that holds no key."""
        return cls(name, SigningKey.load(folder / f"{name}.pem"))

    def authorization(self) -> str:
        """Return the value of the header that says who is calling."""
        now = time.time()
        if now >= self._renew_at:
            token = self._issuer.issue(self._subject, (SERVICE_ROLE,))
            self._text, self._renew_at = f"Bearer {token.text}", token.expire_time.timestamp() - _RENEW_S
        return self._text


class ServiceVerifier(TokenVerifier):
    """Verifies tokens of services by the key set `services.json` of a folder, which is read again when it changes."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder / _KEY_SET, audience=_AUDIENCE)

    def _issuer_of(self, key_id: str) -> str:
        return key_id.partition("/")[0]


def create_service_keys(names: Iterable[str], folder: Path) -> None:
    """Make the keys in *folder* that are missing, and the set of all of them.

    On one machine; where machines differ, each gets `services.json` and its own key.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for name in names:
        with suppress(FileExistsError):
            create_signing_key(folder / f"{name}.pem")
    write_service_jwks({path.stem: SigningKey.load(path) for path in sorted(folder.glob("*.pem"))}, folder)


def write_service_jwks(keys: Mapping[str, SigningKey], folder: Path) -> None:
    """Write service -> key as the key set of *folder*, replacing it at once."""
    entries = [dict(key.public_jwk) | {"kid": f"{name}/{key.key_id}"} for name, key in keys.items()]
    temporary = folder / f"{_KEY_SET}.new"
    temporary.write_text(json.dumps({"keys": entries}, indent=1) + "\n")
    temporary.replace(folder / _KEY_SET)
