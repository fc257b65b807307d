"""Tokens, keys and identities."""

from weft.security.identity import IDENTITY_HEADER_PREFIX, Identity
from weft.security.keys import SigningKey, create_signing_key, write_jwks
from weft.security.services import (
    SERVICE_ROLE,
    ServiceTokens,
    ServiceVerifier,
    create_service_keys,
    write_service_jwks,
)
from weft.security.tokens import AccessToken, TokenIssuer, TokenVerifier

__all__ = [
    "IDENTITY_HEADER_PREFIX",
    "SERVICE_ROLE",
    "AccessToken",
    "Identity",
    "ServiceTokens",
    "ServiceVerifier",
    "SigningKey",
    "TokenIssuer",
    "TokenVerifier",
    "create_service_keys",
    "create_signing_key",
    "write_jwks",
    "write_service_jwks",
]
