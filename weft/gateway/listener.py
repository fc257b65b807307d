"""The one listener: REST, gRPC-Web and gRPC on the same port."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Final

from google.protobuf.json_format import MessageToDict, ParseDict
from google.protobuf.struct_pb2 import Struct
from google.protobuf.wrappers_pb2 import BoolValue, UInt32Value
from xds_api.envoy.config.accesslog.v3.accesslog_pb2 import AccessLog, AccessLogFilter, NotHealthCheckFilter
from xds_api.envoy.config.core.v3.address_pb2 import CidrRange
from xds_api.envoy.config.core.v3.base_pb2 import DataSource
from xds_api.envoy.config.core.v3.extension_pb2 import TypedExtensionConfig
from xds_api.envoy.config.core.v3.grpc_service_pb2 import GrpcService
from xds_api.envoy.config.core.v3.protocol_pb2 import Http1ProtocolOptions, Http2ProtocolOptions, HttpProtocolOptions
from xds_api.envoy.config.core.v3.substitution_format_string_pb2 import SubstitutionFormatString
from xds_api.envoy.config.listener.v3.listener_components_pb2 import Filter, FilterChain
from xds_api.envoy.config.listener.v3.listener_pb2 import Listener
from xds_api.envoy.config.route.v3.route_pb2 import RouteConfiguration
from xds_api.envoy.config.trace.v3.http_tracer_pb2 import Tracing
from xds_api.envoy.config.trace.v3.opentelemetry_pb2 import OpenTelemetryConfig
from xds_api.envoy.extensions.access_loggers.stream.v3.stream_pb2 import StdoutAccessLog
from xds_api.envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
    Rds,
)
from xds_api.envoy.type.tracing.v3.custom_tag_pb2 import CustomTag
from xds_api.envoy.type.v3.percent_pb2 import FractionalPercent, Percent

from weft.contract import Contract
from weft.gateway.clusters import COLLECTOR
from weft.gateway.config import GatewayConfig
from weft.gateway.filters import HEALTH_PATH, build_filters
from weft.gateway.messages import over_ads, packed, packed_struct, socket_address
from weft.gateway.replies import build_replies
from weft.gateway.routes import PAGES, REFLECTION, ROUTES

__all__ = ["build_listeners", "listener"]

LISTENER: Final = "edge"
MAX_STREAMS: Final = 1000
"""Calls of one HTTP/2 connection at a time."""
WINDOW_BYTES: Final = 1024 * 1024
HEADERS_TIMEOUT: Final = timedelta(seconds=10)
IDLE_TIMEOUT: Final = timedelta(minutes=5)
"""Of a connection without a call, and of a unary call in which nothing moves."""
SAMPLERS: Final = "envoy.extensions.tracers.opentelemetry.samplers"
PATH_WITHOUT_QUERY: Final = "%PATH(NQ:ORIG_OR_PATH)%"
METHOD: Final = "%REQ(X-ENVOY-ORIGINAL-METHOD?:METHOD)%"
DRAIN: Final = timedelta(seconds=5)
_NOBODY: Final = CidrRange(address_prefix="255.255.255.255", prefix_len=UInt32Value(value=32))
"""No caller is trusted for its private address; an empty list would mean all of those."""


def build_listeners(contract: Contract, config: GatewayConfig, image: bytes) -> list[Listener]:
    """Return the gateway's listener, whose routes come over ADS; *image* holds the contract's descriptors."""
    routes = Rds(route_config_name=ROUTES, config_source=over_ads())
    return [listener(contract, config, routes, DataSource(inline_bytes=image), inline_keys(config))]


def inline_keys(config: GatewayConfig) -> DataSource | None:
    """Return the key set as a filter takes it, None if there is no key in it."""
    return DataSource(inline_string=config.jwks) if json.loads(config.jwks)["keys"] else None


def listener(
    contract: Contract,
    config: GatewayConfig,
    routes: Rds | RouteConfiguration,
    image: DataSource,
    jwks: DataSource | None,
) -> Listener:
    """Return the listener with these routes, descriptors and keys."""
    public = (*PAGES, HEALTH_PATH, *REFLECTION)
    manager = HttpConnectionManager(
        stat_prefix=LISTENER,
        http_filters=build_filters(contract, config, image, jwks, public),
        local_reply_config=build_replies(),
        # A caller is who the connection comes from, or who the trusted proxies name, and never who they say they are.
        use_remote_address=BoolValue(value=True),
        xff_num_trusted_hops=config.trusted_hops,
        internal_address_config=HttpConnectionManager.InternalAddressConfig(cidr_ranges=[_NOBODY]),
        generate_request_id=BoolValue(value=True),
        always_set_request_id_in_response=True,
        server_name="weft",
        normalize_path=BoolValue(value=True),
        merge_slashes=True,
        # `a%2Fb` stays one segment: it is only unescaped into the field it belongs to.
        path_with_escaped_slashes_action=HttpConnectionManager.KEEP_UNCHANGED,
        common_http_protocol_options=HttpProtocolOptions(
            idle_timeout=IDLE_TIMEOUT, headers_with_underscores_action=HttpProtocolOptions.DROP_HEADER
        ),
        http_protocol_options=Http1ProtocolOptions(enable_trailers=True),
        http2_protocol_options=Http2ProtocolOptions(
            max_concurrent_streams=UInt32Value(value=MAX_STREAMS),
            initial_stream_window_size=UInt32Value(value=WINDOW_BYTES),
            initial_connection_window_size=UInt32Value(value=WINDOW_BYTES),
        ),
        request_headers_timeout=HEADERS_TIMEOUT,
        stream_idle_timeout=IDLE_TIMEOUT,
        drain_timeout=DRAIN,
        access_log=_access_log(config),
    )
    if isinstance(routes, Rds):
        manager.rds.CopyFrom(routes)
    else:
        manager.route_config.CopyFrom(routes)
    if config.otlp:
        manager.tracing.CopyFrom(_tracing(config))
    return Listener(
        name=LISTENER,
        address=socket_address(config.address, config.port),
        filter_chains=[
            FilterChain(
                filters=[Filter(name="envoy.filters.network.http_connection_manager", typed_config=packed(manager))]
            )
        ],
    )


def _tracing(config: GatewayConfig) -> HttpConnectionManager.Tracing:
    collector = GrpcService(envoy_grpc=GrpcService.EnvoyGrpc(cluster_name=COLLECTOR))
    provider = Tracing.Http(
        name="envoy.tracers.opentelemetry",
        typed_config=packed(
            OpenTelemetryConfig(grpc_service=collector, service_name="gateway", sampler=_sampler(config.trace_ratio))
        ),
    )
    return HttpConnectionManager.Tracing(
        provider=provider,
        random_sampling=Percent(value=100),  # the sampler decides
        # Instead of the whole URL, whose query may hold something personal, and of the transcoder's POST.
        custom_tags=[
            CustomTag(tag="http.url", value=PATH_WITHOUT_QUERY),
            CustomTag(tag="http.method", value=METHOD),
        ],
    )


def _sampler(ratio: float) -> TypedExtensionConfig:
    """Return what follows the caller's decision and takes *ratio* of the requests that come without one."""
    share = FractionalPercent(numerator=round(ratio * 1_000_000), denominator=FractionalPercent.MILLION)
    by_ratio = packed_struct(
        f"{SAMPLERS}.v3.TraceIdRatioBasedSamplerConfig",
        {"sampling_percentage": MessageToDict(share, preserving_proto_field_name=True)},
    )
    wrapped = TypedExtensionConfig(
        name="envoy.tracers.opentelemetry.samplers.trace_id_ratio_based", typed_config=by_ratio
    )
    return TypedExtensionConfig(
        name="envoy.tracers.opentelemetry.samplers.parent_based",
        typed_config=packed_struct(
            f"{SAMPLERS}.v3.ParentBasedSamplerConfig",
            {"wrapped_sampler": MessageToDict(wrapped, preserving_proto_field_name=True)},
        ),
    )


