"""Errors as `google.rpc.Status`: code, message, one `ErrorInfo`, every violation, and when to try again."""

from __future__ import annotations

from typing import Final

from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.rpc.code_pb2 import Code
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status
from grpc import StatusCode

from weft.errors import ServiceError

__all__ = ["STATUS_CODES", "STATUS_DETAILS_KEY", "to_status"]

STATUS_DETAILS_KEY: Final = "grpc-status-details-bin"
STATUS_CODES: Final = {code.name: code for code in StatusCode}


def to_status(error: ServiceError, *, domain: str) -> Status:
    """Return what the caller is told. *domain* is the mesh name of the service that refuses."""
    details = [ErrorInfo(reason=error.reason, domain=domain, metadata=error.metadata)]
    if error.violations:
        fields = [BadRequest.FieldViolation(field=it.field, description=it.description) for it in error.violations]
        details.append(BadRequest(field_violations=fields))
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
