"""Access decisions: compiled once for a method, so that a public method pays nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from weft.call import Call
from weft.contract import Access, Method
from weft.errors import PermissionDenied, Unauthenticated
from weft.security import TokenVerifier

__all__ = ["compile_access"]

Admit = Callable[[Call, Mapping[str, str | bytes]], None]


def compile_access(method: Method, verifier: TokenVerifier | None) -> Admit | None:
    """Return what identifies the caller and decides, or None for a public method.

    Raises:
        ValueError: the method needs a token and there is nothing to verify one with.
    """
    if method.access is Access.PUBLIC:
        return None
    if verifier is None:
        raise ValueError(f"{method.path} needs tokens, and no key set is configured: set WEFT_JWKS_FILE")
    verify, roles = verifier.verify, method.roles

    def admit(call: Call, metadata: Mapping[str, str | bytes]) -> None:
        header = metadata.get("authorization", "")
        scheme, _, token = header.partition(" ") if isinstance(header, str) else ("", "", "")
        if scheme.lower() != "bearer" or not token:
            raise Unauthenticated("this needs an access token", reason="TOKEN_MISSING")
        call.identity = verify(token)
        if roles and roles.isdisjoint(call.identity.roles):
            raise PermissionDenied("this needs another role", reason="ROLE_MISSING", roles=",".join(sorted(roles)))
        call.authorization = f"Bearer {token}"

    return admit
