"""What is built from a contract: order, rules, routes, clusters and endpoints."""

from __future__ import annotations

import re
from typing import Any, TypeVar

import pytest
from google.protobuf.any_pb2 import Any as AnyProto
from google.protobuf.message import Message
from xds_api.envoy.config.route.v3.route_components_pb2 import Route
from xds_api.envoy.extensions.filters.http.buffer.v3.buffer_pb2 import BufferPerRoute
from xds_api.envoy.extensions.filters.http.jwt_authn.v3.config_pb2 import JwtAuthentication
from xds_api.envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
)

from weft.contract import Access, Contract, Method, Outlier, RateLimit, Retry, Service, ServicePolicy
from weft.gateway import GatewayConfig, build_clusters, build_endpoints, build_listeners, build_routes, static
from weft.gateway.filters import AUTHENTICATION, BODY_LIMIT
from weft.gateway.routes import template_regex
from weft.registry import Instance

CONFIG = GatewayConfig()
M = TypeVar("M", bound=Message)


def method(name: str, **fields: Any) -> Method:
    common: dict[str, Any] = {
        "service_name": "library",
        "service_full_name": "a.Library",
        "access": Access.PUBLIC,
        "timeout_s": 1.0,
    }
    return Method(name=name, request="a.Request", response="a.Response", **(common | fields))


def contract_of(*methods: Method, policy: ServicePolicy | None = None) -> Contract:
    service = Service(
        name="library", full_name="a.Library", file="a.proto", methods=methods, policy=policy or ServicePolicy()
    )
    return Contract(services=(service,))


def manager(contract: Contract, config: GatewayConfig = CONFIG) -> HttpConnectionManager:
    [listener] = build_listeners(contract, config, b"image")
    result = HttpConnectionManager()
    assert listener.filter_chains[0].filters[0].typed_config.Unpack(result)
    return result


def unpacked(packed: AnyProto, into: M) -> M:
    assert packed.Unpack(into)
    return into


def routes(contract: Contract, config: GatewayConfig = CONFIG) -> list[Route]:
    [configuration] = build_routes(contract, config, "{}")
    [host] = configuration.virtual_hosts
    return list(host.routes)


def route(contract: Contract, name: str) -> Route:
    return next(route for route in routes(contract) if route.name == f"/a.Library/{name}")


def test_filters_are_in_the_one_order_that_is_safe(contract: Contract) -> None:
    names = [http_filter.name for http_filter in manager(contract).http_filters]

    assert names == [
        "envoy.filters.http.header_mutation",
        "envoy.filters.http.health_check",
        "envoy.filters.http.cors",
        "envoy.filters.http.grpc_web",
        "weft.client_rate_limit",
        "envoy.filters.http.buffer",
        "envoy.filters.http.grpc_json_transcoder",
        "envoy.filters.http.jwt_authn",
        "weft.method_rate_limit",
        "envoy.filters.http.router",
    ]


def test_whatever_is_not_public_needs_a_token(contract: Contract) -> None:
    packed = next(found for found in manager(contract).http_filters if found.name == AUTHENTICATION).typed_config
    *relaxed, last = unpacked(packed, JwtAuthentication()).rules

    open_paths = {rule.match.path or rule.match.prefix for rule in relaxed}
    methods = contract.methods.values()
    assert (last.match.prefix, last.requires.provider_name) == ("/", "tokens")
    assert not [rule for rule in relaxed if rule.HasField("requires")]
    assert open_paths == {found.path for found in methods if found.access is Access.PUBLIC} | {
        "/docs",
        "/openapi.json",
        "/.well-known/jwks.json",
        "/healthz",
        "/grpc.reflection.v1.ServerReflection/",
        "/grpc.reflection.v1alpha.ServerReflection/",
    }
    assert not open_paths & {found.path for found in methods if found.access is Access.AUTHENTICATED}


def test_every_method_has_a_route_of_its_own_to_its_service(contract: Contract) -> None:
    found = {
        route.match.path: route.route.cluster for route in routes(contract) if route.match.path in contract.methods
    }

    assert found == {
        path: method.service_name for path, method in contract.methods.items() if method.access is not Access.SERVICE
    }


def test_what_only_services_may_call_has_no_route() -> None:
    contract = contract_of(method("Count", access=Access.SERVICE, callers=frozenset({"archive"})))

    assert not [found for found in routes(contract) if found.match.path in contract.methods]


def test_only_what_declares_a_retry_is_retried() -> None:
    contract = contract_of(method("Get", idempotent=True, retry=Retry(max_attempts=3)), method("Put", idempotent=True))

    get, put = route(contract, "Get").route, route(contract, "Put").route

    assert get.retry_policy.num_retries.value == 2
    assert get.retry_policy.retry_on == "connect-failure,refused-stream,reset,unavailable"
    assert not get.retry_policy.HasField("per_try_timeout")
    assert not put.HasField("retry_policy")


def test_a_unary_method_ends_with_its_timeout_and_tells_the_service() -> None:
    found = route(contract_of(method("Get", timeout_s=0.25)), "Get")

    assert found.route.timeout.ToMilliseconds() == 250
    assert not found.route.HasField("max_stream_duration")  # or Envoy would ignore the timeout
    [header] = found.request_headers_to_add
    assert (header.header.key, header.header.value) == ("grpc-timeout", "250m")


