"""Where each method goes, and for how long."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import timedelta
from typing import Final

from google.protobuf.wrappers_pb2 import BoolValue, UInt32Value
from xds_api.envoy.config.core.v3.base_pb2 import DataSource
from xds_api.envoy.config.route.v3.route_components_pb2 import (
    Decorator,
    DirectResponseAction,
    HeaderMatcher,
    RetryPolicy,
    Route,
    RouteAction,
    RouteMatch,
    VirtualHost,
)
from xds_api.envoy.config.route.v3.route_pb2 import RouteConfiguration
from xds_api.envoy.extensions.retry.host.previous_hosts.v3.previous_hosts_pb2 import PreviousHostsPredicate
from xds_api.envoy.type.matcher.v3.regex_pb2 import RegexMatcher
from xds_api.envoy.type.matcher.v3.string_pb2 import StringMatcher

from weft.contract import Access, Contract, Method, Retry, ServicePolicy
from weft.gateway import docs, filters
from weft.gateway.config import GatewayConfig
from weft.gateway.messages import IF_ABSENT, IS_NOT_GRPC, NOWHERE, header, packed

__all__ = ["JWKS_PATH", "OPENAPI_PATH", "PAGES", "REFLECTION", "ROUTES", "build_routes"]

ROUTES: Final = "edge"
"""Name of the gateway's route configuration."""
OPENAPI_PATH: Final = "/openapi.json"
JWKS_PATH: Final = "/.well-known/jwks.json"
PAGES: Final = (docs.PATH, OPENAPI_PATH, JWKS_PATH)
"""Paths the gateway itself answers."""
REFLECTION: Final = ("/grpc.reflection.v1.ServerReflection/", "/grpc.reflection.v1alpha.ServerReflection/")
RETRY_ON: Final = "connect-failure,refused-stream,reset,unavailable"
"""What a gRPC caller knows as UNAVAILABLE."""
STREAM_IDLE: Final = timedelta(hours=1)
"""How long a stream may be silent both ways."""
STREAM_GRACE: Final = timedelta(seconds=1)
"""By how much the gateway's limit on a stream exceeds the contract's, so that the service ends it, with a status."""
PAGE_MAX_AGE_S: Final = 60
_VARIABLE: Final = re.compile(r"\{[^}=]+(?:=([^}]*))?\}|\*\*|\*")


def build_routes(contract: Contract, config: GatewayConfig, openapi: str) -> list[RouteConfiguration]:
    """Return the gateway's route configuration; *openapi* is the text that `/openapi.json` answers."""
    bodies = {
        docs.PATH: DataSource(inline_string=docs.page()),
        OPENAPI_PATH: DataSource(inline_string=openapi),
        JWKS_PATH: DataSource(inline_string=config.jwks),
    }
    return [
        route_configuration(contract, config, bodies, max(len(body.inline_string.encode()) for body in bodies.values()))
    ]


def route_configuration(
    contract: Contract, config: GatewayConfig, bodies: Mapping[str, DataSource], max_body_bytes: int
) -> RouteConfiguration:
    """Return the routes in the order they are tried; *bodies* are of the pages, none longer than *max_body_bytes*."""
    policies = {method.path: service.policy for service in contract.services for method in service.methods}
    routes = [
        *(_page(path, bodies[path], config) for path in PAGES),
        # A REST request has one of these routes until it is transcoded, and that of its gRPC method from then on.
        *_rest_with_own_limit(contract.methods.values(), policies, config),
        Route(
            match=RouteMatch(prefix="/", headers=[IS_NOT_GRPC]),
            route=_nowhere(),
            typed_per_filter_config=filters.of_rest(config),
        ),
        *(_reflection(prefix, config.reflection_cluster) for prefix in REFLECTION if config.reflection_cluster),
        # What only services may call has no route: the front door doesn't know it.
        *(
            _method(method, policies[method.path])
            for method in contract.methods.values()
            if method.access is not Access.SERVICE
        ),
        Route(match=RouteMatch(prefix="/"), route=_nowhere(), typed_per_filter_config=filters.of_unknown_methods()),
    ]
    return RouteConfiguration(
        name=ROUTES,
        virtual_hosts=[
            VirtualHost(name="all", domains=["*"], routes=routes, typed_per_filter_config=filters.of_all_routes(config))
        ],
        max_direct_response_body_size_bytes=UInt32Value(value=max_body_bytes),
        validate_clusters=BoolValue(value=False),
    )


