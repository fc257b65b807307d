"""Tokens, keys and identities."""

from weft.security.identity import IDENTITY_HEADER_PREFIX, Identity
from weft.security.keys import SigningKey, create_signing_key, write_jwks
from weft.security.tokens import AccessToken, TokenIssuer, TokenVerifier

__all__ = [
    "IDENTITY_HEADER_PREFIX",
    "AccessToken",
    "Identity",
    "SigningKey",
    "TokenIssuer",
    "TokenVerifier",
    "create_signing_key",
    "write_jwks",
]
