"""The HTTP filters, in the order in which requests pass them; responses pass them the other way round."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Final

from google.protobuf.any_pb2 import Any as AnyProto
from google.protobuf.wrappers_pb2 import BoolValue, UInt32Value
from xds_api.envoy.config.common.mutation_rules.v3.mutation_rules_pb2 import HeaderMutation as Mutation
from xds_api.envoy.config.core.v3.base_pb2 import DataSource, RuntimeFractionalPercent
from xds_api.envoy.config.core.v3.http_uri_pb2 import HttpUri
from xds_api.envoy.config.route.v3.route_components_pb2 import FilterConfig, HeaderMatcher, RateLimit, RouteMatch
from xds_api.envoy.extensions.common.ratelimit.v3.ratelimit_pb2 import LocalRateLimitDescriptor, RateLimitDescriptor
from xds_api.envoy.extensions.filters.http.buffer.v3.buffer_pb2 import Buffer, BufferPerRoute
from xds_api.envoy.extensions.filters.http.cors.v3.cors_pb2 import Cors, CorsPolicy
from xds_api.envoy.extensions.filters.http.grpc_json_transcoder.v3.transcoder_pb2 import GrpcJsonTranscoder
from xds_api.envoy.extensions.filters.http.grpc_web.v3.grpc_web_pb2 import GrpcWeb
from xds_api.envoy.extensions.filters.http.header_mutation.v3.header_mutation_pb2 import (
    HeaderMutation,
    HeaderMutationPerRoute,
    Mutations,
)
from xds_api.envoy.extensions.filters.http.health_check.v3.health_check_pb2 import HealthCheck
from xds_api.envoy.extensions.filters.http.jwt_authn.v3.config_pb2 import (
    JwtAuthentication,
    JwtHeader,
    JwtProvider,
    JwtRequirement,
    RequirementRule,
)
from xds_api.envoy.extensions.filters.http.local_ratelimit.v3.local_rate_limit_pb2 import LocalRateLimit
from xds_api.envoy.extensions.filters.http.router.v3.router_pb2 import Router
from xds_api.envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import HttpFilter
from xds_api.envoy.type.matcher.v3.regex_pb2 import RegexMatcher
from xds_api.envoy.type.matcher.v3.string_pb2 import StringMatcher
from xds_api.envoy.type.v3.percent_pb2 import FractionalPercent
from xds_api.envoy.type.v3.token_bucket_pb2 import TokenBucket

from weft.contract import Access, Contract, Method, ServicePolicy
from weft.gateway.config import GatewayConfig
from weft.gateway.messages import IF_ABSENT, NOWHERE, extended, header, packed
from weft.gateway.replies import REFUSAL_STATUS
from weft.security import IDENTITY_HEADER_PREFIX

HEADERS: Final = "envoy.filters.http.header_mutation"
HEALTH: Final = "envoy.filters.http.health_check"
CORS: Final = "envoy.filters.http.cors"
GRPC_WEB: Final = "envoy.filters.http.grpc_web"
CLIENT_LIMIT: Final = "weft.client_rate_limit"
BODY_LIMIT: Final = "envoy.filters.http.buffer"
TRANSCODER: Final = "envoy.filters.http.grpc_json_transcoder"
AUTHENTICATION: Final = "envoy.filters.http.jwt_authn"
METHOD_LIMIT: Final = "weft.method_rate_limit"
ROUTER: Final = "envoy.filters.http.router"

HEALTH_PATH: Final = "/healthz"
PROVIDER: Final = "tokens"
MAX_REST_BYTES: Final = ServicePolicy().max_request_bytes
"""Largest body of a REST request to a service that doesn't set its own limit."""
FRAME_HEADER_BYTES: Final = 5
"""What gRPC puts in front of each message."""
MAX_RESPONSE_BYTES: Final = 16 * 1024 * 1024
"""Longest JSON answer of a unary method."""
CLIENTS_REMEMBERED: Final = 10_000
"""Addresses with a rate limit bucket of their own at a time; the least recently seen is forgotten first."""
CLOCK_SKEW_S: Final = 10
TOKENS_CACHED: Final = 1000
"""Verified tokens each worker remembers: the signature is most of what a small call costs here."""
LEAST_FILL: Final = timedelta(milliseconds=50)  # Envoy's shortest

_EXPOSED: Final = "grpc-status, grpc-message, grpc-status-details-bin, x-request-id, retry-after, www-authenticate"
_ALLOWED: Final = (
    "authorization, content-type, idempotency-key, traceparent, tracestate, grpc-timeout, x-grpc-web, x-user-agent"
)


