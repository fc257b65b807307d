"""The services behind the gateway, and their instances."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from google.protobuf.any_pb2 import Any as AnyProto
from google.protobuf.wrappers_pb2 import BoolValue, UInt32Value
from xds_api.envoy.config.cluster.v3.circuit_breaker_pb2 import CircuitBreakers
from xds_api.envoy.config.cluster.v3.cluster_pb2 import Cluster, UpstreamConnectionOptions
from xds_api.envoy.config.cluster.v3.outlier_detection_pb2 import OutlierDetection
from xds_api.envoy.config.core.v3.address_pb2 import TcpKeepalive
from xds_api.envoy.config.core.v3.base_pb2 import Locality
from xds_api.envoy.config.core.v3.protocol_pb2 import Http2ProtocolOptions
from xds_api.envoy.config.endpoint.v3.endpoint_components_pb2 import Endpoint, LbEndpoint, LocalityLbEndpoints
from xds_api.envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from xds_api.envoy.extensions.upstreams.http.v3.http_protocol_options_pb2 import HttpProtocolOptions
from xds_api.envoy.type.v3.percent_pb2 import Percent

from weft.contract import Contract, Outlier, ServicePolicy
from weft.gateway.config import GatewayConfig
from weft.gateway.messages import over_ads, packed, socket_address

if TYPE_CHECKING:
    from weft.registry import Instance

__all__ = ["build_clusters", "build_endpoints"]

COLLECTOR: Final = "otlp"
"""Cluster of the OpenTelemetry collector."""
CONNECT_TIMEOUT: Final = timedelta(seconds=1)
PANIC_PERCENT: Final = 10
"""With a smaller share of healthy instances all are tried: hardly one left is no reason to refuse every call."""


def build_clusters(contract: Contract, config: GatewayConfig) -> list[Cluster]:
    """Return one cluster for each mesh name, sorted; their instances come over ADS."""
    policies = {service.name: service.policy for service in reversed(contract.services)}
    clusters = [_cluster(name, policy) for name, policy in sorted(policies.items())]
    if config.otlp:
        host, _, port = config.otlp.rpartition(":")
        clusters.append(named_hosts(http2_cluster(COLLECTOR), [(host, int(port))]))
    return clusters


def build_endpoints(name: str, instances: Iterable[Instance]) -> ClusterLoadAssignment:
    """Return the endpoints of the cluster *name*: each address once, in a stable order."""
    in_order = sorted(instances, key=lambda instance: instance.id)
    by_address = {(instance.address, instance.port): instance for instance in in_order}
    endpoints = [
        LbEndpoint(
            endpoint=Endpoint(address=socket_address(address, port)),
            load_balancing_weight=UInt32Value(value=instance.weight),
        )
        for (address, port), instance in sorted(by_address.items())
    ]
    return ClusterLoadAssignment(
        cluster_name=name,
        endpoints=[LocalityLbEndpoints(locality=Locality(), lb_endpoints=endpoints)] if endpoints else [],
    )


def http2_cluster(name: str) -> Cluster:
    """Return a cluster that speaks HTTP/2, which gRPC needs and Envoy doesn't assume, without hosts."""
    return Cluster(
        name=name,
        connect_timeout=CONNECT_TIMEOUT,
        # TCP's own probes, since gRPC servers answer HTTP/2 pings they find too frequent with GOAWAY.
        upstream_connection_options=UpstreamConnectionOptions(
            tcp_keepalive=TcpKeepalive(
                keepalive_probes=UInt32Value(value=3),
                keepalive_time=UInt32Value(value=10),
                keepalive_interval=UInt32Value(value=5),
            )
        ),
        typed_extension_protocol_options={HttpProtocolOptions.DESCRIPTOR.full_name: _http2()},
    )


def named_hosts(cluster: Cluster, hosts: Iterable[tuple[str, int]]) -> Cluster:
    """Return *cluster* with hosts of its own instead of those from ADS; names are resolved again and again."""
    result = Cluster()
    result.CopyFrom(cluster)
    result.ClearField("eds_cluster_config")
    result.type = Cluster.STRICT_DNS
    endpoints = [LbEndpoint(endpoint=Endpoint(address=socket_address(host, port))) for host, port in hosts]
    result.load_assignment.CopyFrom(
        ClusterLoadAssignment(cluster_name=cluster.name, endpoints=[LocalityLbEndpoints(lb_endpoints=endpoints)])
    )
    return result


def _cluster(name: str, policy: ServicePolicy) -> Cluster:
    cluster = http2_cluster(name)
    cluster.type = Cluster.EDS
    cluster.eds_cluster_config.eds_config.CopyFrom(over_ads())
    # Not LEAST_REQUEST: an instance that has died has the fewest requests, and would be chosen again for every retry.
    cluster.lb_policy = Cluster.ROUND_ROBIN
    cluster.common_lb_config.healthy_panic_threshold.CopyFrom(Percent(value=PANIC_PERCENT))
    # Envoy would collect changes of health for a second, and send calls to a host it has ejected until then.
    cluster.common_lb_config.update_merge_window.FromTimedelta(timedelta())
    cluster.outlier_detection.CopyFrom(_outlier_detection(policy.outlier))
    cluster.circuit_breakers.CopyFrom(_circuit_breakers(policy))
    return cluster


def _outlier_detection(outlier: Outlier) -> OutlierDetection:
    failures = UInt32Value(value=outlier.consecutive_failures)
    always, never = UInt32Value(value=100), UInt32Value(value=0)
    return OutlierDetection(
        interval=timedelta(seconds=outlier.interval_s),
        base_ejection_time=timedelta(seconds=outlier.base_ejection_s),
        max_ejection_percent=UInt32Value(value=outlier.max_ejection_percent),
        always_eject_one_host=BoolValue(value=True),
        # UNAVAILABLE and DEADLINE_EXCEEDED. All of 5xx would count INTERNAL and UNKNOWN: one broken request, repeated,
        # would take a sound instance away from everyone.
        consecutive_gateway_failure=failures,
        enforcing_consecutive_gateway_failure=always,
        enforcing_consecutive_5xx=never,
        enforcing_success_rate=never,
        enforcing_failure_percentage=never,
        # No connection, a reset, a timeout: counted apart, since successes elsewhere on the host don't excuse them.
        split_external_local_origin_errors=True,
        consecutive_local_origin_failure=failures,
        enforcing_consecutive_local_origin_failure=always,
        enforcing_local_origin_success_rate=never,
    )


def _circuit_breakers(policy: ServicePolicy) -> CircuitBreakers:
    most = UInt32Value(value=policy.max_requests)
    return CircuitBreakers(
        thresholds=[
            CircuitBreakers.Thresholds(
                max_connections=most,
                max_pending_requests=most,
                max_requests=most,
                retry_budget=CircuitBreakers.Thresholds.RetryBudget(
                    budget_percent=Percent(value=policy.retry_budget_percent),
                    min_retry_concurrency=UInt32Value(value=policy.min_retries),
                ),
                track_remaining=True,
            )
        ]
    )


def _http2() -> AnyProto:
    http2 = HttpProtocolOptions.ExplicitHttpConfig(http2_protocol_options=Http2ProtocolOptions())
    return packed(HttpProtocolOptions(explicit_http_config=http2))
