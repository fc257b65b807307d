"""Snapshots of both data planes from one contract, the real gateway's among them."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

from weft.contract import Access, Contract, HttpRule, Method, Retry, Service
from weft.control import DataPlane, Resource, Snapshots, build_blueprints, inconsistencies
from weft.control.resources import CLUSTER, ENDPOINT, LISTENER, ROUTE
from weft.gateway import GatewayConfig
from weft.registry import Instance

ROOT = Path(__file__).parents[3]


def contract() -> Contract:
    services = []
    for name in ("library", "post"):
        full_name = f"example.{name}.v1.Service"
        methods = tuple(
            Method(
                name=verb.title(),
                service_name=name,
                service_full_name=full_name,
                request="example.Request",
                response="example.Response",
                access=Access.PUBLIC if verb == "get" else Access.AUTHENTICATED,
                timeout_s=0.5,
                retry=Retry(max_attempts=3) if verb == "get" else None,
                http=(HttpRule(verb=verb.upper(), template=f"/v1/{name}/{{id}}", body="", response_body=""),),
            )
            for verb in ("get", "delete")
        )
        services.append(Service(name=name, full_name=full_name, file="example.proto", methods=methods))
    return Contract(services=tuple(services))


def build(seed: int = 0) -> Snapshots:
    """Return the snapshots of a catalog whose services and instances come in an order that depends on *seed*."""
    order = random.Random(seed)
    catalog = {
        name: tuple(
            Instance(id=f"{name}-{port}", service=name, address="127.0.0.1", port=port, weight=1 + port % 2)
            for port in order.sample(range(1000, 1010), 10)
        )
        for name in order.sample(["library", "post", "stranger"], 3)
    }
    blueprints = build_blueprints(contract(), GatewayConfig(), image=b"descriptors", openapi="{}")
    return {data_plane: blueprint.snapshot(catalog) for data_plane, blueprint in blueprints.items()}


def test_each_data_plane_has_resources_of_its_own() -> None:
    snapshots = build()

    envoy, grpc = snapshots[DataPlane.ENVOY].resources, snapshots[DataPlane.GRPC].resources
    assert (set(grpc[LISTENER]), set(grpc[ROUTE])) == ({"library", "post"}, set()), "routes are inside"
    assert len(envoy[LISTENER]) == len(envoy[ROUTE]) == 1
    assert set(envoy[CLUSTER]) == set(grpc[CLUSTER]) == {"library", "post"}
    assert not set(envoy[CLUSTER].values()) & set(grpc[CLUSTER].values())


def test_services_come_from_the_contract_and_instances_from_the_catalog() -> None:
    blueprints = build_blueprints(contract(), GatewayConfig(), image=b"", openapi="{}")
    alone = Instance(id="library-1", service="library", address="127.0.0.1", port=1)

    for blueprint in blueprints.values():
        snapshot = blueprint.snapshot({"library": (alone,), "stranger": (alone,)})
        assert set(snapshot.resources[ENDPOINT]) == {"library", "post"}, "one of them is empty"


def test_both_snapshots_are_consistent() -> None:
    blueprints = build_blueprints(contract(), GatewayConfig(), image=b"", openapi="{}")

    for blueprint in blueprints.values():
        assert inconsistencies(blueprint.snapshot({}), blueprint.elsewhere) == ()


def test_two_replicas_agree_byte_for_byte_whatever_order_they_hear_things_in() -> None:
    wires = {
        tuple(resource.wire for plane in DataPlane for resource in sorted_resources(build(seed), plane))
        for seed in range(5)
    }

    assert len(wires) == 1


def test_replicas_in_other_processes_agree_on_every_version() -> None:
    """Maps are where an encoding could differ from process to process."""
    script = "import test_control_build; print(test_control_build.versions())"
    path = os.pathsep.join((str(Path(__file__).parent), str(ROOT), str(ROOT / "gen")))

    said = {
        subprocess.run(
            [sys.executable, "-c", script],
            env={**os.environ, "PYTHONPATH": path, "PYTHONHASHSEED": seed},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for seed in ("0", "1", "2")
    }

    assert said == {f"{versions()}\n"}


def test_only_the_assignment_of_a_changed_service_is_made_again() -> None:
    blueprint = build_blueprints(contract(), GatewayConfig(), image=b"", openapi="{}")[DataPlane.GRPC]
    library = Instance(id="library-1", service="library", address="127.0.0.1", port=1)
    post = Instance(id="post-1", service="post", address="127.0.0.1", port=2)

    before = blueprint.snapshot({"library": (library,), "post": (post,)}).resources[ENDPOINT]
    after = blueprint.snapshot({"library": (), "post": (post,)}).resources[ENDPOINT]

    assert after["post"] is before["post"]
    assert after["library"] != before["library"]


def versions() -> list[tuple[str, ...]]:
    return sorted((plane.value, *item) for plane, snapshot in build().items() for item in snapshot.versions.items())


def sorted_resources(snapshots: Snapshots, data_plane: DataPlane) -> list[Resource]:
    return sorted(snapshots[data_plane], key=lambda resource: (resource.type_url, resource.name))
