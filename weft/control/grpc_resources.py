"""What gRPC's own xDS client needs to call a service: pure functions from contract and instances to messages.

For each mesh name one listener with its routes inside, one cluster, one assignment of endpoints. The routes are inline
because they only change with the contract: a channel is ready one round trip earlier, and listener and routes can't be
torn apart. A gRPC client refuses a whole resource for an address that is there twice, a locality without a weight or a
load balancing policy it does not know (gRFC A27, A44, A50, A52).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Final

from google.protobuf.any_pb2 import Any
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.wrappers_pb2 import UInt32Value
from xds_api.envoy.config.cluster.v3.circuit_breaker_pb2 import CircuitBreakers
from xds_api.envoy.config.cluster.v3.cluster_pb2 import Cluster, LoadBalancingPolicy
from xds_api.envoy.config.cluster.v3.outlier_detection_pb2 import OutlierDetection
from xds_api.envoy.config.core.v3.address_pb2 import Address, SocketAddress
from xds_api.envoy.config.core.v3.base_pb2 import Locality
from xds_api.envoy.config.core.v3.config_source_pb2 import AggregatedConfigSource, ApiVersion, ConfigSource
from xds_api.envoy.config.core.v3.extension_pb2 import TypedExtensionConfig
from xds_api.envoy.config.endpoint.v3.endpoint_components_pb2 import Endpoint, LbEndpoint, LocalityLbEndpoints
from xds_api.envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from xds_api.envoy.config.listener.v3.api_listener_pb2 import ApiListener
from xds_api.envoy.config.listener.v3.listener_pb2 import Listener
from xds_api.envoy.config.route.v3.route_components_pb2 import RetryPolicy as RetryPolicyProto
from xds_api.envoy.config.route.v3.route_components_pb2 import Route, RouteAction, RouteMatch, VirtualHost
from xds_api.envoy.config.route.v3.route_pb2 import RouteConfiguration
from xds_api.envoy.extensions.filters.http.router.v3.router_pb2 import Router
from xds_api.envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
    HttpFilter,
)
from xds_api.envoy.extensions.load_balancing_policies.least_request.v3.least_request_pb2 import LeastRequest
from xds_api.envoy.extensions.load_balancing_policies.round_robin.v3.round_robin_pb2 import RoundRobin
from xds_api.envoy.extensions.load_balancing_policies.wrr_locality.v3.wrr_locality_pb2 import WrrLocality

from weft.contract import Contract, Method, Outlier, Service
from weft.registry import Instance

__all__ = ["build_assignment", "build_cluster", "build_listener", "by_mesh_name"]

EARLY_S: Final = 2.0
"""By how much C-core's clock for such limits may be ahead: it starts one to two seconds before the call does.

Without this a limit of half a second fails every call at once. So the limit is the last resort of a client that brings
no deadline; the exact one is its own and the server's. Source: grpc/grpc#34547, seen in 1.85.1.
"""
MIN_HOSTS: Final = 2
"""Instances below which nobody is left out; gRPC's default of 5 would spare every small service."""
MIN_CALLS: Final = 10
"""Calls to an instance in one interval below which its failures are chance; gRPC's default is 50."""


def by_mesh_name(contract: Contract) -> dict[str, tuple[Service, ...]]:
    """Return mesh name -> the gRPC services that its instances serve."""
    ordered = sorted(contract.services, key=lambda service: (service.name, service.full_name))
    return {name: tuple(services) for name, services in groupby(ordered, key=lambda service: service.name)}


def build_listener(name: str, services: Iterable[Service]) -> Listener:
    """Return what `xds:///<name>` resolves to: a route per method with its timeout and retries, one for all else."""
    methods = sorted((method for service in services for method in service.methods), key=lambda method: method.path)
    host = VirtualHost(
        name=name, domains=["*"], routes=[*(_route(method, name) for method in methods), _any_route(name)]
    )
    manager = HttpConnectionManager(
        stat_prefix=name,
        route_config=RouteConfiguration(name=name, virtual_hosts=[host]),
        http_filters=[HttpFilter(name="router", typed_config=_packed(Router()))],  # required, and required to be last
    )
    return Listener(name=name, api_listener=ApiListener(api_listener=_packed(manager)))


