"""xDS resources, serialised once, and the immutable snapshots they make up."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property
from hashlib import sha256
from types import MappingProxyType
from typing import Final

from google.protobuf.any_pb2 import Any
from google.protobuf.message import Message
from xds_api.envoy.config.cluster.v3.cluster_pb2 import Cluster
from xds_api.envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from xds_api.envoy.config.listener.v3.listener_pb2 import Listener
from xds_api.envoy.config.route.v3.route_components_pb2 import Route, RouteAction
from xds_api.envoy.config.route.v3.route_pb2 import RouteConfiguration
from xds_api.envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
)
from xds_api.envoy.service.discovery.v3.discovery_pb2 import DiscoveryResponse

__all__ = [
    "CLUSTER",
    "ENDPOINT",
    "LISTENER",
    "ROUTE",
    "TYPE_URLS",
    "DataPlane",
    "Resource",
    "Snapshot",
    "inconsistencies",
    "short_type",
    "version_of",
]

_PREFIX: Final = "type.googleapis.com/"
CLUSTER: Final = _PREFIX + Cluster.DESCRIPTOR.full_name
ENDPOINT: Final = _PREFIX + ClusterLoadAssignment.DESCRIPTOR.full_name
LISTENER: Final = _PREFIX + Listener.DESCRIPTOR.full_name
ROUTE: Final = _PREFIX + RouteConfiguration.DESCRIPTOR.full_name
TYPE_URLS: Final = (CLUSTER, ENDPOINT, LISTENER, ROUTE)
"""In the order in which they are sent, so that nothing names what its reader was not told of.

Source: "Eventual consistency considerations" in Envoy's xds_protocol.rst.
"""

Reference = tuple[str, str]
"""(type_url, name) of a resource that another one names."""


class DataPlane(Enum):
    """Who reads a snapshot: gRPC refuses much of what Envoy needs, so each gets resources of its own."""

    ENVOY = "envoy"
    GRPC = "grpc"


@dataclass(frozen=True, slots=True)
class Resource:
    """One xDS resource. Two are equal when type, name and content are."""

    type_url: str
    name: str
    digest: bytes
    """SHA-256 of the deterministic encoding."""
    wire: bytes = field(compare=False, repr=False)
    """The resource as an encoded `DiscoveryResponse.resources` entry: a response is a concatenation of these."""
    references: frozenset[Reference] = field(compare=False, repr=False)

    @classmethod
    def of(cls, message: Message) -> Resource:
        """Serialise *message*, one of `TYPE_URLS`. Raises ValueError if it is something else or has no name."""
        type_url = _PREFIX + message.DESCRIPTOR.full_name
        name = message.cluster_name if isinstance(message, ClusterLoadAssignment) else getattr(message, "name", "")
        if type_url not in TYPE_URLS or not name:
            raise ValueError(f"not a resource with a name: {message.DESCRIPTOR.full_name} {name!r}")
        value = message.SerializeToString(deterministic=True)
        wire = DiscoveryResponse(resources=[Any(type_url=type_url, value=value)]).SerializeToString()
        return cls(type_url, name, sha256(value).digest(), wire, frozenset(_references(message)))


@dataclass(frozen=True)
class Snapshot:
    """All resources for one data plane at one moment: type_url -> name -> resource."""

    resources: Mapping[str, Mapping[str, Resource]]

    @classmethod
    def of(cls, resources: Iterable[Resource]) -> Snapshot:
        """Collect *resources*, in any order. Raises ValueError if two have the same type and name."""
        types: dict[str, dict[str, Resource]] = {type_url: {} for type_url in TYPE_URLS}
        for resource in resources:
            if types[resource.type_url].setdefault(resource.name, resource) is not resource:
                raise ValueError(f"two resources are the {short_type(resource.type_url)} {resource.name!r}")
        return cls(MappingProxyType({type_url: MappingProxyType(named) for type_url, named in types.items()}))

    @cached_property
    def versions(self) -> Mapping[str, str]:
        """type_url -> `version_of` its resources."""
        return {type_url: version_of(named) for type_url, named in self.resources.items()}

    def __iter__(self) -> Iterator[Resource]:
        for named in self.resources.values():
            yield from named.values()


def version_of(resources: Mapping[str, Resource]) -> str:
    """Content version of one resource type; equal on every replica of one build.

    Args:
        resources: resource name -> resource; iteration order does not matter.

    Returns:
        16 hex characters of SHA-256 over (name, digest of deterministic encoding), sorted by name.
    """
    digest = sha256()
    for name in sorted(resources):
        digest.update(name.encode() + resources[name].digest)
    return digest.hexdigest()[:16]


def short_type(type_url: str) -> str:
    """Return `Cluster` for `type.googleapis.com/envoy.config.cluster.v3.Cluster`."""
    return type_url.rpartition(".")[2]


def inconsistencies(snapshot: Snapshot, elsewhere: Collection[str] = ()) -> tuple[str, ...]:
    """Return what in *snapshot* names a resource that is not there, or is named by none; sorted, empty if all is well.

    Args:
        snapshot: what is to be published.
        elsewhere: clusters its readers have already, from their bootstrap.
    """
    known = {(CLUSTER, name) for name in elsewhere}
    present = {(resource.type_url, resource.name) for resource in snapshot}
    named = {reference for resource in snapshot for reference in resource.references}
    dangling = {
        f"{short_type(resource.type_url)} {resource.name!r} names {short_type(type_url)} {name!r}, which is not there"
        for resource in snapshot
        for type_url, name in resource.references - present - known
    }
    # Listeners and clusters are asked for by name or wildcard; the other two only ever because of one of these.
    orphans = {
        f"{short_type(type_url)} {name!r} is named by nothing"
        for type_url, name in present - named
        if type_url in (ENDPOINT, ROUTE)
    }
    return tuple(sorted(dangling | orphans))


def _references(message: Message) -> Iterator[Reference]:
    if isinstance(message, Cluster) and message.type == Cluster.EDS:
        yield ENDPOINT, message.eds_cluster_config.service_name or message.name
    elif isinstance(message, RouteConfiguration):
        for host in message.virtual_hosts:
            for route in host.routes:
                yield from ((CLUSTER, name) for name in _clusters(route))
    elif isinstance(message, Listener):
        for manager in _connection_managers(message):
            if manager.HasField("rds"):
                yield ROUTE, manager.rds.route_config_name
            else:
                yield from _references(manager.route_config)


def _clusters(route: Route) -> Iterator[str]:
    if route.route.cluster_not_found_response_code != RouteAction.SERVICE_UNAVAILABLE:
        return  # that the cluster is missing is what this route is for
    if route.route.WhichOneof("cluster_specifier") == "cluster":
        yield route.route.cluster
    yield from (weighted.name for weighted in route.route.weighted_clusters.clusters)
    yield from (mirror.cluster for mirror in route.route.request_mirror_policies)


def _connection_managers(listener: Listener) -> Iterator[HttpConnectionManager]:
    chains = [*listener.filter_chains, listener.default_filter_chain]
    configs = [listener.api_listener.api_listener, *(part.typed_config for chain in chains for part in chain.filters)]
    for config in configs:
        manager = HttpConnectionManager()
        if config.Unpack(manager):
            yield manager
