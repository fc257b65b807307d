"""Errors as `google.rpc.Status`: code, message, one `ErrorInfo`, every violation, and when to try again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.rpc.code_pb2 import Code
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status
from grpc import StatusCode

from weft.errors import ServiceError, Violation

__all__ = ["MAX_VIOLATIONS_BYTES", "STATUS_CODES", "STATUS_DETAILS_KEY", "to_status"]

STATUS_DETAILS_KEY: Final = "grpc-status-details-bin"
STATUS_CODES: Final = {code.name: code for code in StatusCode}


MAX_VIOLATIONS_BYTES: Final = 4 * 1024
"""A status travels in a trailer, encoded in a third more. gRPC refuses trailers beyond 8 KiB, and the caller would be
told that instead of the reason."""


def to_status(error: ServiceError, *, domain: str) -> Status:
    """Return what the caller is told. *domain* is the mesh name of the service that refuses.

    Violations that would not fit are left out; the metadata `violations_left_out` says how many.
    """
    info = ErrorInfo(reason=error.reason, domain=domain, metadata=error.metadata)
    details = [info]
    if error.violations:
        request = BadRequest(field_violations=_fitting(error.violations))
        details.append(request)
        if left_out := len(error.violations) - len(request.field_violations):
            info.metadata["violations_left_out"] = str(left_out)
    if error.retry_after_s is not None:
        details.append(
            RetryInfo(
                retry_delay=Duration(nanos=round(error.retry_after_s % 1 * 1e9), seconds=int(error.retry_after_s))
            )
        )
    status = Status(code=Code.Value(error.code), message=error.message)
    for detail in details:
        packed = AnyMessage()
        packed.Pack(detail)
        status.details.append(packed)
    return status


def _fitting(violations: Iterable[Violation]) -> Iterator[BadRequest.FieldViolation]:
    left = MAX_VIOLATIONS_BYTES
    for violation in violations:
        found = BadRequest.FieldViolation(field=violation.field, description=violation.description)
        left -= found.ByteSize() + 3  # its tag and length
        if left < 0:
            return
        yield found
