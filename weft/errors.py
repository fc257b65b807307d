"""Errors a service may show its callers.

Domain code raises these (or subclasses with a name of their own); only `weft.server` knows how they become a
`google.rpc.Status`.
This module imports nothing, so that a domain stays free of gRPC and SQL.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

__all__ = [
    "Aborted",
    "AlreadyExists",
    "DeadlineExceeded",
    "FailedPrecondition",
    "Internal",
    "InvalidArgument",
    "NotFound",
    "PermissionDenied",
    "ResourceExhausted",
    "ServiceError",
    "Unauthenticated",
    "Unavailable",
    "Unimplemented",
    "Violation",
]

_WORD_START = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


@dataclass(frozen=True, slots=True)
class Violation:
    """One field that breaks a rule; becomes a `google.rpc.BadRequest.FieldViolation`."""

    field: str
    """Path of the field as JSON callers write it, `lines[2].quantity`."""
    description: str
    """What the field must be. Never contains the value that was sent."""


class ServiceError(Exception):
    """The caller's answer when a call can't be done.

    Args:
        message: One sentence for developers; may change at any time.
        reason: Stable UPPER_SNAKE_CASE cause, one per cause; by default the class name, `InsufficientStock` ->
            `INSUFFICIENT_STOCK`.
        retry_after_s: Seconds after which the same call may succeed; becomes `google.rpc.RetryInfo`.
        violations: Every field that breaks a rule; becomes `google.rpc.BadRequest`.
        metadata: Every variable of *message* as data; becomes `google.rpc.ErrorInfo.metadata`. Never secret or
            personal.

    Source: https://google.aip.dev/193
    """

    code: ClassVar[str] = "UNKNOWN"
    """Canonical status code name, https://grpc.io/docs/guides/status-codes."""

    def __init__(
        self,
        message: str,
        *,
        reason: str | None = None,
        retry_after_s: float | None = None,
        violations: Sequence[Violation] = (),
        **metadata: object,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason or _WORD_START.sub("_", type(self).__name__).upper()
        self.retry_after_s = retry_after_s
        self.violations = tuple(violations)
        self.metadata: Mapping[str, str] = {key: str(value) for key, value in metadata.items()}


class InvalidArgument(ServiceError):
    """The request is wrong whatever the state; don't repeat it unchanged."""

    code = "INVALID_ARGUMENT"


class NotFound(ServiceError):
    """The thing named doesn't exist, or the caller may not know that it does."""

    code = "NOT_FOUND"


class AlreadyExists(ServiceError):
    """The thing to create exists."""

    code = "ALREADY_EXISTS"


class FailedPrecondition(ServiceError):
    """The state forbids it; change the state first, don't just repeat."""

    code = "FAILED_PRECONDITION"


class PermissionDenied(ServiceError):
    """The caller is known and may not."""

    code = "PERMISSION_DENIED"


class Unauthenticated(ServiceError):
    """It isn't known who is calling."""

    code = "UNAUTHENTICATED"


class ResourceExhausted(ServiceError):
    """A limit or quota is used up."""

    code = "RESOURCE_EXHAUSTED"


class Aborted(ServiceError):
    """Another transaction got in the way; redo the whole of it."""

    code = "ABORTED"


class Unavailable(ServiceError):
    """Nothing was done and it may work soon; redo the call."""

    code = "UNAVAILABLE"


class DeadlineExceeded(ServiceError):
    """Time ran out; whether it was done is not known."""

    code = "DEADLINE_EXCEEDED"


class Internal(ServiceError):
    """A defect of ours. The caller learns nothing more."""

    code = "INTERNAL"


class Unimplemented(ServiceError):
    """The method exists in the contract and not in this build."""

    code = "UNIMPLEMENTED"