def _route(method: Method, cluster: str) -> Route:
    action = RouteAction(cluster=cluster)
    if method.timeout_s is not None:  # not `timeout`, which gRPC ignores (gRFC A31)
        action.max_stream_duration.max_stream_duration.CopyFrom(_duration(method.timeout_s + EARLY_S))
    if method.retry is not None:
        action.retry_policy.CopyFrom(
            RetryPolicyProto(
                retry_on="unavailable",
                num_retries=UInt32Value(value=method.retry.max_attempts - 1),
                retry_back_off=RetryPolicyProto.RetryBackOff(
                    base_interval=_duration(method.retry.initial_backoff_s),
                    max_interval=_duration(max(method.retry.initial_backoff_s, method.retry.max_backoff_s)),
                ),
            )
        )
    return Route(match=RouteMatch(path=method.path), route=action)


def _any_route(cluster: str) -> Route:
    """Health, reflection, and methods newer than this contract: no retries, and no timeout but the caller's."""
    return Route(match=RouteMatch(prefix=""), route=RouteAction(cluster=cluster))


def build_cluster(name: str, service: Service) -> Cluster:
    """Return how the instances of *name* are chosen and protected; who they are comes over ADS."""
    threshold = CircuitBreakers.Thresholds(max_requests=UInt32Value(value=service.policy.max_requests))
    return Cluster(
        name=name,
        type=Cluster.EDS,
        eds_cluster_config=Cluster.EdsClusterConfig(
            eds_config=ConfigSource(ads=AggregatedConfigSource(), resource_api_version=ApiVersion.V3)
        ),
        load_balancing_policy=_balancing(),
        circuit_breakers=CircuitBreakers(thresholds=[threshold]),
        outlier_detection=_outlier_detection(service.policy.outlier),
    )


def _balancing() -> LoadBalancingPolicy:
    """Fewest calls under way where the client can (Go, Java), in turn where it can't (C++, Python); gRFC A48."""
    in_turn = _policy(WrrLocality(endpoint_picking_policy=LoadBalancingPolicy(policies=[_policy(RoundRobin())])))
    return LoadBalancingPolicy(policies=[_policy(LeastRequest()), in_turn])


def _policy(message: Message) -> LoadBalancingPolicy.Policy:
    config = TypedExtensionConfig(name=message.DESCRIPTOR.name, typed_config=_packed(message))
    return LoadBalancingPolicy.Policy(typed_extension_config=config)


def _outlier_detection(outlier: Outlier) -> OutlierDetection:
    """By share of failed calls only: of few instances none deviates far enough from the average to be an outlier.

    To gRPC every status but OK is a failure (gRFC A50), NOT_FOUND too: `failure_percent` must leave room for those.
    """
    return OutlierDetection(
        interval=_duration(outlier.interval_s),
        base_ejection_time=_duration(outlier.base_ejection_s),
        max_ejection_percent=UInt32Value(value=outlier.max_ejection_percent),
        enforcing_success_rate=UInt32Value(value=0),
        enforcing_failure_percentage=UInt32Value(value=100),  # gRPC enforces nothing unless it is said
        failure_percentage_threshold=UInt32Value(value=outlier.failure_percent),
        failure_percentage_minimum_hosts=UInt32Value(value=MIN_HOSTS),
        failure_percentage_request_volume=UInt32Value(value=MIN_CALLS),
    )


def build_assignment(name: str, instances: Iterable[Instance]) -> ClusterLoadAssignment:
    """Return the endpoints of the cluster *name*, each address once, in one order whatever that of *instances*.

    gRPC weighs localities and ignores the weights of endpoints in them, so instances of equal weight make up a locality
    whose weight is theirs together.
    """
    unique = {(instance.address, instance.port): instance for instance in sorted(instances, key=lambda each: each.id)}
    ordered = sorted(unique.values(), key=lambda each: (each.weight, each.address, each.port))
    groups = [tuple(group) for _, group in groupby(ordered, key=lambda each: each.weight)]
    return ClusterLoadAssignment(cluster_name=name, endpoints=_localities(groups))


def _localities(groups: list[tuple[Instance, ...]]) -> Iterator[LocalityLbEndpoints]:
    for group in groups:
        weight = group[0].weight
        yield LocalityLbEndpoints(
            locality=Locality(sub_zone=f"weight-{weight}") if len(groups) > 1 else Locality(),
            load_balancing_weight=UInt32Value(value=weight * len(group)),
            lb_endpoints=[_endpoint(instance) for instance in group],
        )


def _endpoint(instance: Instance) -> LbEndpoint:
    socket = SocketAddress(address=instance.address, port_value=instance.port)
    return LbEndpoint(endpoint=Endpoint(address=Address(socket_address=socket)))


def _packed(message: Message) -> Any:
    packed = Any()
    packed.Pack(message, deterministic=True)
    return packed


def _duration(seconds: float) -> Duration:
    duration = Duration()
    duration.FromNanoseconds(round(seconds * 1e9))
    return duration
