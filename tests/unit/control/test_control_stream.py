"""Every rule a state-of-the-world server has to keep, one by one; nothing is sent anywhere."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import pytest
from google.rpc.code_pb2 import INVALID_ARGUMENT, NOT_FOUND
from google.rpc.status_pb2 import Status
from xds_api.envoy.config.cluster.v3.cluster_pb2 import Cluster
from xds_api.envoy.config.core.v3.base_pb2 import Node
from xds_api.envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from xds_api.envoy.config.listener.v3.listener_components_pb2 import Filter, FilterChain
from xds_api.envoy.config.listener.v3.listener_pb2 import Listener
from xds_api.envoy.config.route.v3.route_components_pb2 import Route, RouteAction, RouteMatch, VirtualHost
from xds_api.envoy.config.route.v3.route_pb2 import RouteConfiguration
from xds_api.envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
    Rds,
)
from xds_api.envoy.service.discovery.v3.discovery_pb2 import DiscoveryRequest, DiscoveryResponse

from weft.control import ProtocolError, Rejection, Resource, Response, Snapshot, Stream
from weft.control.resources import CLUSTER, ENDPOINT, LISTENER, ROUTE

ENVOY, GRPC = "envoy", "gRPC C-core linux Python"


def cluster(name: str, revision: str = "") -> Resource:
    return Resource.of(Cluster(name=name, type=Cluster.EDS, alt_stat_name=revision))


def assignment(name: str, ports: int = 0) -> Resource:
    """Return endpoints that differ with *ports*."""
    message = ClusterLoadAssignment(cluster_name=name)
    for port in range(1, ports + 1):
        lb = message.endpoints.add().lb_endpoints.add()
        lb.endpoint.address.socket_address.address, lb.endpoint.address.socket_address.port_value = "127.0.0.1", port
    return Resource.of(message)


def route(name: str, *clusters: str) -> Resource:
    routes = [Route(match=RouteMatch(prefix=f"/{to}"), route=RouteAction(cluster=to)) for to in clusters]
    return Resource.of(
        RouteConfiguration(name=name, virtual_hosts=[VirtualHost(name="all", domains=["*"], routes=routes)])
    )


def listener(name: str, to_route: str, revision: str = "") -> Resource:
    manager = HttpConnectionManager(stat_prefix=revision, rds=Rds(route_config_name=to_route))
    network = Filter(name="http")
    network.typed_config.Pack(manager)
    return Resource.of(Listener(name=name, filter_chains=[FilterChain(filters=[network])]))


def mesh(*services: str, cluster_revision: str = "", listener_revision: str = "", ports: int = 1) -> Snapshot:
    """Return a snapshot with one listener "edge" and its route to *services*."""
    return Snapshot.of(
        (
            listener("edge", "edge", listener_revision),
            route("edge", *services),
            *(cluster(name, cluster_revision) for name in services),
            *(assignment(name, ports) for name in services),
        )
    )


@dataclass
class Client:
    """A client that answers as told, so that tests say what happens and not how to write requests."""

    stream: Stream
    agent: str = ENVOY
    names: dict[str, list[str]] = field(default_factory=dict)
    nonces: dict[str, str] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    spoke: bool = False

    def ask(
        self, type_url: str, *names: str, nonce: str | None = None, version: str | None = None, error: str = ""
    ) -> Rejection | None:
        self.names[type_url] = list(names)
        request = DiscoveryRequest(
            type_url=type_url,
            resource_names=names,
            response_nonce=self.nonces.get(type_url, "") if nonce is None else nonce,
            version_info=self.versions.get(type_url, "") if version is None else version,
            node=None if self.spoke else Node(id="node-1", cluster="edge", user_agent_name=self.agent),
            error_detail=Status(code=INVALID_ARGUMENT, message=error) if error else None,
        )
        self.spoke = True
        return self.stream.on_request(request)

    def ack(self, response: Response) -> None:
        self.nonces[response.type_url], self.versions[response.type_url] = response.nonce, response.version
        assert self.ask(response.type_url, *self.names[response.type_url]) is None

    def nack(self, response: Response, why: str = "cannot use this") -> Rejection | None:
        self.nonces[response.type_url] = response.nonce
        return self.ask(response.type_url, *self.names[response.type_url], error=why)

    def settle(self, snapshot: Snapshot) -> list[Response]:
        """Acknowledge until nothing comes any more; return all that came."""
        seen: list[Response] = []
        while responses := self.stream.next_responses(snapshot):
            seen += responses
            assert len(seen) < 50, "the server does not stop"
            for response in responses:
                self.ack(response)
        return seen


@pytest.fixture(name="envoy")
def _envoy() -> Client:
    return Client(Stream())


@pytest.fixture(name="grpc")
def _grpc() -> Client:
    return Client(Stream(), agent=GRPC)


@pytest.fixture(name="running")
def _running(envoy: Client) -> Client:
    """An Envoy that has settled on `mesh("a", "b")`."""
    envoy.ask(CLUSTER)
    envoy.ask(ENDPOINT, "a", "b")
    envoy.ask(LISTENER)
    envoy.ask(ROUTE, "edge")
    envoy.settle(mesh("a", "b"))
    return envoy


def types(responses: Iterable[Response]) -> list[str]:
    return [response.type_url for response in responses]


def names(response: Response) -> list[str]:
    return list(response.resources)


# Nodes and types


def test_the_first_request_must_carry_a_node() -> None:
    with pytest.raises(ProtocolError, match="node"):
        Stream().on_request(DiscoveryRequest(type_url=CLUSTER))


def test_later_requests_need_no_node(envoy: Client) -> None:
    envoy.ask(CLUSTER)

    envoy.ask(LISTENER)

    assert envoy.stream.node_id == "node-1"
    assert types(envoy.settle(mesh("a"))) == [CLUSTER, LISTENER]


def test_a_request_without_a_type_ends_the_stream(envoy: Client) -> None:
    with pytest.raises(ProtocolError, match="type_url"):
        envoy.ask("")


def test_a_type_nobody_has_is_ignored_and_noted_so_that_the_rest_is_still_served(envoy: Client) -> None:
    secret = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"

    envoy.ask(secret, "certificate")
    envoy.ask(CLUSTER)

    assert types(envoy.stream.next_responses(mesh("a"))) == [CLUSTER]
    assert envoy.stream.ignored == {secret}


def test_a_client_may_not_name_more_than_its_share() -> None:
    client = Client(Stream(max_names=2))

    with pytest.raises(ProtocolError, match="more than 2 names"):
        client.ask(ENDPOINT, "a", "b", "c")


# Subscriptions


def test_a_client_gets_what_it_subscribed_to_and_nothing_else(grpc: Client) -> None:
    grpc.ask(CLUSTER, "a")

    (response,) = grpc.stream.next_responses(mesh("a", "b"))

    assert names(response) == ["a"]


# Nonces


def test_every_response_of_a_stream_has_a_nonce_of_its_own(running: Client) -> None:
    seen = [response.nonce for ports in (2, 3, 4) for response in running.settle(mesh("a", "b", ports=ports))]

    assert len(seen) == 3
    assert len(set(seen)) == 3


def test_a_request_with_a_stale_nonce_is_ignored_entirely_names_included(grpc: Client) -> None:
    grpc.ask(CLUSTER, "a")
    (first,) = grpc.stream.next_responses(mesh("a", "b"))
    grpc.ack(first)
    grpc.ask(CLUSTER, "a", "b")
    (second,) = grpc.stream.next_responses(mesh("a", "b"))

    refused = grpc.ask(CLUSTER, nonce=first.nonce, error="about the first one")

    assert refused is None
    assert grpc.stream.next_responses(mesh("a", "b")) == [], "the second is still unanswered"
    grpc.names[CLUSTER] = ["a", "b"]
    grpc.ack(second)
    assert grpc.settle(mesh("a", "b", cluster_revision="2"))[0].resources.keys() == {"a", "b"}


def test_a_request_without_a_nonce_is_stale_once_one_was_sent(grpc: Client) -> None:
    grpc.ask(CLUSTER, "a")
    grpc.stream.next_responses(mesh("a", "b"))

    grpc.ask(CLUSTER, "b", nonce="")

    assert grpc.stream.next_responses(mesh("a", "b")) == []


def test_the_first_request_of_a_type_counts_whatever_nonce_and_version_it_brings(envoy: Client) -> None:
    snapshot = mesh("a")

    envoy.ask(CLUSTER, nonce="17", version=snapshot.versions[CLUSTER], error="of another stream")

    (response,) = envoy.stream.next_responses(snapshot)
    assert names(response) == ["a"]


def test_a_name_dropped_and_asked_for_again_while_a_response_was_under_way_is_sent_again(grpc: Client) -> None:
    """Both requests are stale, and the client no longer has what it had: only the difference of the names shows it."""
    grpc.ask(ENDPOINT, "a", "b")
    grpc.settle(mesh("a", "b"))
    changed = Snapshot.of((assignment("a", 1), assignment("b", 2), cluster("a"), cluster("b")))
    (response,) = grpc.stream.next_responses(changed)
    assert names(response) == ["b"]

    grpc.ask(ENDPOINT, "b")
    grpc.ask(ENDPOINT, "a", "b")
    grpc.ack(response)

    (again,) = grpc.stream.next_responses(changed)
    assert names(again) == ["a"]


# The wildcard


@pytest.mark.parametrize("type_url", [CLUSTER, LISTENER])
def test_envoys_empty_list_of_names_is_the_wildcard(envoy: Client, type_url: str) -> None:
    envoy.ask(type_url)

    (response,) = envoy.stream.next_responses(mesh("a", "b"))

    assert response.resources == mesh("a", "b").resources[type_url]


@pytest.mark.parametrize("type_url", [ENDPOINT, ROUTE])
def test_an_empty_list_of_endpoints_or_routes_is_nothing(envoy: Client, type_url: str) -> None:
    envoy.ask(type_url)

    assert envoy.stream.next_responses(mesh("a")) == []


def test_grpcs_empty_list_of_names_is_never_the_wildcard(grpc: Client) -> None:
    grpc.ask(CLUSTER)

    assert grpc.stream.next_responses(mesh("a")) == []


@pytest.mark.parametrize("agent", [ENVOY, GRPC])
def test_a_star_is_the_wildcard_for_everybody(agent: str) -> None:
    client = Client(Stream(), agent=agent)
    client.ask(CLUSTER, "*")

    (response,) = client.stream.next_responses(mesh("a", "b"))

    assert names(response) == ["a", "b"]


def test_once_something_was_named_an_empty_list_is_nothing(envoy: Client) -> None:
    envoy.ask(CLUSTER, "a")
    envoy.settle(mesh("a", "b"))

    envoy.ask(CLUSTER)

    assert envoy.stream.next_responses(mesh("a", "b", cluster_revision="2")) == []


def test_naming_something_ends_the_implicit_wildcard(envoy: Client) -> None:
    envoy.ask(CLUSTER)
    envoy.settle(mesh("a", "b"))

    envoy.ask(CLUSTER, "a")

    changed = envoy.settle(mesh("a", "b", cluster_revision="2"))
    assert names(changed[-1]) == ["a"]


def test_names_beside_the_star_keep_the_wildcard(envoy: Client) -> None:
    envoy.ask(CLUSTER)
    envoy.settle(mesh("a", "b"))

    envoy.ask(CLUSTER, "*", "c")

    (response,) = envoy.stream.next_responses(mesh("a", "b"))
    assert (names(response), response.missing) == (["a", "b"], ("c",))


# Full state, and parts of it


@pytest.mark.parametrize("type_url", [CLUSTER, LISTENER])
def test_a_wildcard_is_answered_even_when_there_is_nothing(envoy: Client, type_url: str) -> None:
    envoy.ask(type_url)

    (response,) = envoy.stream.next_responses(Snapshot.of(()))

    assert names(response) == []


def test_a_changed_cluster_comes_with_all_others_since_what_is_omitted_is_deleted(running: Client) -> None:
    one_changed = Snapshot.of(
        (*(r for r in mesh("a", "b") if (r.type_url, r.name) != (CLUSTER, "a")), cluster("a", "2"))
    )

    changed = running.stream.next_responses(one_changed)[0]

    assert (changed.type_url, names(changed)) == (CLUSTER, ["a", "b"])


def test_the_deletion_of_the_last_listener_is_told_by_an_empty_response(grpc: Client) -> None:
    grpc.ask(LISTENER, "edge")
    grpc.settle(mesh("a"))

    (response,) = grpc.stream.next_responses(Snapshot.of(()))

    assert (response.type_url, names(response)) == (LISTENER, [])


def test_endpoints_that_did_not_change_are_left_out(running: Client) -> None:
    snapshot = Snapshot.of(
        (*(r for r in mesh("a", "b") if (r.type_url, r.name) != (ENDPOINT, "a")), assignment("a", 5))
    )

    (response,) = running.stream.next_responses(snapshot)

    assert (response.type_url, names(response)) == (ENDPOINT, ["a"])


# Names that come and go


def test_an_added_name_is_sent_though_its_version_is_no_other(grpc: Client) -> None:
    snapshot = mesh("a", "b")
    grpc.ask(ENDPOINT, "a")
    grpc.settle(snapshot)

    grpc.ask(ENDPOINT, "a", "b")

    (response,) = grpc.stream.next_responses(snapshot)
    assert (names(response), response.version) == (["b"], snapshot.versions[ENDPOINT])


@pytest.mark.parametrize("type_url", [CLUSTER, ENDPOINT])
def test_a_name_that_was_removed_and_added_again_is_sent_again(grpc: Client, type_url: str) -> None:
    snapshot = mesh("a", "b")
    grpc.ask(type_url, "a", "b")
    grpc.settle(snapshot)
    grpc.ask(type_url, "b")
    assert grpc.stream.next_responses(snapshot) == [], "nothing to say about a name nobody wants"

    grpc.ask(type_url, "a", "b")

    (response,) = grpc.stream.next_responses(snapshot)
    assert "a" in names(response)


# Unknown names


@pytest.mark.parametrize("type_url", [LISTENER, ROUTE, CLUSTER, ENDPOINT])
def test_an_unknown_name_is_answered_at_once_by_a_resource_error(grpc: Client, type_url: str) -> None:
    grpc.ask(type_url, "nobody")

    (response,) = grpc.stream.next_responses(mesh("a"))

    message = DiscoveryResponse.FromString(response.encode())
    assert not message.resources
    assert [error.resource_name.name for error in message.resource_errors] == ["nobody"]
    assert message.resource_errors[0].error_detail.code == NOT_FOUND
    assert "'nobody' does not exist" in message.resource_errors[0].error_detail.message


@pytest.mark.parametrize("type_url", [CLUSTER, ENDPOINT])
def test_an_unknown_name_is_told_once_remembered_and_pushed_when_it_appears(grpc: Client, type_url: str) -> None:
    grpc.ask(type_url, "late")
    assert grpc.settle(mesh("a"))[0].missing == ("late",)
    assert grpc.settle(mesh("a", ports=2)) == []

    (response,) = grpc.settle(mesh("a", "late"))

    assert (names(response), response.missing) == (["late"], ())


def test_a_deleted_cluster_is_a_missing_one_from_then_on(grpc: Client) -> None:
    grpc.ask(CLUSTER, "a", "b")
    grpc.settle(mesh("a", "b"))

    (response,) = grpc.settle(mesh("a"))

    assert (names(response), response.missing) == (["a"], ("b",))


# ACK and NACK


def test_an_ack_is_not_answered(running: Client) -> None:
    assert running.stream.next_responses(mesh("a", "b")) == []


def test_a_rejection_says_what_was_refused_and_why(envoy: Client) -> None:
    envoy.ask(CLUSTER)
    (response,) = envoy.stream.next_responses(mesh("a", "b"))

    rejection = envoy.nack(response, "a: no such policy")

    assert rejection == Rejection(CLUSTER, response.version, ("a", "b"), "a: no such policy")


def test_a_nack_is_error_detail_whatever_version_comes_with_it(envoy: Client) -> None:
    """After a partly valid response gRPC sends the new version and an error."""
    envoy.ask(CLUSTER)
    (response,) = envoy.stream.next_responses(mesh("a"))
    envoy.versions[CLUSTER] = response.version

    assert envoy.nack(response) is not None


@pytest.mark.parametrize("type_url", [CLUSTER, ENDPOINT, LISTENER, ROUTE])
def test_rejected_content_is_not_sent_again_until_it_differs(envoy: Client, type_url: str) -> None:
    envoy.ask(type_url, "edge" if type_url in (LISTENER, ROUTE) else "a")
    (response,) = envoy.stream.next_responses(mesh("a"))

    envoy.nack(response)

    assert envoy.stream.next_responses(mesh("a")) == []
    assert types(envoy.settle(mesh("a", "b", cluster_revision="2", listener_revision="2", ports=2))) == [type_url]


def test_one_bad_assignment_does_not_hold_up_the_others_of_its_response(envoy: Client) -> None:
    """Which one was bad is only in the text, and Envoy drops the good ones with it: each goes again by itself."""
    snapshot = mesh("a", "b", "c")
    envoy.ask(ENDPOINT, "a", "b", "c")
    (together,) = envoy.stream.next_responses(snapshot)
    envoy.nack(together, "b: malformed")

    accepted, refused = [], []
    while responses := envoy.stream.next_responses(snapshot):
        (response,) = responses
        if "b" in response.resources:
            refused += names(response)
            envoy.nack(response, "b: malformed")
        else:
            accepted += names(response)
            envoy.ack(response)

    assert (accepted, refused) == (["a", "c"], ["b"])
    (changed,) = envoy.settle(Snapshot.of((*(r for r in snapshot if r.name != "a"), cluster("a"), assignment("a", 9))))
    assert names(changed) == ["a"], "the rejected one is left alone"


# Versions


def test_a_new_stream_is_sent_everything_though_it_names_the_current_version() -> None:
    snapshot = mesh("a")
    client = Client(Stream(), agent=GRPC)

    client.ask(CLUSTER, "a", version=snapshot.versions[CLUSTER], nonce="")

    assert names(client.stream.next_responses(snapshot)[0]) == ["a"]


def test_the_version_is_the_content_and_not_the_stream(running: Client) -> None:
    snapshot = mesh("a", "b", ports=2)
    other = Client(Stream(), agent=GRPC)
    other.ask(ENDPOINT, "a")

    versions = {response.version for response in (*running.settle(snapshot), *other.settle(snapshot))}

    assert versions == {snapshot.versions[ENDPOINT]}


# Order


def test_on_a_fresh_stream_clusters_come_first_then_endpoints_then_listeners_then_routes(envoy: Client) -> None:
    for type_url, asked in ((ROUTE, ["edge"]), (LISTENER, []), (ENDPOINT, ["a"]), (CLUSTER, [])):
        envoy.ask(type_url, *asked)

    assert types(envoy.settle(mesh("a"))) == [CLUSTER, ENDPOINT, LISTENER, ROUTE]


def test_listeners_and_routes_wait_until_clusters_and_endpoints_are_acknowledged(running: Client) -> None:
    snapshot = mesh("a", "b", "c", listener_revision="2")
    (clusters,) = running.stream.next_responses(snapshot)
    assert (clusters.type_url, names(clusters)) == (CLUSTER, ["a", "b", "c"])

    running.ask(ENDPOINT, "a", "b", "c")  # Envoy does so before it acknowledges the cluster, which waits for them
    (endpoints,) = running.stream.next_responses(snapshot)
    assert (endpoints.type_url, names(endpoints)) == (ENDPOINT, ["c"])
    running.ack(endpoints)
    assert running.stream.next_responses(snapshot) == [], "the cluster is not warm yet"
    running.ack(clusters)

    assert types(running.stream.next_responses(snapshot)) == [LISTENER, ROUTE]


def test_a_cluster_is_removed_only_after_the_routes_that_named_it(running: Client) -> None:
    without_b = mesh("a")
    (routes,) = running.stream.next_responses(without_b)
    assert routes.type_url == ROUTE, "the cluster stays"
    assert running.stream.next_responses(without_b) == [], "until the client has said that it no longer needs it"

    running.ack(routes)

    (clusters,) = running.stream.next_responses(without_b)
    assert (clusters.type_url, names(clusters)) == (CLUSTER, ["a"])


def test_a_cluster_stays_as_long_as_a_rejected_route_leaves_the_old_one_in_use(running: Client) -> None:
    (routes,) = running.stream.next_responses(mesh("a"))

    running.nack(routes)

    assert running.stream.next_responses(mesh("a")) == []


def test_a_response_that_keeps_a_cluster_has_a_version_of_its_own(running: Client) -> None:
    snapshot = mesh("a", cluster_revision="2")
    kept, endpoints = running.stream.next_responses(snapshot)
    assert (kept.type_url, names(kept)) == (CLUSTER, ["a", "b"])
    running.ack(endpoints)
    running.ack(kept)

    (removed,) = (response for response in running.settle(snapshot) if response.type_url == CLUSTER)

    assert (names(removed), removed.version) == (["a"], snapshot.versions[CLUSTER])
    assert kept.version != removed.version


# Warming


def test_endpoints_are_sent_again_after_their_cluster_changed(running: Client) -> None:
    clusters, endpoints = running.stream.next_responses(mesh("a", "b", cluster_revision="2"))

    assert (clusters.type_url, names(clusters)) == (CLUSTER, ["a", "b"])
    assert (endpoints.type_url, names(endpoints)) == (ENDPOINT, ["a", "b"])


def test_envoys_repeated_request_after_a_changed_cluster_changes_nothing_more(running: Client) -> None:
    """Envoy asks with the same names, version and nonce; that is stale by then, for the endpoints are under way."""
    snapshot = mesh("a", "b", cluster_revision="2")
    before = running.nonces[ENDPOINT]
    clusters, endpoints = running.stream.next_responses(snapshot)

    running.ask(ENDPOINT, "a", "b", nonce=before)
    running.ack(endpoints)
    running.ack(clusters)

    assert running.stream.next_responses(snapshot) == []


def test_routes_are_sent_again_after_their_listener_changed(running: Client) -> None:
    listeners, routes = running.stream.next_responses(mesh("a", "b", listener_revision="2"))

    assert (listeners.type_url, names(listeners)) == (LISTENER, ["edge"])
    assert (routes.type_url, names(routes)) == (ROUTE, ["edge"])


def test_rejected_endpoints_are_sent_once_more_when_their_cluster_changed_since_it_waits_for_an_answer(
    running: Client,
) -> None:
    """Envoy ends the warming of a cluster with whatever becomes of its endpoints, and acknowledges it only then."""
    others = [each for each in mesh("a", "b") if (each.type_url, each.name) != (ENDPOINT, "a")]
    (endpoints,) = running.stream.next_responses(Snapshot.of((*others, assignment("a", 7))))
    running.nack(endpoints)
    others = [each for each in mesh("a", "b", cluster_revision="2") if (each.type_url, each.name) != (ENDPOINT, "a")]

    sent = running.settle(Snapshot.of((*others, assignment("a", 7))))

    assert [(response.type_url, names(response)) for response in sent] == [
        (CLUSTER, ["a", "b"]),
        (ENDPOINT, ["a", "b"]),
    ]


def test_a_new_cluster_gets_its_endpoints_though_its_service_is_gone_meanwhile(running: Client) -> None:
    """Envoy would wait 15 s for them, and delay the acknowledgement of all clusters as long."""
    (clusters,) = running.stream.next_responses(mesh("a", "b", "c"))
    running.ask(ENDPOINT, "a", "b", "c")

    (endpoints,) = running.stream.next_responses(mesh("a", "b"))

    assert (endpoints.type_url, names(endpoints)) == (ENDPOINT, ["c"])
    running.ack(endpoints)
    running.ack(clusters)
    assert [names(response) for response in running.settle(mesh("a", "b"))] == [["a", "b"]]


# Back-pressure


def test_one_response_per_type_is_unanswered_at_a_time_and_the_next_holds_the_newest(running: Client) -> None:
    (first,) = running.stream.next_responses(mesh("a", "b", ports=2))
    assert running.stream.next_responses(mesh("a", "b", ports=3)) == []
    assert running.stream.next_responses(mesh("a", "b", ports=4)) == []

    running.ack(first)

    (second,) = running.stream.next_responses(mesh("a", "b", ports=4))
    assert second.resources["a"] == assignment("a", 4)


def test_nothing_is_sent_for_a_change_that_was_taken_back_meanwhile(running: Client) -> None:
    (first,) = running.stream.next_responses(mesh("a", "b", ports=2))
    running.stream.next_responses(mesh("a", "b", ports=3))

    running.ack(first)

    assert running.stream.next_responses(mesh("a", "b", ports=2)) == []


def test_a_name_given_twice_is_answered_once(grpc: Client) -> None:
    grpc.ask(CLUSTER, "a", "a")

    (response,) = grpc.stream.next_responses(mesh("a"))

    assert len(DiscoveryResponse.FromString(response.encode()).resources) == 1


# The wire


def test_an_encoded_response_is_the_message_it_stands_for() -> None:
    resources: Mapping[str, Resource] = {"a": assignment("a", 2), "b": assignment("b")}
    response = Response(ENDPOINT, "v1", "7", resources, missing=("c",))

    message = DiscoveryResponse.FromString(response.encode())

    assert (message.type_url, message.version_info, message.nonce) == (ENDPOINT, "v1", "7")
    unpacked = [ClusterLoadAssignment.FromString(each.value) for each in message.resources]
    assert [(each.cluster_name, len(each.endpoints)) for each in unpacked] == [("a", 2), ("b", 0)]
    assert [error.resource_name.name for error in message.resource_errors] == ["c"]