def build_filters(
    contract: Contract, config: GatewayConfig, image: DataSource, jwks: DataSource | None, public: tuple[str, ...]
) -> list[HttpFilter]:
    """Return the filters of the listener.

    Args:
        contract: names the services to transcode and who may call what.
        config: the rest.
        image: the contract's descriptors, as bytes or the name of a file.
        jwks: the key set, as text with at least one key or the name of a file; None if there is no key yet.
        public: paths outside the contract that need no token; with a slash at the end also all below.
    """
    filters = {
        # First, so that nothing else sees a forged header; and last on the way out, where it sees what really leaves.
        HEADERS: packed(HeaderMutation(mutations=Mutations(request_mutations=_FORGEABLE, response_mutations=_LEAVING))),
        HEALTH: packed(HealthCheck(pass_through_mode=BoolValue(value=False), headers=[_path(HEALTH_PATH)])),
        # Before everything that refuses, so that a page may read the refusal,
        CORS: packed(Cors()),
        # and a gRPC-Web caller gets it in its own form.
        GRPC_WEB: packed(GrpcWeb()),
        CLIENT_LIMIT: _client_limit(config),
        BODY_LIMIT: packed(Buffer(max_request_bytes=UInt32Value(value=MAX_REST_BYTES))),
        TRANSCODER: packed(_transcoder(contract, image)),
        # After the transcoder, from where on REST and gRPC callers have the same path, that of the method. Before it, a
        # rule for a method would let its REST path through.
        AUTHENTICATION: packed(_authentication(contract, config, jwks, public)),
        METHOD_LIMIT: _method_limit(contract),
        ROUTER: packed(Router(suppress_envoy_headers=True)),
    }
    return [HttpFilter(name=name, typed_config=typed_config) for name, typed_config in filters.items()]


def of_all_routes(config: GatewayConfig) -> Mapping[str, AnyProto]:
    """Return what holds for every route."""
    if not config.allowed_origins:
        return {}
    origins = [
        StringMatcher(safe_regex=RegexMatcher(regex=".*")) if origin == "*" else StringMatcher(exact=origin)
        for origin in config.allowed_origins
    ]
    policy = CorsPolicy(
        allow_origin_string_match=origins,
        allow_methods="GET, POST, PUT, PATCH, DELETE",
        allow_headers=_ALLOWED,
        expose_headers=_EXPOSED,
        max_age="7200",
        forward_not_matching_preflights=BoolValue(value=False),
    )
    return {CORS: packed(policy)}


def of_rest(config: GatewayConfig, max_bytes: int = MAX_REST_BYTES) -> Mapping[str, AnyProto]:
    """Return what holds for a REST request until its method is known."""
    return {HEADERS: _answer_headers(config), BODY_LIMIT: _body_limit(max_bytes)}


def of_pages(config: GatewayConfig) -> Mapping[str, AnyProto]:
    """Return what holds for the pages the gateway answers itself."""
    return {HEADERS: _answer_headers(config), TRANSCODER: packed(FilterConfig(disabled=True))}


def of_method(method: Method, policy: ServicePolicy) -> Mapping[str, AnyProto]:
    """Return what holds for one gRPC method."""
    if method.client_streaming:
        return of_streams()
    return {BODY_LIMIT: _body_limit(policy.max_request_bytes + FRAME_HEADER_BYTES)}


def of_streams() -> Mapping[str, AnyProto]:
    """Return what holds for requests that must flow: the body limit would wait for their end."""
    return {BODY_LIMIT: packed(BufferPerRoute(disabled=True))}


def of_unknown_methods() -> Mapping[str, AnyProto]:
    """Return what holds where no service is reached: who asks for what isn't there is told so, token or not."""
    return {AUTHENTICATION: packed(FilterConfig(disabled=True))}


_FORGEABLE: Final = [
    *(
        Mutation(remove_on_match=Mutation.RemoveOnMatch(key_matcher=StringMatcher(prefix=prefix)))
        for prefix in (IDENTITY_HEADER_PREFIX, "x-envoy-")  # the latter would set timeouts and retries
    ),
    Mutation(remove="x-forwarded-client-cert"),
]
_LEAVING: Final = [
    # The gRPC-Web filter writes a status of its own over that of a refusal: 429 as UNAVAILABLE, which invites a repeat.
    Mutation(append=header("grpc-status", f"%RESP({REFUSAL_STATUS})%")),
    Mutation(remove=REFUSAL_STATUS),
    Mutation(remove="x-envoy-upstream-healthchecked-cluster"),
]


def _answer_headers(config: GatewayConfig) -> AnyProto:
    """Return the headers of REST answers and pages: no gRPC status beside the JSON, nothing a browser could misread."""
    added = [
        header("x-content-type-options", "nosniff"),
        header("referrer-policy", "no-referrer"),
        header("x-frame-options", "DENY"),
        header("content-security-policy", "default-src 'none'; frame-ancestors 'none'", IF_ABSENT),
        header("cache-control", "no-store", IF_ABSENT),
    ]
    if config.hsts_max_age_s:
        added.append(header("strict-transport-security", f"max-age={config.hsts_max_age_s}"))
    removed = ("grpc-status", "grpc-message", "grpc-status-details-bin", "grpc-encoding", "grpc-accept-encoding")
    mutations = [*(Mutation(append=option) for option in added), *(Mutation(remove=name) for name in removed)]
    return packed(HeaderMutationPerRoute(mutations=Mutations(response_mutations=mutations)))


def _body_limit(max_bytes: int) -> AnyProto:
    return packed(BufferPerRoute(buffer=Buffer(max_request_bytes=UInt32Value(value=max_bytes))))


