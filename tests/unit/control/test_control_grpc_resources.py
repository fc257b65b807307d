"""What gRPC clients are told, and what they would refuse."""

from __future__ import annotations

import random
from datetime import timedelta

from xds_api.envoy.config.cluster.v3.cluster_pb2 import Cluster
from xds_api.envoy.config.listener.v3.listener_pb2 import Listener
from xds_api.envoy.config.route.v3.route_components_pb2 import Route
from xds_api.envoy.extensions.filters.http.router.v3.router_pb2 import Router
from xds_api.envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
)

from weft.contract import Access, Contract, Method, Outlier, Retry, Service, ServicePolicy
from weft.control.grpc_resources import EARLY_S, build_assignment, build_cluster, build_listener, by_mesh_name
from weft.registry import Instance


def method(
    name: str, *, service: str = "LibraryService", timeout_s: float | None = 0.5, retry: Retry | None = None
) -> Method:
    return Method(
        name=name,
        service_name="library",
        service_full_name=f"example.v1.{service}",
        request="example.v1.Request",
        response="example.v1.Response",
        access=Access.PUBLIC,
        timeout_s=timeout_s,
        retry=retry,
    )


def service(*methods: Method, name: str = "LibraryService", policy: ServicePolicy | None = None) -> Service:
    return Service(
        name="library",
        full_name=f"example.v1.{name}",
        file="l.proto",
        methods=methods,
        policy=policy or ServicePolicy(),
    )


def instance(port: int, *, id: str = "", weight: int = 1) -> Instance:  # noqa: A002  # as the registry calls it
    return Instance(id=id or f"library-{port}", service="library", address="127.0.0.1", port=port, weight=weight)


def routes_of(listener: Listener) -> list[Route]:
    manager = HttpConnectionManager()
    assert listener.api_listener.api_listener.Unpack(manager)
    (host,) = manager.route_config.virtual_hosts
    assert list(host.domains) == ["*"]
    return list(host.routes)


def test_each_method_has_a_route_and_all_else_falls_through_to_one_without_retries() -> None:
    reads, writes = method("GetBook", retry=Retry(max_attempts=3)), method("AddBook")

    *routes, last = routes_of(build_listener("library", [service(reads, writes)]))

    assert [route.match.path for route in routes] == [writes.path, reads.path]
    assert (last.match.prefix, last.match.WhichOneof("path_specifier")) == ("", "prefix")
    assert {route.route.cluster for route in (*routes, last)} == {"library"}
    assert [route.route.HasField("retry_policy") for route in (*routes, last)] == [False, True, False]


def test_retries_are_on_unavailable_and_one_fewer_than_attempts() -> None:
    retry = Retry(max_attempts=3, initial_backoff_s=0.02, max_backoff_s=0.3)

    route, _ = routes_of(build_listener("library", [service(method("GetBook", retry=retry))]))

    policy = route.route.retry_policy
    assert (policy.retry_on, policy.num_retries.value) == ("unavailable", 2)
    assert policy.retry_back_off.base_interval.ToTimedelta() == timedelta(milliseconds=20)
    assert policy.retry_back_off.max_interval.ToTimedelta() == timedelta(milliseconds=300)


def test_the_longest_backoff_is_never_shorter_than_the_first_which_grpc_refuses() -> None:
    retry = Retry(max_attempts=2, initial_backoff_s=1, max_backoff_s=0.3)

    route, _ = routes_of(build_listener("library", [service(method("GetBook", retry=retry))]))

    assert route.route.retry_policy.retry_back_off.max_interval.ToTimedelta() == timedelta(seconds=1)


def test_a_timeout_becomes_a_limit_on_the_stream_with_room_for_the_clients_clock() -> None:
    limited, unlimited, _ = routes_of(
        build_listener("library", [service(method("GetBook", timeout_s=0.5), method("Watch", timeout_s=None))])
    )

    assert limited.route.max_stream_duration.max_stream_duration.ToTimedelta() == timedelta(seconds=0.5 + EARLY_S)
    assert not unlimited.route.HasField("max_stream_duration")
    assert not limited.route.HasField("timeout"), "which gRPC ignores"


