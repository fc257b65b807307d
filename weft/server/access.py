"""Access decisions: compiled once for a method, so that a public method pays nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from weft.call import Call
from weft.contract import Access, Method
from weft.errors import PermissionDenied, Unauthenticated
from weft.security import ServiceVerifier, TokenVerifier

__all__ = ["compile_access"]

Admit = Callable[[Call, Mapping[str, str | bytes]], None]


def compile_access(
    method: Method, verifier: TokenVerifier | None, services: ServiceVerifier | None = None
) -> Admit | None:
    """Return what identifies the caller and decides, or None for a public method.

    Args:
        method: What is called.
        verifier: Of users' tokens.
        services: Of services' tokens.

    Raises:
        ValueError: the method needs a token and there is nothing to verify one with.
    """
    if method.access is Access.PUBLIC:
        return None
    if method.access is Access.SERVICE:
        if services is None:
            raise ValueError(
                f"{method.path} is for services, and their keys aren't configured: set WEFT_SERVICE_KEY_DIR"
            )
        return _admit_services(method, services)
    if verifier is None:
        raise ValueError(f"{method.path} needs tokens, and no key set is configured: set WEFT_JWKS_FILE")
    verify, roles = verifier.verify, method.roles

    def admit(call: Call, metadata: Mapping[str, str | bytes]) -> None:
        token = _bearer_token(metadata)
        call.identity = verify(token)
        if roles and roles.isdisjoint(call.identity.roles):
            raise PermissionDenied("this needs another role", reason="ROLE_MISSING", roles=",".join(sorted(roles)))
        call.authorization = f"Bearer {token}"

    return admit


def _admit_services(method: Method, services: ServiceVerifier) -> Admit:
    subjects = frozenset(f"service:{name}" for name in method.callers)

    def admit(call: Call, metadata: Mapping[str, str | bytes]) -> None:
        call.identity = services.verify(_bearer_token(metadata))
        if call.identity.subject not in subjects:
            callers = ",".join(sorted(method.callers))
            raise PermissionDenied("this is for other services", reason="CALLER_NOT_ALLOWED", callers=callers)
        # Not passed on: what a service may do for one that calls it, it does on its own behalf.

    return admit


def _bearer_token(metadata: Mapping[str, str | bytes]) -> str:
    header = metadata.get("authorization", "")
    scheme, _, token = header.partition(" ") if isinstance(header, str) else ("", "", "")
    if scheme.lower() != "bearer" or not token:
        raise Unauthenticated("this needs an access token", reason="TOKEN_MISSING")
    return token
