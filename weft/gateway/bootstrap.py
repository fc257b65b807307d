"""What Envoy starts with when a control plane tells it the rest."""

from __future__ import annotations

from datetime import timedelta
from ipaddress import ip_address
from typing import Any, Final

import yaml
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from xds_api.envoy.config.bootstrap.v3.bootstrap_pb2 import Admin, Bootstrap
from xds_api.envoy.config.cluster.v3.cluster_pb2 import Cluster
from xds_api.envoy.config.core.v3.backoff_pb2 import BackoffStrategy
from xds_api.envoy.config.core.v3.base_pb2 import Node, RetryPolicy
from xds_api.envoy.config.core.v3.config_source_pb2 import ApiConfigSource, ApiVersion
from xds_api.envoy.config.core.v3.grpc_service_pb2 import GrpcService
from xds_api.envoy.config.overload.v3.overload_pb2 import OverloadManager, ResourceMonitor
from xds_api.envoy.extensions.resource_monitors.downstream_connections.v3.downstream_connections_pb2 import (
    DownstreamConnectionsConfig,
)

from weft.gateway.clusters import http2_cluster, named_hosts
from weft.gateway.config import GatewayConfig
from weft.gateway.messages import over_ads, packed, socket_address

__all__ = ["ADMIN_PORT", "CONTROL_PLANE", "bootstrap", "skeleton", "to_yaml"]

ADMIN_PORT: Final = 9901
CONTROL_PLANE: Final = "xds"
"""Cluster of the control plane, which also answers gRPC reflection."""
RECONNECT: Final = RetryPolicy(
    retry_back_off=BackoffStrategy(base_interval=timedelta(seconds=0.25), max_interval=timedelta(seconds=2))
)
"""Until a control plane is back; Envoy's own waits grow to 30 s, in which instances come and go unseen."""


def bootstrap(
    config: GatewayConfig,
    *,
    xds_address: str = "127.0.0.1",
    xds_port: int = 18000,
    admin_port: int = ADMIN_PORT,
    node_id: str = "gateway",
) -> str:
    """Return the bootstrap as YAML: everything but the control plane's address comes from the control plane."""
    result = skeleton(config, admin_port=admin_port, node_id=node_id)
    ads = ApiConfigSource(
        api_type=ApiConfigSource.GRPC,
        transport_api_version=ApiVersion.V3,
        set_node_on_first_message_only=True,
        grpc_services=[
            GrpcService(envoy_grpc=GrpcService.EnvoyGrpc(cluster_name=CONTROL_PLANE, retry_policy=RECONNECT))
        ],
    )
    result.dynamic_resources.ads_config.CopyFrom(ads)
    result.dynamic_resources.lds_config.CopyFrom(over_ads())
    result.dynamic_resources.cds_config.CopyFrom(over_ads())
    result.static_resources.clusters.append(_control_plane(xds_address, xds_port))
    return to_yaml(result)


def skeleton(config: GatewayConfig, *, admin_port: int, node_id: str) -> Bootstrap:
    """Return what both forms of the gateway have in common. The administration port is never open to other machines."""
    limit = DownstreamConnectionsConfig(max_active_downstream_connections=config.max_connections)
    monitor = ResourceMonitor(
        name="envoy.resource_monitors.global_downstream_max_connections", typed_config=packed(limit)
    )
    return Bootstrap(
        node=Node(id=node_id, cluster="gateway"),
        admin=Admin(address=socket_address("127.0.0.1", admin_port)),
        overload_manager=OverloadManager(resource_monitors=[monitor]),
    )


def to_yaml(message: Message) -> str:
    """Return *message* as YAML, the same text for equal messages."""
    return yaml.safe_dump(_plain(MessageToDict(message, preserving_proto_field_name=True)), sort_keys=False, width=120)


def _plain(value: Any) -> Any:
    """Return *value* in types YAML knows, keys in order (protobuf's maps have none): what names a thing comes first."""
    if isinstance(value, dict):
        return {key: _plain(value[key]) for key in sorted(value, key=lambda key: (key not in ("@type", "name"), key))}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _control_plane(address: str, port: int) -> Cluster:
    cluster = named_hosts(http2_cluster(CONTROL_PLANE), [(address, port)])
    try:
        ip_address(address)
    except ValueError:
        return cluster
    cluster.type = Cluster.STATIC
    return cluster
