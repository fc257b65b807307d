"""People who buy through the REST API."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any, Final

import aiohttp

from tests.mesh.acceptance.conftest import Mesh

HOME: Final = {
    "recipient": "Anna Berg",
    "streetLines": ["Hauptstrasse 1"],
    "postalCode": "10115",
    "city": "Berlin",
    "countryCode": "DE",
}


@dataclass(frozen=True)
class Answer:
    """What REST said."""

    status: int
    body: dict[str, Any]

    @property
    def order(self) -> dict[str, Any]:
        """The order it is about, with status 200."""
        assert self.status == 200, self.body
        found: dict[str, Any] = self.body["order"]
        return found

    @property
    def reason(self) -> str:
        """Why it was refused."""
        return str(self.body["details"][0]["reason"])


class Person:
    """Somebody with an account, and the token that says so."""

    def __init__(self, session: aiohttp.ClientSession, mesh: Mesh, token: str) -> None:
        self._session, self._url = session, f"http://{mesh.address}"
        self._headers = {"authorization": f"Bearer {token}"}

    @classmethod
    async def registered(cls, session: aiohttp.ClientSession, mesh: Mesh) -> Person:
        person = {
            "email": f"shopper-{os.urandom(6).hex()}@example.com",
            "password": "correct horse",
            "firstName": "Anna",
            "lastName": "Berg",
        }
        async with session.post(f"http://{mesh.address}/v1/users", json=person) as answer:
            assert answer.status == 200, await answer.text()
            return cls(session, mesh, str((await answer.json())["tokens"]["accessToken"]))

    @classmethod
    def administrator(cls, session: aiohttp.ClientSession, mesh: Mesh) -> Person:
        return cls(session, mesh, mesh.token("11111111-1111-4111-8111-111111111111", "admin"))

    async def get(self, path: str) -> Answer:
        return await self._ask("GET", path)

    async def put(self, path: str, body: dict[str, Any]) -> Answer:
        return await self._ask("PUT", path, json=body)

    async def patch(self, path: str, body: dict[str, Any]) -> Answer:
        return await self._ask("PATCH", path, json=body)

    async def delete(self, path: str) -> Answer:
        return await self._ask("DELETE", path)

    async def post(self, path: str, body: dict[str, Any], *, key: str = "") -> Answer:
        return await self._ask("POST", path, key=key, json=body)

    async def _ask(self, method: str, path: str, *, key: str = "", **body: Any) -> Answer:
        headers = self._headers | ({"idempotency-key": key} if key else {})
        async with self._session.request(method, self._url + path, headers=headers, **body) as answer:
            return Answer(answer.status, await answer.json())

    async def place(
        self, product_id: str, *, quantity: int = 1, pay_with: str = "pm_test_accepted", key: str = ""
    ) -> Answer:
        lines = [{"productId": product_id, "quantity": quantity}]
        body = {"lines": lines, "paymentMethod": pay_with, "destination": HOME}
        return await self.post("/v1/orders", body, key=key)

    async def offer(self, *, units: int) -> str:
        """Put a new product on sale, as an administrator, with *units* in stock; return its id."""
        sku = f"TEST-{os.urandom(4).hex().upper()}"
        price = {"currencyCode": "EUR", "units": "10", "nanos": 500_000_000}
        product = {"sku": sku, "name": "Test mug", "category": "kitchen", "price": price}
        made = await self.post("/v1/products", {"product": product})
        assert made.status == 200, made.body
        delivery = await self.post(f"/v1/stock/{sku}:adjust", {"delta": units, "reason": "test"})
        assert delivery.status == 200, delivery.body
        return str(made.body["product"]["productId"])
