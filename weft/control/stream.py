"""One ADS stream as a state machine: requests in, responses out, no I/O.

The rules are those of "xDS REST and gRPC protocol" (xds_protocol.rst, state of the world), with what Envoy 1.40 and
gRPC's C-core were seen to do where it is silent. `on_request` and `next_responses` may be called in any order; the
latter returns what may be sent now and counts it as sent. What is kept is what the client was sent: the next response
is a difference to the snapshot of that moment, and a client never has to catch up with snapshots it missed.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from itertools import count
from typing import Final

from xds_api.envoy.service.discovery.v3.discovery_pb2 import DiscoveryRequest

from weft.control.resources import (
    CLUSTER,
    ENDPOINT,
    LISTENER,
    ROUTE,
    TYPE_URLS,
    DataPlane,
    Resource,
    Snapshot,
    version_of,
)
from weft.control.subscription import Rejection, Response, Subscription

__all__ = ["Fault", "ProtocolError", "Stream"]

FULL_STATE: Final = frozenset({CLUSTER, LISTENER})
CHILDREN: Final = {CLUSTER: ENDPOINT, LISTENER: ROUTE}
"""Envoy warms a changed parent until it gets its child again, even an unchanged one (envoyproxy/envoy#13009)."""
AFTER_CLUSTERS: Final = frozenset({LISTENER, ROUTE})
"""These wait until the clusters they may name are there."""


class Fault(Enum):
    """What is wrong with a request."""

    INVALID_ARGUMENT = "invalid argument"
    RESOURCE_EXHAUSTED = "resource exhausted"


class ProtocolError(Exception):
    """The client broke the protocol; its stream must end."""

    def __init__(self, fault: Fault, message: str) -> None:
        super().__init__(message)
        self.fault = fault


class Stream:
    """State of one ADS stream.

    Args:
        max_names: resources a client may name of one type.
    """

    def __init__(self, *, max_names: int = 10_000) -> None:
        self.node_id = ""
        self.cluster = ""
        """Of the node, as its bootstrap names it."""
        self.data_plane: DataPlane | None = None
        """None until the first request."""
        self.ignored: set[str] = set()
        """Types asked for that no mesh has; a few of them."""
        self._max_names = max_names
        self._nonces = count(1)
        self._types: dict[str, Subscription] = {}
        self._assignments: Mapping[str, Resource] = {}  # of the snapshot the clusters in flight are from

    def on_request(self, request: DiscoveryRequest) -> Rejection | None:
        """Take note of a subscription, ACK or NACK; return the NACK if it is one.

        A type this server does not have is noted in `ignored` and never answered: a client that asks for more than
        we have still gets the rest.

        Raises:
            ProtocolError: the first request has no node, the type is missing, or it names too much.
        """
        self._identify(request)
        type_url, names = request.type_url, set(request.resource_names)
        if not type_url:
            raise ProtocolError(Fault.INVALID_ARGUMENT, "a request on an aggregated stream needs a type_url")
        if len(names) > self._max_names:
            raise ProtocolError(
                Fault.RESOURCE_EXHAUSTED, f"more than {self._max_names} names of one type: {len(names)}"
            )
        if type_url not in TYPE_URLS:
            if len(self.ignored) < len(TYPE_URLS):
                self.ignored.add(type_url)
            return None
        subscription = self._types.get(type_url)
        if subscription is None:  # whatever nonce and version it carries are of another stream
            subscription = self._types[type_url] = Subscription(type_url in FULL_STATE)
        elif subscription.is_stale(request):
            subscription.doubt(names)
            return None
        rejection = subscription.settle(request)
        # For gRPC an empty list never is the wildcard (envoyproxy/go-control-plane#1323).
        may_be_implicit = type_url in FULL_STATE and self.data_plane is DataPlane.ENVOY
        subscription.subscribe(names, may_be_implicit=may_be_implicit)
        return rejection

    def next_responses(self, snapshot: Snapshot) -> list[Response]:
        """Return what may be sent now so that the client comes to know *snapshot*, in the order to send it.

        Clusters and endpoints come first; listeners and routes wait until these have been acknowledged; a cluster that
        is gone stays until no route the client may hold names it. At most one response per type is unanswered.
        """
        return [response for type_url in TYPE_URLS if (response := self._next(type_url, snapshot))]

    def _identify(self, request: DiscoveryRequest) -> None:
        if self.data_plane is not None:
            return
        if not request.HasField("node"):
            raise ProtocolError(Fault.INVALID_ARGUMENT, "the first request of a stream needs a node")
        self.node_id, self.cluster = request.node.id, request.node.cluster
        is_envoy = request.node.user_agent_name.lower().startswith("envoy")
        self.data_plane = DataPlane.ENVOY if is_envoy else DataPlane.GRPC

    def _next(self, type_url: str, snapshot: Snapshot) -> Response | None:
        subscription = self._types.get(type_url)
        if subscription is None or subscription.in_flight:
            return None
        if type_url in AFTER_CLUSTERS and self._clusters_are_warming():
            return None
        named = snapshot.resources[type_url]
        if type_url == ENDPOINT:
            named = self._with_those_of_clusters_in_flight(named)
        missing = subscription.names - named.keys()
        subscription.told_missing &= missing
        if type_url in FULL_STATE:
            resources = self._full_state(type_url, subscription, named)
            missing -= resources.keys()
            is_due = subscription.wildcard and not subscription.answered
            if resources == subscription.sent and missing <= subscription.told_missing and not is_due:
                return None
        else:
            resources = subscription.changed(named)
            missing -= subscription.told_missing | subscription.sent.keys()
            if not resources and not missing:
                return None
        self._renew_children(type_url, subscription.sent, resources)
        if type_url == CLUSTER:
            self._assignments = snapshot.resources[ENDPOINT]
        is_of_snapshot = resources.keys() <= snapshot.resources[type_url].keys()
        version = snapshot.versions[type_url] if is_of_snapshot else version_of(resources)
        nonce = str(next(self._nonces))
        return subscription.send(Response(type_url, version, nonce, resources, tuple(sorted(missing))))

    def _full_state(
        self, type_url: str, subscription: Subscription, named: Mapping[str, Resource]
    ) -> dict[str, Resource]:
        resources = {name: named[name] for name in named if subscription.wants(name)}
        if type_url == CLUSTER:
            gone = subscription.sent.keys() - named.keys()
            resources |= {name: subscription.sent[name] for name in gone & self._clusters_in_use()}
        return dict(sorted(resources.items()))

    def _renew_children(self, type_url: str, before: Mapping[str, Resource], after: Mapping[str, Resource]) -> None:
        """Let the children of changed parents be sent again, even refused ones: any answer ends the warming."""
        child = self._types.get(CHILDREN.get(type_url, ""))
        if child is None:
            return
        for name, resource in after.items():
            if before.get(name) != resource:
                for _, child_name in resource.references:
                    child.sent.pop(child_name, None)

    def _clusters_are_warming(self) -> bool:
        clusters, endpoints = self._types.get(CLUSTER), self._types.get(ENDPOINT)
        if clusters is not None and clusters.in_flight:  # Envoy acknowledges them when they are warm
            return True
        return endpoints is not None and endpoints.in_flight is not None and endpoints.brings_new

    def _with_those_of_clusters_in_flight(self, named: Mapping[str, Resource]) -> Mapping[str, Resource]:
        """Add the endpoints of clusters that are gone since they were sent: Envoy would wait 15 s for them."""
        clusters = self._types.get(CLUSTER)
        return {**self._assignments, **named} if clusters is not None and clusters.in_flight else named

    def _clusters_in_use(self) -> set[str]:
        """Return the clusters that a listener or route the client may hold names."""
        return {
            name
            for parent in (self._types.get(LISTENER), self._types.get(ROUTE))
            if parent is not None
            for resource in (*parent.sent.values(), *parent.held.values())
            for type_url, name in resource.references
            if type_url == CLUSTER
        }
