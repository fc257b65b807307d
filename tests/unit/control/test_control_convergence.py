"""Whatever clients subscribe to, acknowledge or refuse, and however the mesh changes: they end up with the snapshot.

Two model clients by the book, an Envoy that warms clusters and a gRPC client that names what it wants, each behind a
wire with a queue in either direction, so that requests and responses cross.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from google.rpc.status_pb2 import Status
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from xds_api.envoy.config.cluster.v3.cluster_pb2 import Cluster
from xds_api.envoy.config.core.v3.base_pb2 import Node
from xds_api.envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from xds_api.envoy.config.listener.v3.listener_pb2 import Listener
from xds_api.envoy.config.route.v3.route_components_pb2 import Route, RouteAction, RouteMatch, VirtualHost
from xds_api.envoy.config.route.v3.route_pb2 import RouteConfiguration
from xds_api.envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
    Rds,
)
from xds_api.envoy.service.discovery.v3.discovery_pb2 import DiscoveryRequest

from weft.control import Resource, Response, Snapshot, Stream
from weft.control.resources import CLUSTER, ENDPOINT, LISTENER, ROUTE, TYPE_URLS

SERVICES: Final = ("a", "b", "c")
NAMES: Final = {CLUSTER: SERVICES, ENDPOINT: SERVICES, LISTENER: ("edge",), ROUTE: ("edge",)}
FULL_STATE: Final = (CLUSTER, LISTENER)
REFUSED: Final = 9
"""Revision of endpoints that every client refuses."""


def mesh(services: dict[str, tuple[int, int]], listener_revision: int) -> Snapshot:
    """Return a consistent snapshot of *services*: name -> revision of its cluster, of its endpoints."""
    edge = Listener(name="edge")
    manager = HttpConnectionManager(rds=Rds(route_config_name="edge"), stat_prefix=str(listener_revision))
    edge.api_listener.api_listener.Pack(manager)
    routes = [Route(match=RouteMatch(prefix=f"/{name}"), route=RouteAction(cluster=name)) for name in services]
    host = VirtualHost(name="all", domains=["*"], routes=routes)
    resources = [Resource.of(edge), Resource.of(RouteConfiguration(name="edge", virtual_hosts=[host]))]
    for name, (cluster, endpoints) in services.items():
        assignment = ClusterLoadAssignment(cluster_name=name)
        assignment.policy.overprovisioning_factor.value = 100 + endpoints
        resources.append(Resource.of(Cluster(name=name, type=Cluster.EDS, alt_stat_name=str(cluster))))
        resources.append(Resource.of(assignment))
    return Snapshot.of(resources)


REFUSED_DIGESTS: Final = {mesh({name: (0, REFUSED)}, 0).resources[ENDPOINT][name].digest for name in SERVICES}


class Client:
    """What both clients have in common: names, nonces, what they hold, and the wire."""

    agent = ""

    def __init__(self) -> None:
        self.wanted: dict[str, set[str]] = {}
        self.nonces: dict[str, str] = {}
        self.has: dict[str, dict[str, Resource]] = {type_url: {} for type_url in TYPE_URLS}
        self.outbox: deque[DiscoveryRequest] = deque()

    def request(self, type_url: str, error: str = "") -> None:
        self.outbox.append(
            DiscoveryRequest(
                type_url=type_url,
                resource_names=sorted(self.wanted[type_url]),
                response_nonce=self.nonces.get(type_url, ""),
                node=Node(id="node", user_agent_name=self.agent),
                error_detail=Status(code=3, message=error) if error else None,
            )
        )

    def want(self, type_url: str, names: set[str]) -> None:
        """Ask for *names* from now on; what is no longer asked for is thrown away."""
        self.wanted[type_url] = names
        self.has[type_url] = {name: each for name, each in self.has[type_url].items() if name in names}
        self.request(type_url)

    def receive(self, response: Response) -> None:
        raise NotImplementedError

    def expected(self, snapshot: Snapshot) -> dict[str, dict[str, Resource]]:
        """Return what it should hold in the end, but for what it refuses."""
        return {
            type_url: {name: each for name, each in snapshot.resources[type_url].items() if name in wanted}
            for type_url, wanted in self.wanted.items()
        }


class GrpcClient(Client):
    """Names what it wants; takes what is good of a bad response."""

    agent = "gRPC C-core"

    def receive(self, response: Response) -> None:
        type_url, has = response.type_url, self.has[response.type_url]
        self.nonces[type_url] = response.nonce
        bad = {name for name, each in response.resources.items() if each.digest in REFUSED_DIGESTS}
        if type_url in FULL_STATE:
            for name in has.keys() - response.resources.keys():
                del has[name]
        for name in (response.resources.keys() - bad) & self.wanted[type_url]:
            has[name] = response.resources[name]
        self.request(type_url, error="refused" if bad else "")


class EnvoyClient(Client):
    """Follows all clusters and listeners. A changed cluster counts, and is acknowledged, when its endpoints came."""

    agent = "envoy"

    def __init__(self) -> None:
        super().__init__()
        self.told: dict[str, Resource] = {}
        self.warming: set[str] = set()
        self.owes_ack = False
        for type_url in FULL_STATE:
            self.wanted[type_url] = set()
            self.request(type_url)

    def receive(self, response: Response) -> None:
        self.nonces[response.type_url] = response.nonce
        {CLUSTER: self._clusters, ENDPOINT: self._endpoints, LISTENER: self._listeners, ROUTE: self._routes}[
            response.type_url
        ](dict(response.resources))

    def _clusters(self, resources: dict[str, Resource]) -> None:
        changed = {name for name, each in resources.items() if self.told.get(name) != each}
        self.told, self.owes_ack = resources, True
        self.warming = (self.warming | changed) & resources.keys()
        self.has[CLUSTER] = {name: each for name, each in self.has[CLUSTER].items() if name in resources}
        if changed or self.wanted.get(ENDPOINT, set()) != resources.keys():
            self.want(ENDPOINT, set(resources))
        self._acknowledge_clusters()

    def _endpoints(self, resources: dict[str, Resource]) -> None:
        bad = any(each.digest in REFUSED_DIGESTS for each in resources.values())
        if not bad:
            self.has[ENDPOINT].update({name: each for name, each in resources.items() if name in self.wanted[ENDPOINT]})
        self.warming -= resources.keys()
        self.request(ENDPOINT, error="refused" if bad else "")
        self._acknowledge_clusters()

    def _acknowledge_clusters(self) -> None:
        self.has[CLUSTER].update({name: each for name, each in self.told.items() if name not in self.warming})
        if self.owes_ack and not self.warming:
            self.owes_ack = False
            self.request(CLUSTER)

    def _listeners(self, resources: dict[str, Resource]) -> None:
        changed = self.has[LISTENER] != resources
        self.has[LISTENER] = resources
        if changed:
            self.want(ROUTE, {name for each in resources.values() for _, name in each.references})
        self.request(LISTENER)

    def _routes(self, resources: dict[str, Resource]) -> None:
        self.has[ROUTE].update(resources)
        self.request(ROUTE)

    def expected(self, snapshot: Snapshot) -> dict[str, dict[str, Resource]]:
        return {type_url: dict(named) for type_url, named in snapshot.resources.items()}


class Conversation(RuleBasedStateMachine):
    """The stream and the client; each rule is a step one of them takes."""

    client_class: type[Client]

    def __init__(self) -> None:
        super().__init__()
        self.client = self.client_class()
        self.stream = Stream()
        self.snapshot = mesh({"a": (0, 0), "b": (0, 0)}, 0)
        self.inbox: deque[Response] = deque()
        self.nonces: list[str] = []

    revisions = st.tuples(st.sampled_from((0, 0, 1)), st.sampled_from((0, 1, 2, REFUSED)))

    @rule(services=st.dictionaries(st.sampled_from(SERVICES), revisions), listener=st.sampled_from((0, 0, 1)))
    def mesh_changes(self, services: dict[str, tuple[int, int]], listener: int) -> None:
        self.snapshot = mesh(services, listener)

    @rule(steps=st.lists(st.sampled_from(("server_writes", "client_reads", "server_reads")), min_size=1, max_size=9))
    def some_is_delivered(self, steps: list[str]) -> None:
        for step in steps:
            getattr(self, step)()
            self.holds()

    def server_reads(self) -> None:
        if self.client.outbox:
            self.stream.on_request(self.client.outbox.popleft())

    def server_writes(self) -> None:
        responses = self.stream.next_responses(self.snapshot)
        self.nonces += [response.nonce for response in responses]
        self.inbox.extend(responses)

    def client_reads(self) -> None:
        if self.inbox:
            self.client.receive(self.inbox.popleft())

    @rule()
    def all_is_delivered(self) -> None:
        for _ in range(100):
            self.server_writes()
            if not self.client.outbox and not self.inbox:
                return
            self.server_reads()
            self.client_reads()
            self.holds()
        raise AssertionError("they never stop talking")

    @invariant()
    def holds(self) -> None:
        types = [response.type_url for response in self.inbox]
        assert len(set(types)) == len(types), "at most one response of a type is unread"
        assert len(set(self.nonces)) == len(self.nonces), "a nonce is used once"

    def teardown(self) -> None:
        self.all_is_delivered()
        for type_url, expected in self.client.expected(self.snapshot).items():
            accepted = {name: each for name, each in expected.items() if each.digest not in REFUSED_DIGESTS}
            has = {name: each for name, each in self.client.has[type_url].items() if name in accepted}
            assert has == accepted, type_url
            if type_url in FULL_STATE:
                assert self.client.has[type_url].keys() == expected.keys(), type_url


class EnvoyConversation(Conversation):
    client_class = EnvoyClient

    @invariant()
    def holds(self) -> None:
        super().holds()
        for route in self.client.has[ROUTE].values():
            for type_url, name in route.references:
                assert name in self.client.has[type_url], f"calls to {name} fail"


class GrpcConversation(Conversation):
    client_class = GrpcClient

    @rule(type_url=st.sampled_from(TYPE_URLS), data=st.data())
    def client_subscribes(self, type_url: str, data: st.DataObject) -> None:
        self.client.want(type_url, data.draw(st.sets(st.sampled_from(NAMES[type_url]))))

    @precondition(lambda self: self.client.wanted)
    @rule(data=st.data())
    def client_drops_a_name_and_wants_it_again(self, data: st.DataObject) -> None:
        type_url = data.draw(st.sampled_from(sorted(self.client.wanted)))
        wanted = self.client.wanted[type_url]
        self.client.want(type_url, wanted - {data.draw(st.sampled_from(NAMES[type_url]))})
        self.client.want(type_url, wanted)


LIMITS: Final = settings(
    max_examples=80, stateful_step_count=20, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow]
)
TestEnvoyConverges = EnvoyConversation.TestCase
TestEnvoyConverges.settings = LIMITS
TestGrpcConverges = GrpcConversation.TestCase
TestGrpcConverges.settings = LIMITS
