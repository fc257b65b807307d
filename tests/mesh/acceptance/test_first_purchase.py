"""The README's first purchase, as pasted; and what else a stranger would try on a running mesh."""

from __future__ import annotations

import http.client
import json
import re
import subprocess
import sys
from typing import Any

import grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from tests.mesh.acceptance.conftest import ROOT, Mesh

README = (ROOT / "README.md").read_text()


def block(language: str, containing: str) -> str:
    blocks = re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)
    return str(next(each for each in blocks if containing in each))


def pasted(mesh: Mesh, *command: str, text: str) -> str:
    """Run a block of the README, on this mesh's port instead of the one it names."""
    text = text.replace("127.0.0.1:8080", mesh.address)
    done = subprocess.run([*command, text], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def get(mesh: Mesh, path: str) -> tuple[int, str, str]:
    connection = http.client.HTTPConnection(mesh.address, timeout=10)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.getheader("content-type") or "", answer.read().decode()
    finally:
        connection.close()


def test_the_readmes_purchase_works_as_pasted_by_curl_and_by_stub(mesh: Mesh) -> None:
    by_curl = block("sh", "gateway=")
    placed, *changes = map(json.loads, pasted(mesh, "bash", "-ec", text=by_curl).splitlines())

    assert placed["order"]["state"] == "STATE_CONFIRMED"
    assert placed["order"]["lines"][0]["quantity"] == 2
    states = [change["order"]["state"] for change in changes]
    assert states[-1] == "STATE_DELIVERED"
    assert sorted(states, key=["STATE_CONFIRMED", "STATE_SHIPPED", "STATE_DELIVERED"].index) == states
    story = mesh.weft("saga", "show", placed["order"]["orderId"])
    for step in ("reserve_stock", "authorize_payment", "confirm", "capture_payment", "schedule_shipment"):
        assert step in story

    by_stub = pasted(mesh, sys.executable, "-c", text=block("python", "PlaceOrder"))
    assert "STATE_CONFIRMED" in by_stub


def test_an_idempotency_key_sent_again_gets_the_same_order(mesh: Mesh) -> None:
    by_curl = block("sh", "gateway=").replace("anna@example.com", "again@example.com")
    purchase = by_curl[by_curl.index("order=$(") : by_curl.index("curl -sN")]

    first, second = pasted(mesh, "bash", "-ec", text=by_curl[: by_curl.index("curl -sN")] + purchase).splitlines()

    assert json.loads(first) == json.loads(second)


def test_the_gateway_shows_its_health_its_api_and_its_keys(mesh: Mesh) -> None:
    assert get(mesh, "/healthz")[0] == 200
    status, kind, text = get(mesh, "/openapi.json")
    document: dict[str, Any] = json.loads(text)
    assert (status, kind, document["openapi"][:3]) == (200, "application/json", "3.1")
    assert {"/v1/products/{productId}", "/v1/orders", "/v1/users:login"} <= set(document["paths"])
    status, kind, text = get(mesh, "/docs")
    assert (status, kind.partition(";")[0]) == (200, "text/html")
    assert json.loads(get(mesh, "/.well-known/jwks.json")[2])["keys"][0]["kid"] == mesh.key.key_id


def test_reflection_at_the_gateway_names_every_service(mesh: Mesh) -> None:
    with grpc.insecure_channel(mesh.address) as channel:
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)
        request = reflection_pb2.ServerReflectionRequest(list_services="")
        (answer,) = stub.ServerReflectionInfo(iter([request]), timeout=5)

    names = {service.name for service in answer.list_services_response.service}
    assert {"shop.users.v1.UsersService", "shop.catalog.v1.CatalogService", "shop.orders.v1.OrdersService"} <= names


def test_status_names_every_process_and_instance(mesh: Mesh) -> None:
    status = mesh.status()

    services = {"users", "catalog", "inventory", "orders", "payments", "shipping", "notifications", "analytics"}
    others = {"envoy", "control", "postgres", "registry", "nats", "provider", "catalog.2", "orders.2"}
    assert {each["service"] for each in status["instances"]} == services
    assert {each["name"] for each in status["processes"]} >= services | others
    assert all(each["health"] == "passing" for each in status["instances"])
