"""What callers are told when the gateway itself refuses: one JSON shape over REST, a clean status over gRPC."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from google.protobuf.json_format import ParseDict
from google.protobuf.struct_pb2 import Struct
from xds_api.envoy.config.accesslog.v3.accesslog_pb2 import (
    AccessLogFilter,
    AndFilter,
    ComparisonFilter,
    HeaderFilter,
    OrFilter,
    StatusCodeFilter,
)
from xds_api.envoy.config.core.v3.base_pb2 import DataSource, RuntimeUInt32
from xds_api.envoy.config.core.v3.substitution_format_string_pb2 import SubstitutionFormatString
from xds_api.envoy.config.route.v3.route_components_pb2 import HeaderMatcher
from xds_api.envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    LocalReplyConfig,
    ResponseMapper,
)

from weft.gateway.messages import IS_NOT_GRPC, header

__all__ = ["REFUSAL_STATUS", "build_replies"]

REFUSAL_STATUS: Final = "x-weft-grpc-status"
"""Carries the status of a gRPC refusal past the gRPC-Web filter; doesn't leave the gateway."""


class _Reply(NamedTuple):
    http: int
    code: int
    """Of `google.rpc.Code`."""
    message: str = ""
    """Empty keeps Envoy's text, where it says what the caller can change."""
    grpc_code: int | None = None
    """Where it differs from `code`."""


_REPLIES: Final = (
    _Reply(400, 3),
    _Reply(401, 16),
    _Reply(403, 7),
    _Reply(404, 5, "no such method", grpc_code=12),
    _Reply(408, 4, "the request took too long"),
    _Reply(413, 8, "the request is too large"),
    _Reply(429, 8, "too many requests"),
    _Reply(431, 3, "the request's headers are too large"),
    _Reply(500, 13, "internal error"),
    _Reply(502, 14, "the service's answer could not be read"),
    _Reply(503, 14, "the service is unavailable"),
    _Reply(504, 4, "the deadline passed"),
)
_BAD_REQUEST: Final = 400
_INVALID: Final = 3
_UNKNOWN: Final = 2
_TEXT: Final = "%LOCAL_REPLY_BODY%"


def build_replies() -> LocalReplyConfig:
    """Return the mapping of Envoy's own answers; the first mapper that matches is used.

    JSON is only for REST callers: Envoy would put it into the message of a gRPC status too.
    """
    return LocalReplyConfig(mappers=[*_json(), *_grpc()])


def _json() -> Iterator[ResponseMapper]:
    # Refused before it was a request: there is no text to keep.
    malformed = AndFilter(filters=[_status(ComparisonFilter.EQ, _BAD_REQUEST), _header(_HAS_NO_ID)])
    yield _json_mapper(AccessLogFilter(and_filter=malformed), _INVALID, "malformed request")
    for reply in _REPLIES:
        yield _json_mapper(_status(ComparisonFilter.EQ, reply.http), reply.code, reply.message or _TEXT)
    yield _json_mapper(_status(ComparisonFilter.GE, _BAD_REQUEST), _UNKNOWN, _TEXT)


def _json_mapper(status: AccessLogFilter, code: int, message: str) -> ResponseMapper:
    body = ParseDict({"code": code, "message": message, "details": []}, Struct())
    return ResponseMapper(
        filter=AccessLogFilter(and_filter=AndFilter(filters=[status, _WANTS_JSON])),
        body_format_override=SubstitutionFormatString(json_format=body),
    )


def _grpc() -> Iterator[ResponseMapper]:
    for reply in _REPLIES:
        code = reply.code if reply.grpc_code is None else reply.grpc_code
        yield ResponseMapper(
            filter=_status(ComparisonFilter.EQ, reply.http),
            body=DataSource(inline_string=reply.message) if reply.message else None,
            headers_to_add=[header("grpc-status", str(code)), header(REFUSAL_STATUS, str(code))],
        )


_HAS_NO_ID: Final = HeaderMatcher(name="x-request-id", present_match=True, invert_match=True)


def _status(op: ComparisonFilter.Op, value: int) -> AccessLogFilter:
    comparison = ComparisonFilter(op=op, value=RuntimeUInt32(default_value=value, runtime_key="weft.unused"))
    return AccessLogFilter(status_code_filter=StatusCodeFilter(comparison=comparison))


def _header(matcher: HeaderMatcher) -> AccessLogFilter:
    return AccessLogFilter(header_filter=HeaderFilter(header=matcher))


_WANTS_JSON: Final = AccessLogFilter(
    or_filter=OrFilter(
        filters=[_header(IS_NOT_GRPC), _header(HeaderMatcher(name="x-envoy-original-path", present_match=True))]
    )
)
"""A REST request, before the transcoder or after it, which keeps the path in a header that no caller can send."""