def _access_log(config: GatewayConfig) -> list[AccessLog]:
    """Log each request but the probes, without the query string and headers, which may hold something personal."""
    if not config.access_log:
        return []
    line = {
        "time": "%START_TIME(%Y-%m-%dT%H:%M:%S.%6fZ)%",
        "level": "INFO",
        "message": "request",
        "logger": "gateway",
        "request_id": "%REQ(X-REQUEST-ID)%",
        "traceparent": "%REQ(TRACEPARENT)%",
        "client.address": "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%",
        "network.protocol": "%PROTOCOL%",
        "http.request.method": METHOD,
        "url.path": PATH_WITHOUT_QUERY,
        "rpc.method": "%ROUTE_NAME%",
        "http.response.status_code": "%RESPONSE_CODE%",
        "rpc.response.status_code": "%GRPC_STATUS%",
        "duration_ms": "%DURATION%",
        "request_bytes": "%BYTES_RECEIVED%",
        "response_bytes": "%BYTES_SENT%",
        "upstream.address": "%UPSTREAM_HOST%",
        "upstream.attempts": "%UPSTREAM_REQUEST_ATTEMPT_COUNT%",
        "response_flags": "%RESPONSE_FLAGS%",
        "response_details": "%RESPONSE_CODE_DETAILS%",
    }
    log_format = SubstitutionFormatString(json_format=ParseDict(line, Struct()))
    return [
        AccessLog(
            name="envoy.access_loggers.stdout",
            filter=AccessLogFilter(not_health_check_filter=NotHealthCheckFilter()),
            typed_config=packed(StdoutAccessLog(log_format=log_format)),
        )
    ]
