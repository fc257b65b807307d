"""A peer's refusal, as an exception that keeps its reason."""

from __future__ import annotations

from typing import Any

from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import DecodeError
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status
from grpc import aio

from weft.errors import ServiceError, Violation

__all__ = ["PeerError"]


class PeerError(ServiceError):
    """A call to a peer failed. What it means to our own caller is for the service to decide.

    `code` is the canonical name, UNAVAILABLE and DEADLINE_EXCEEDED also where the peer was never reached; `reason` is
    the peer's own,
    or the code where it gave none.
    """

    def __init__(self, peer: str, code: str, message: str, **details: object) -> None:
        super().__init__(message, **details)  # type: ignore[arg-type]  # as from_rpc_error collects them
        self.peer = peer
        self.code = code  # type: ignore[misc]  # a peer's code is only known when it answers

    @classmethod
    def from_rpc_error(cls, peer: str, error: aio.AioRpcError) -> PeerError:
        code = error.code().name
        found: dict[str, object] = {"reason": code}
        metadata: dict[str, str] = {}
        for detail in _details(error):
            if detail.Is(ErrorInfo.DESCRIPTOR):
                info = ErrorInfo.FromString(detail.value)
                found["reason"] = info.reason
                metadata = dict(info.metadata)
            elif detail.Is(BadRequest.DESCRIPTOR):
                fields = BadRequest.FromString(detail.value).field_violations
                found["violations"] = [Violation(it.field, it.description) for it in fields]
            elif detail.Is(RetryInfo.DESCRIPTOR):
                delay = RetryInfo.FromString(detail.value).retry_delay
                found["retry_after_s"] = delay.seconds + delay.nanos / 1e9
        made = cls(peer, code, error.details() or code, **found)
        made.metadata = metadata
        return made


def _details(error: aio.AioRpcError) -> list[AnyMessage]:
    trailers: dict[str, Any] = dict(error.trailing_metadata() or ())  # type: ignore[arg-type]  # its items are pairs
    try:
        return list(Status.FromString(trailers.get("grpc-status-details-bin", b"")).details)
    except DecodeError:
        return []
