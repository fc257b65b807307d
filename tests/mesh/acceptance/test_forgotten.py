"""Somebody buys, asks what the shop knows of them, and leaves: then it knows nothing but what it must keep by law."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import closing
from typing import Any

import aiohttp
import psycopg2
import pytest
from psycopg2 import sql

from tests.mesh.acceptance.conftest import Mesh
from tests.mesh.acceptance.purchases import Person
from weft.cli.state import State

HOLDS_INVOICES = "payments.invoices"


class Shopper:
    """Somebody whose name and street are nobody else's."""

    def __init__(self, session: aiohttp.ClientSession, mesh: Mesh) -> None:
        self.session, self._mesh = session, mesh
        mark = os.urandom(6).hex()
        self.account = {"email": f"berta-{mark}@example.com", "password": "correct horse"}
        self.names = {"firstName": f"Berta{mark}", "lastName": f"Benz{mark}"}
        self.home = {
            "recipient": f"{self.names['firstName']} {self.names['lastName']}",
            "streetLines": [f"Kaiserring {mark}"],
            "postalCode": "68161",
            "city": f"Mannheim{mark}",
            "countryCode": "DE",
        }
        self.phone = f"+49170{int(mark, 16) % 10**9:09}"
        self.marks = [self.account["email"], *self.names.values(), f"Kaiserring {mark}", f"Mannheim{mark}", self.phone]
        self.token = ""

    @property
    def person(self) -> Person:
        return Person(self.session, self._mesh, self.token)

    async def register(self) -> Person:
        async with self.session.post(
            f"http://{self._mesh.address}/v1/users", json=self.account | self.names
        ) as registered:
            assert registered.status == 200, await registered.text()
            self.token = (await registered.json())["tokens"]["accessToken"]
        return self.person

    async def login(self) -> int:
        async with self.session.post(f"http://{self._mesh.address}/v1/users:login", json=self.account) as answer:
            return answer.status

    async def export(self) -> list[dict[str, Any]]:
        """Return what the shop says it knows, a line each."""
        async with self.session.get(
            f"http://{self._mesh.address}/v1/users/me:export", headers={"authorization": f"Bearer {self.token}"}
        ) as answer:
            assert answer.status == 200, await answer.text()
            return [json.loads(line) for line in (await answer.text()).splitlines() if line]

    async def buys(self, product_id: str) -> str:
        """Buy one, and return the order's id."""
        body = {
            "lines": [{"productId": product_id, "quantity": 1}],
            "paymentMethod": "pm_test_accepted",
            "destination": self.home,
        }
        placed = await self.person.post("/v1/orders", body, key=os.urandom(6).hex())
        return str(placed.order["orderId"])

    async def has(self, order_id: str, state: str) -> bool:
        return bool((await self.person.get(f"/v1/orders/{order_id}")).order["state"] == state)


def knowing(mesh: Mesh, marks: list[str]) -> set[str]:
    """Return the tables, of all services, that hold one of *marks*: as text, in JSON, or in messages."""
    urls = State(mesh.state).database_urls([], {})
    assert {"users", "orders", "payments", "shipping", "notifications", "analytics"} <= set(urls)
    wanted = [mark.lower() for mark in marks] + [mark.encode().hex() for mark in marks]
    found = set()
    for service, url in urls.items():
        with closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
            cursor.execute(
                "SELECT tablename FROM pg_tables WHERE schemaname NOT IN ('pg_catalog', 'information_schema')"
            )
            for (table,) in cursor.fetchall():
                cursor.execute(sql.SQL("SELECT lower(t::text) FROM {} AS t").format(sql.Identifier(table)))
                if any(mark in row for (row,) in cursor for mark in wanted):
                    found.add(f"{service}.{table}")
    return found


async def until(condition: Callable[[], Awaitable[bool]], what: Callable[[], object]) -> None:
    try:
        async with asyncio.timeout(60):
            while not await condition():
                await asyncio.sleep(0.2)
    except TimeoutError:
        raise AssertionError(what()) from None


@pytest.fixture(name="shopper")
async def _shopper(mesh: Mesh) -> AsyncIterator[Shopper]:
    async with aiohttp.ClientSession() as session:
        yield Shopper(session, mesh)


async def known_only_by(mesh: Mesh, shopper: Shopper, *tables: str) -> None:
    """Wait until only these tables know of somebody."""

    async def is_so() -> bool:
        return await asyncio.to_thread(knowing, mesh, shopper.marks) == {*tables}

    await until(is_so, lambda: knowing(mesh, shopper.marks))


async def offered(shopper: Shopper, mesh: Mesh) -> str:
    return await Person.administrator(shopper.session, mesh).offer(units=100)


async def test_who_leaves_takes_all_along_but_their_invoices(mesh: Mesh, shopper: Shopper) -> None:
    mug = await offered(shopper, mesh)
    me = await shopper.register()
    preferences = {"preferences": {"language": "de", "phoneNumber": shopper.phone}}
    assert (await me.patch("/v1/users/me", preferences)).status == 200
    order_id = await shopper.buys(mug)
    await me.put(f"/v1/cart/items/{mug}", {"quantity": 2})
    await until(lambda: shopper.has(order_id, "STATE_DELIVERED"), lambda: "the order is not delivered")

    told = await shopper.export()
    kinds = {(line["service"], line["item"]["@type"].rpartition(".")[2]) for line in told[:-1]}
    assert kinds >= {
        ("users", "User"),
        ("users", "Session"),
        ("orders", "Cart"),
        ("orders", "Order"),
        ("payments", "Payment"),
        ("payments", "Invoice"),
        ("shipping", "Shipment"),
        ("notifications", "Notification"),
    }
    assert [line["complete"] for line in told] == [False] * (len(told) - 1) + [True]
    assert {line["item"]["orderId"] for line in told[:-1] if "orderId" in line["item"]} == {order_id}
    before = knowing(mesh, shopper.marks)
    assert before >= {"users.users", "orders.orders", "orders.order_events", "shipping.shipments", HOLDS_INVOICES}

    assert (await me.delete("/v1/users/me")).status == 200
    assert (await me.delete("/v1/users/me")).status == 200

    assert await shopper.login() == 401
    assert (await me.get("/v1/users/me")).reason == "USER_NOT_FOUND"
    refused = await me.post(
        "/v1/orders",
        {
            "lines": [{"productId": mug, "quantity": 1}],
            "paymentMethod": "pm_test_accepted",
            "destination": shopper.home,
        },
    )
    assert (refused.status, refused.reason) == (404, "USER_NOT_FOUND")
    await known_only_by(mesh, shopper, HOLDS_INVOICES)
    for service in ("orders", "analytics"):
        mesh.weft("rebuild", service)
    assert knowing(mesh, shopper.marks) == {HOLDS_INVOICES}
    assert "destination" not in (await me.get(f"/v1/orders/{order_id}")).order

    await shopper.register()
    again = await shopper.export()
    assert {line["service"] for line in again if line["service"] in ("orders", "payments", "shipping")} == set()
    assert again[-1]["complete"]


async def test_a_parcel_that_is_under_way_arrives_and_then_nobody_knows_where(mesh: Mesh, shopper: Shopper) -> None:
    mug = await offered(shopper, mesh)
    me = await shopper.register()
    order_id = await shopper.buys(mug)

    assert (await me.delete("/v1/users/me")).status == 200

    await until(lambda: shopper.has(order_id, "STATE_DELIVERED"), lambda: "the order is not delivered")
    await known_only_by(mesh, shopper, HOLDS_INVOICES)
