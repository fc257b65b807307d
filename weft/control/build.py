"""Contract, settings and instances -> one snapshot for each data plane.

Pure: equal inputs give equal bytes on every replica.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias

from google.protobuf.message import Message

from weft import gateway
from weft.contract import Contract
from weft.control.grpc_resources import build_assignment, build_cluster, build_listener, by_mesh_name
from weft.control.resources import DataPlane, Resource, Snapshot
from weft.gateway import GatewayConfig
from weft.registry import Instance

__all__ = ["Blueprint", "Blueprints", "Snapshots", "build_blueprints"]

Snapshots: TypeAlias = Mapping[DataPlane, Snapshot]


@dataclass(frozen=True, kw_only=True)
class Blueprint:
    """All that one data plane is told, but for the instances."""

    fixed: tuple[Resource, ...]
    """What only changes with contract and settings."""
    services: tuple[str, ...]
    """Mesh names, from the contract: a service nobody serves right now has an assignment without endpoints."""
    assign: Callable[[str, tuple[Instance, ...]], Resource]
    """Service and instances -> its assignment; remembers what it made."""
    elsewhere: frozenset[str] = frozenset()
    """Clusters the data plane has from its bootstrap."""

    @classmethod
    def of(
        cls,
        services: Iterable[str],
        messages: Iterable[Message],
        assignment: Callable[[str, tuple[Instance, ...]], Message],
        *,
        elsewhere: Iterable[str] = (),
    ) -> Blueprint:
        names = tuple(sorted(services))

        # A join or a departure concerns one service: the others' assignments are not made again.
        @lru_cache(maxsize=max(16, 4 * len(names)))
        def assign(name: str, instances: tuple[Instance, ...]) -> Resource:
            return Resource.of(assignment(name, instances))

        fixed = tuple(Resource.of(message) for message in messages)
        return cls(fixed=fixed, services=names, assign=assign, elsewhere=frozenset(elsewhere))

    def snapshot(self, instances: Mapping[str, Iterable[Instance]]) -> Snapshot:
        """Return the snapshot for *instances*: service -> instances in any order; those of no contract are ignored."""
        ordered = {name: tuple(sorted(instances.get(name, ()), key=lambda each: each.id)) for name in self.services}
        return Snapshot.of((*self.fixed, *(self.assign(name, ordered[name]) for name in self.services)))


Blueprints: TypeAlias = Mapping[DataPlane, Blueprint]


def build_blueprints(contract: Contract, config: GatewayConfig, *, image: bytes, openapi: str) -> Blueprints:
    """Return what each data plane is told.

    Args:
        contract: of all services of the mesh.
        config: of the gateway.
        image: the descriptors *contract* was read from, for the gateway's transcoder.
        openapi: the REST API as the gateway documents it.
    """
    services = by_mesh_name(contract)
    edge = (
        *gateway.build_listeners(contract, config, image),
        *gateway.build_routes(contract, config, openapi),
        *gateway.build_clusters(contract, config),
    )
    peers = (
        *(build_listener(name, members) for name, members in services.items()),
        *(build_cluster(name, members[0]) for name, members in services.items()),
    )
    return {
        DataPlane.ENVOY: Blueprint.of(services, edge, gateway.build_endpoints, elsewhere=[config.reflection_cluster]),
        DataPlane.GRPC: Blueprint.of(services, peers, build_assignment),
    }