@pytest.mark.parametrize(("timeout_s", "limit_ms"), [(None, 0), (5.0, 6000)])
def test_a_stream_ends_with_its_limit_or_not_at_all(timeout_s: float | None, limit_ms: int) -> None:
    found = route(contract_of(method("Watch", server_streaming=True, timeout_s=timeout_s)), "Watch").route

    assert found.timeout.ToMilliseconds() == 0
    assert found.max_stream_duration.max_stream_duration.ToMilliseconds() == limit_ms
    assert found.max_stream_duration.grpc_timeout_header_max.ToMilliseconds() == limit_ms


def test_a_stream_of_requests_is_not_held_back() -> None:
    contract = contract_of(
        method("Put"), method("Import", client_streaming=True), policy=ServicePolicy(max_request_bytes=9)
    )

    put, stream = (
        unpacked(route(contract, name).typed_per_filter_config[BODY_LIMIT], BufferPerRoute())
        for name in ("Put", "Import")
    )

    assert put.buffer.max_request_bytes.value == 9 + 5
    assert stream.disabled


def test_a_limited_method_has_a_bucket_for_each_client() -> None:
    contract = contract_of(method("Get"), method("Join", rate_limit=RateLimit(requests=3, per_s=60)))

    limits = next(found for found in manager(contract).http_filters if found.name == "weft.method_rate_limit")

    text = str(limits.typed_config)
    assert "/a.Library/Join" in text
    assert "/a.Library/Get" not in text


@pytest.mark.parametrize(
    ("template", "matches", "others"),
    [
        ("/v1/shelves", ["/v1/shelves"], ["/v1/shelves/", "/v1/shelvesx"]),
        ("/v1/shelves/{shelf_id}", ["/v1/shelves/a.b"], ["/v1/shelves/", "/v1/shelves/a/b"]),
        ("/v1/shelves/{shelf_id}:open", ["/v1/shelves/a:open"], ["/v1/shelves/a"]),
        ("/v1/{name=shelves/*/books/*}", ["/v1/shelves/a/books/b"], ["/v1/shelves/a", "/v1/shelves/a/books/b/c"]),
        ("/v1/{name=files/**}:read", ["/v1/files/a/b:read"], ["/v1/other/a:read"]),
        ("/v1/*/x.json", ["/v1/a/x.json"], ["/v1/a/xjson"]),
    ],
)
def test_a_template_becomes_an_expression_for_the_same_paths(
    template: str, matches: list[str], others: list[str]
) -> None:
    expression = re.compile(template_regex(template))

    assert [path for path in matches + others if expression.fullmatch(path)] == matches


def test_services_that_share_a_mesh_name_share_a_cluster() -> None:
    first, second = (
        Service(name="library", full_name=name, file="a.proto", methods=(), policy=ServicePolicy(max_requests=limit))
        for name, limit in (("a.First", 7), ("a.Second", 8))
    )

    [cluster] = build_clusters(Contract(services=(first, second)), CONFIG)

    assert (cluster.name, cluster.circuit_breakers.thresholds[0].max_requests.value) == ("library", 7)


def test_a_cluster_is_protected_as_the_contract_says() -> None:
    outlier = Outlier(interval_s=2, base_ejection_s=9, max_ejection_percent=30, consecutive_failures=4)
    policy = ServicePolicy(max_requests=70, retry_budget_percent=25, min_retries=40, outlier=outlier)

    [cluster] = build_clusters(contract_of(method("Get"), policy=policy), CONFIG)

    found, [limits] = cluster.outlier_detection, cluster.circuit_breakers.thresholds
    assert (found.interval.ToSeconds(), found.base_ejection_time.ToSeconds()) == (2, 9)
    assert found.max_ejection_percent.value == 30
    assert found.consecutive_gateway_failure.value == found.consecutive_local_origin_failure.value == 4
    assert found.enforcing_consecutive_5xx.value == 0
    assert (limits.max_requests.value, limits.retry_budget.budget_percent.value) == (70, 25)
    assert limits.retry_budget.min_retry_concurrency.value == 40


def instance(port: int, **fields: Any) -> Instance:
    common: dict[str, Any] = {"id": f"library-{port}", "service": "library", "address": "127.0.0.1", "port": port}
    return Instance(**(common | fields))


def test_endpoints_are_in_a_stable_order_with_their_weights_and_each_address_once() -> None:
    given = [instance(9002), instance(9001, weight=3), instance(9002, id="library-again")]

    forwards, backwards = build_endpoints("library", given), build_endpoints("library", given[::-1])

    [locality] = forwards.endpoints
    ports = [
        (found.endpoint.address.socket_address.port_value, found.load_balancing_weight.value)
        for found in locality.lb_endpoints
    ]
    assert forwards.SerializeToString(deterministic=True) == backwards.SerializeToString(deterministic=True)
    assert ports == [(9001, 3), (9002, 1)]


def test_a_service_without_instances_has_an_empty_assignment() -> None:
    found = build_endpoints("library", [])

    assert (found.cluster_name, len(found.endpoints)) == ("library", 0)


def test_what_is_built_twice_is_equal(contract: Contract) -> None:
    texts = {static(contract, CONFIG) for _ in range(3)}
    listeners = {build_listeners(contract, CONFIG, b"x")[0].SerializeToString(deterministic=True) for _ in range(3)}

    assert (len(texts), len(listeners)) == (1, 1)


def test_every_wrong_setting_is_named_at_once() -> None:
    with pytest.raises(ValueError, match="jwks must be") as refused:
        GatewayConfig(port=70000, trusted_hops=11, requests_per_s=0, burst=-1, trace_ratio=2, otlp="x", jwks="[]")

    assert len(str(refused.value).splitlines()) == 7
