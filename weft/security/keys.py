"""Keys that tokens are signed with, and the public set that everyone verifies them by."""

from __future__ import annotations

import base64
import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

__all__ = ["SigningKey", "create_signing_key", "write_jwks"]


class SigningKey:
    """A private P-256 key; `key_id` is its RFC 7638 thumbprint, so that equal keys have equal names everywhere."""

    def __init__(self, private: ec.EllipticCurvePrivateKey) -> None:
        self.private = private
        numbers = private.public_key().public_numbers()
        required = {"crv": "P-256", "kty": "EC", "x": _base64(numbers.x), "y": _base64(numbers.y)}
        thumbprint = hashlib.sha256(json.dumps(required, separators=(",", ":"), sort_keys=True).encode()).digest()
        self.key_id = base64.urlsafe_b64encode(thumbprint).decode().rstrip("=")
        self.public_jwk: Mapping[str, str] = required | {"kid": self.key_id, "use": "sig", "alg": "ES256"}

    @classmethod
    def generate(cls) -> SigningKey:
        return cls(ec.generate_private_key(ec.SECP256R1()))

    @classmethod
    def load(cls, path: Path) -> SigningKey:
        """Read a PEM file. Raises ValueError when it isn't a P-256 private key, OSError when it can't be read."""
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
        if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
            raise ValueError(f"{path} does not hold a P-256 private key")  # noqa: TRY004 (the file is wrong)
        return cls(key)


def create_signing_key(path: Path) -> SigningKey:
    """Make a key and keep it in *path*, readable by its owner only. Raises FileExistsError rather than replace one."""
    key = SigningKey.generate()
    pem = key.private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(pem)
    return key


def write_jwks(keys: Iterable[SigningKey], path: Path) -> None:
    """Write the public halves as a JSON Web Key Set, replacing the file at once."""
    temporary = path.with_suffix(".new")
    temporary.write_text(json.dumps({"keys": [dict(key.public_jwk) for key in keys]}, indent=1) + "\n")
    temporary.replace(path)


def _base64(number: int) -> str:
    return base64.urlsafe_b64encode(number.to_bytes(32, "big")).decode().rstrip("=")