def test_services_of_one_mesh_name_share_a_listener() -> None:
    contract = Contract(
        services=(
            service(method("GetBook")),
            service(method("GetBook", service="ArchiveService"), name="ArchiveService"),
        )
    )
    ((name, members),) = by_mesh_name(contract).items()

    routes = routes_of(build_listener(name, members))

    assert [route.match.path for route in routes] == [
        "/example.v1.ArchiveService/GetBook",
        "/example.v1.LibraryService/GetBook",
        "",
    ]


def test_the_router_is_the_last_filter() -> None:
    manager = HttpConnectionManager()
    build_listener("library", [service()]).api_listener.api_listener.Unpack(manager)

    assert manager.http_filters[-1].typed_config.TypeName() == Router.DESCRIPTOR.full_name


def test_a_cluster_limits_requests_and_leaves_out_failing_instances_as_the_contract_says() -> None:
    outlier = Outlier(interval_s=2, base_ejection_s=7, max_ejection_percent=30, failure_percent=40)
    cluster = build_cluster("library", service(policy=ServicePolicy(max_requests=17, outlier=outlier)))

    (threshold,) = cluster.circuit_breakers.thresholds
    assert threshold.max_requests.value == 17
    detection = cluster.outlier_detection
    assert (detection.interval.seconds, detection.base_ejection_time.seconds) == (2, 7)
    assert detection.max_ejection_percent.value == 30
    assert detection.failure_percentage_threshold.value == 40
    assert detection.enforcing_failure_percentage.value == 100, "gRPC enforces only what is said to be enforced"
    assert detection.failure_percentage_minimum_hosts.value == 2


def test_a_cluster_offers_a_policy_each_grpc_implementation_knows() -> None:
    cluster = build_cluster("library", service())

    names = [each.typed_extension_config.typed_config.TypeName() for each in cluster.load_balancing_policy.policies]
    assert [name.rpartition(".")[2] for name in names] == ["LeastRequest", "WrrLocality"]
    assert cluster.type == Cluster.EDS
    assert cluster.eds_cluster_config.eds_config.HasField("ads")


def test_instances_of_equal_weight_are_one_locality_without_a_name_but_with_a_weight() -> None:
    (locality,) = build_assignment("library", [instance(2), instance(1)]).endpoints

    assert locality.HasField("locality"), "gRPC refuses one without"
    assert not locality.locality.sub_zone
    assert locality.load_balancing_weight.value == 2
    assert [each.endpoint.address.socket_address.port_value for each in locality.lb_endpoints] == [1, 2]


def test_instances_of_other_weights_are_localities_that_weigh_as_much_as_their_members_together() -> None:
    canary, stable = build_assignment("library", [instance(1, weight=9), instance(2), instance(3, weight=9)]).endpoints

    assert (canary.locality.sub_zone, canary.load_balancing_weight.value) == ("weight-1", 1)
    assert (stable.locality.sub_zone, stable.load_balancing_weight.value) == ("weight-9", 18)
    assert canary.priority == stable.priority == 0


def test_an_address_is_there_once_whoever_else_claims_it() -> None:
    message = build_assignment("library", [instance(1, id="b"), instance(1, id="a", weight=5), instance(2)])

    endpoints = [each for locality in message.endpoints for each in locality.lb_endpoints]
    assert [each.endpoint.address.socket_address.port_value for each in endpoints] == [1, 2]


def test_a_service_without_instances_has_an_empty_assignment() -> None:
    assert not build_assignment("library", []).endpoints


def test_the_assignment_does_not_depend_on_the_order_of_instances() -> None:
    instances = [instance(port, weight=1 + port % 3) for port in range(1, 20)]
    shuffled = random.Random(3).sample(instances, len(instances))

    assert build_assignment("library", shuffled) == build_assignment("library", instances)
