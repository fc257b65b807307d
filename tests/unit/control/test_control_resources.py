from __future__ import annotations

import random

import pytest
from xds_api.envoy.config.cluster.v3.cluster_pb2 import Cluster
from xds_api.envoy.config.core.v3.base_pb2 import Node
from xds_api.envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from xds_api.envoy.config.listener.v3.listener_components_pb2 import Filter, FilterChain
from xds_api.envoy.config.listener.v3.listener_pb2 import Listener
from xds_api.envoy.config.route.v3.route_components_pb2 import (
    Route,
    RouteAction,
    RouteMatch,
    VirtualHost,
    WeightedCluster,
)
from xds_api.envoy.config.route.v3.route_pb2 import RouteConfiguration
from xds_api.envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
    Rds,
)

from weft.control import Resource, Snapshot, inconsistencies, version_of
from weft.control.resources import CLUSTER, ENDPOINT, LISTENER, ROUTE


def eds(name: str, service_name: str = "") -> Resource:
    cluster = Cluster(name=name, type=Cluster.EDS)
    cluster.eds_cluster_config.service_name = service_name
    return Resource.of(cluster)


def assignment(name: str) -> Resource:
    return Resource.of(ClusterLoadAssignment(cluster_name=name))


def routes(name: str, *actions: RouteAction) -> Resource:
    host = VirtualHost(routes=[Route(match=RouteMatch(prefix="/"), route=action) for action in actions])
    return Resource.of(RouteConfiguration(name=name, virtual_hosts=[host]))


def listener(name: str, manager: HttpConnectionManager) -> Resource:
    network = Filter()
    network.typed_config.Pack(manager)
    return Resource.of(Listener(name=name, filter_chains=[FilterChain(filters=[network])]))


def test_the_version_of_resources_does_not_depend_on_their_order() -> None:
    named = {name: assignment(name) for name in "abcdefgh"}
    shuffled = random.Random(7).sample(sorted(named), len(named))

    assert version_of({name: named[name] for name in shuffled}) == version_of(named)


def test_the_version_of_resources_changes_with_their_content_and_with_their_names() -> None:
    versions = {
        version_of(named)
        for named in ({}, {"a": assignment("a")}, {"a": assignment("b")}, {"b": assignment("a")}, {"a": eds("a")})
    }

    assert len(versions) == 5


def test_two_resources_of_one_type_and_name_are_refused() -> None:
    with pytest.raises(ValueError, match="Cluster 'a'"):
        Snapshot.of([eds("a"), eds("a", "other")])


@pytest.mark.parametrize("message", [Cluster(), ClusterLoadAssignment(), Node(id="a")])
def test_what_has_no_name_or_is_no_resource_is_refused(message: Cluster | ClusterLoadAssignment | Node) -> None:
    with pytest.raises(ValueError, match="not a resource with a name"):
        Resource.of(message)


def test_resources_say_what_they_name() -> None:
    weighted = RouteAction(weighted_clusters=WeightedCluster(clusters=[WeightedCluster.ClusterWeight(name="b")]))
    mirrored = RouteAction(cluster="c", request_mirror_policies=[RouteAction.RequestMirrorPolicy(cluster="d")])

    assert eds("a").references == {(ENDPOINT, "a")}
    assert eds("a", "other").references == {(ENDPOINT, "other")}
    assert Resource.of(Cluster(name="a", type=Cluster.STATIC)).references == frozenset()
    assert routes("r", RouteAction(cluster="a"), weighted, mirrored).references == {(CLUSTER, name) for name in "abcd"}
    assert listener("l", HttpConnectionManager(rds=Rds(route_config_name="r"))).references == {(ROUTE, "r")}


def test_a_listener_with_its_routes_inside_names_their_clusters() -> None:
    inside = RouteConfiguration(virtual_hosts=[VirtualHost(routes=[Route(route=RouteAction(cluster="a"))])])

    assert listener("l", HttpConnectionManager(route_config=inside)).references == {(CLUSTER, "a")}


def test_a_route_that_answers_for_a_missing_cluster_does_not_name_it() -> None:
    nowhere = RouteAction(cluster="nowhere", cluster_not_found_response_code=RouteAction.NOT_FOUND)

    assert routes("r", nowhere).references == frozenset()


def test_a_consistent_snapshot_has_no_problems() -> None:
    edge = listener("edge", HttpConnectionManager(rds=Rds(route_config_name="edge")))
    snapshot = Snapshot.of((edge, routes("edge", RouteAction(cluster="a")), eds("a"), assignment("a")))

    assert inconsistencies(snapshot) == ()
    assert set(snapshot.versions) == {LISTENER, ROUTE, CLUSTER, ENDPOINT}


@pytest.mark.parametrize(
    ("resources", "problem"),
    [
        ((eds("a"),), "Cluster 'a' names ClusterLoadAssignment 'a', which is not there"),
        ((assignment("a"),), "ClusterLoadAssignment 'a' is named by nothing"),
        ((routes("r"),), "RouteConfiguration 'r' is named by nothing"),
        (
            (listener("l", HttpConnectionManager(rds=Rds(route_config_name="r"))),),
            "Listener 'l' names RouteConfiguration 'r', which is not there",
        ),
        (
            (
                listener("l", HttpConnectionManager(rds=Rds(route_config_name="r"))),
                routes("r", RouteAction(cluster="gone")),
            ),
            "RouteConfiguration 'r' names Cluster 'gone', which is not there",
        ),
    ],
)
def test_what_is_named_and_missing_or_there_and_not_named_is_a_problem(
    resources: tuple[Resource, ...], problem: str
) -> None:
    assert inconsistencies(Snapshot.of(resources)) == (problem,)


def test_a_cluster_of_the_bootstrap_may_be_named() -> None:
    edge = listener("l", HttpConnectionManager(rds=Rds(route_config_name="r")))
    snapshot = Snapshot.of((edge, routes("r", RouteAction(cluster="xds"))))

    assert inconsistencies(snapshot, elsewhere=["xds"]) == ()