def _page(path: str, body: DataSource, config: GatewayConfig) -> Route:
    headers = {
        docs.PATH: {
            "content-type": "text/html; charset=utf-8",
            "content-security-policy": docs.content_security_policy(),
        },
    }.get(path, {"content-type": "application/json"})
    return Route(
        match=RouteMatch(path=path, headers=[_verb("GET|HEAD")]),
        direct_response=DirectResponseAction(status=200, body=body),
        response_headers_to_add=[
            *(header(name, value) for name, value in headers.items()),
            header("cache-control", f"public, max-age={PAGE_MAX_AGE_S}"),
        ],
        typed_per_filter_config=filters.of_pages(config),
    )


def _method(method: Method, policy: ServicePolicy) -> Route:
    action = RouteAction(cluster=method.service_name)
    if method.client_streaming or method.server_streaming:
        _limit_stream(action, method.timeout_s)
    else:
        action.timeout.FromTimedelta(timedelta(seconds=method.timeout_s or 0))
    if method.retry:
        action.retry_policy.CopyFrom(_retry_policy(method.retry))
    route = Route(
        name=method.path,
        match=RouteMatch(path=method.path),
        route=action,
        decorator=Decorator(operation=method.path, propagate=BoolValue(value=False)),  # the name of its span
        typed_per_filter_config=filters.of_method(method, policy),
    )
    if method.timeout_s:
        # A REST caller sends no deadline, and the service should know when nobody waits any more.
        milliseconds = max(1, round(method.timeout_s * 1000))
        route.request_headers_to_add.append(header("grpc-timeout", f"{milliseconds}m", IF_ABSENT))
    return route


def _limit_stream(action: RouteAction, timeout_s: float | None) -> None:
    """End a stream by the smaller of the contract's limit and the caller's deadline, and not by Envoy's 15 seconds."""
    limit = timedelta(seconds=timeout_s) + STREAM_GRACE if timeout_s else timedelta()
    action.timeout.FromTimedelta(timedelta())
    action.idle_timeout.FromTimedelta(STREAM_IDLE)
    action.max_stream_duration.grpc_timeout_header_max.FromTimedelta(limit)
    action.max_stream_duration.max_stream_duration.FromTimedelta(limit)


def _retry_policy(retry: Retry) -> RetryPolicy:
    return RetryPolicy(
        retry_on=RETRY_ON,
        num_retries=UInt32Value(value=retry.max_attempts - 1),
        retry_host_predicate=[
            RetryPolicy.RetryHostPredicate(
                name="envoy.retry_host_predicates.previous_hosts", typed_config=packed(PreviousHostsPredicate())
            )
        ],
        host_selection_retry_max_attempts=5,
        retry_back_off=RetryPolicy.RetryBackOff(
            base_interval=timedelta(seconds=retry.initial_backoff_s),
            max_interval=timedelta(seconds=retry.max_backoff_s),
        ),
    )


def _reflection(prefix: str, cluster: str) -> Route:
    action = RouteAction(cluster=cluster)
    _limit_stream(action, None)
    return Route(
        name=prefix, match=RouteMatch(prefix=prefix), route=action, typed_per_filter_config=filters.of_streams()
    )


def _rest_with_own_limit(
    methods: Iterable[Method], policies: Mapping[str, ServicePolicy], config: GatewayConfig
) -> Iterator[Route]:
    """Yield a route for each REST binding with a body whose service's limit is not the default."""
    for method in methods:
        policy = policies[method.path]
        if policy.max_request_bytes == filters.MAX_REST_BYTES:
            continue
        for rule in method.http:
            if rule.body:
                yield Route(
                    match=RouteMatch(
                        safe_regex=RegexMatcher(regex=template_regex(rule.template)),
                        headers=[IS_NOT_GRPC, _verb(rule.verb)],
                    ),
                    route=_nowhere(),
                    typed_per_filter_config=filters.of_rest(config, policy.max_request_bytes),
                )


def template_regex(template: str) -> str:
    """Return an RE2 expression for the paths that a `google.api.http` template matches.

    Source: the comment of `google.api.HttpRule`, "Path template syntax".
    """
    result, at = "", 0
    for found in _VARIABLE.finditer(template):
        result += re.escape(template[at : found.start()])
        if found[0] == "**":
            result += ".*"
        elif found[0] == "*" or found[1] is None:
            result += "[^/]+"
        else:
            result += template_regex(found[1])
        at = found.end()
    return result + re.escape(template[at:])


def _verb(pattern: str) -> HeaderMatcher:
    return HeaderMatcher(name=":method", string_match=StringMatcher(safe_regex=RegexMatcher(regex=pattern)))


def _nowhere() -> RouteAction:
    """Return what answers 404. It is no direct response, since CORS only works on routes that lead to a cluster."""
    return RouteAction(cluster=NOWHERE, cluster_not_found_response_code=RouteAction.NOT_FOUND)