def _client_limit(config: GatewayConfig) -> AnyProto:
    bucket = TokenBucket(
        max_tokens=config.burst,
        tokens_per_fill=UInt32Value(value=config.requests_per_s),
        fill_interval=timedelta(seconds=1),
    )
    client = LocalRateLimitDescriptor(entries=[RateLimitDescriptor.Entry(key="remote_address")], token_bucket=bucket)
    return _rate_limit("client", RateLimit(actions=[_BY_ADDRESS]), [client])


def _method_limit(contract: Contract) -> AnyProto:
    by_method = RateLimit.Action(
        request_headers=RateLimit.Action.RequestHeaders(header_name=":path", descriptor_key="method")
    )
    descriptors = [
        LocalRateLimitDescriptor(
            entries=[
                RateLimitDescriptor.Entry(key="method", value=method.path),
                RateLimitDescriptor.Entry(key="remote_address"),
            ],
            token_bucket=TokenBucket(
                max_tokens=method.rate_limit.requests,
                tokens_per_fill=UInt32Value(value=method.rate_limit.requests),
                fill_interval=timedelta(seconds=method.rate_limit.per_s),
            ),
        )
        for method in contract.methods.values()
        if method.rate_limit
    ]
    return _rate_limit("method", RateLimit(actions=[by_method, _BY_ADDRESS]), descriptors)


_BY_ADDRESS: Final = RateLimit.Action(remote_address=RateLimit.Action.RemoteAddress())


def _rate_limit(name: str, rate_limit: RateLimit, descriptors: list[LocalRateLimitDescriptor]) -> AnyProto:
    always = RuntimeFractionalPercent(default_value=FractionalPercent(numerator=100))
    unlimited = 2**32 - 1
    config = LocalRateLimit(
        stat_prefix=name,
        filter_enabled=always,
        filter_enforced=always,
        rate_limits=[rate_limit],
        descriptors=descriptors,
        max_dynamic_descriptors=UInt32Value(value=CLIENTS_REMEMBERED),
        # What no descriptor is for is not limited.
        token_bucket=TokenBucket(
            max_tokens=unlimited, tokens_per_fill=UInt32Value(value=unlimited), fill_interval=LEAST_FILL
        ),
        always_consume_default_token_bucket=BoolValue(value=False),
        rate_limited_as_resource_exhausted=True,  # UNAVAILABLE, the default, would be retried
    )
    return extended(config, enable_retry_after_header=True)


def _transcoder(contract: Contract, image: DataSource) -> GrpcJsonTranscoder:
    transcoder = GrpcJsonTranscoder(
        services=sorted(service.full_name for service in contract.services),
        print_options=GrpcJsonTranscoder.PrintOptions(
            always_print_primitive_fields=True, stream_newline_delimited=True
        ),
        convert_grpc_status=True,
        request_validation_options=GrpcJsonTranscoder.RequestValidationOptions(
            reject_unknown_method=True,
            reject_unknown_query_parameters=True,
            reject_binding_body_field_collisions=True,
        ),
        query_param_unescape_plus=True,  # as every form and most clients write a space
        match_unregistered_custom_verb=True,
        max_response_body_size=UInt32Value(value=MAX_RESPONSE_BYTES),
    )
    if image.filename:
        transcoder.proto_descriptor = image.filename
    else:
        transcoder.proto_descriptor_bin = image.inline_bytes
    return transcoder


def _authentication(
    contract: Contract, config: GatewayConfig, jwks: DataSource | None, public: tuple[str, ...]
) -> JwtAuthentication:
    provider = JwtProvider(
        issuer=config.issuer,
        audiences=[config.audience] if config.audience else [],
        from_headers=[JwtHeader(name="authorization", value_prefix="Bearer ")],
        forward=True,  # services verify it again
        require_expiration=True,
        clock_skew_seconds=CLOCK_SKEW_S,
    )
    provider.jwt_cache_config.jwt_cache_size = TOKENS_CACHED
    if jwks:
        provider.local_jwks.CopyFrom(jwks)
    else:
        # Envoy refuses a listener whose set is empty. Keys that can't be fetched refuse every token, and only tokens.
        missing = HttpUri(uri=f"http://{NOWHERE}", cluster=NOWHERE, timeout=timedelta(seconds=1))
        provider.remote_jwks.http_uri.CopyFrom(missing)
    open_methods = [method.path for method in contract.methods.values() if method.access is Access.PUBLIC]
    rules = [
        *(RequirementRule(match=RouteMatch(path=path)) for path in open_methods),
        *(RequirementRule(match=_below(path)) for path in public),
        # Deny by default: whatever is not named above needs a token.
        RequirementRule(match=RouteMatch(prefix="/"), requires=JwtRequirement(provider_name=PROVIDER)),
    ]
    return JwtAuthentication(providers={PROVIDER: provider}, rules=rules)


def _below(path: str) -> RouteMatch:
    return RouteMatch(prefix=path) if path.endswith("/") else RouteMatch(path=path)


def _path(path: str) -> HeaderMatcher:
    return HeaderMatcher(name=":path", string_match=StringMatcher(exact=path))
