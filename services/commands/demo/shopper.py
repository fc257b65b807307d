"""What whoever buys does in the story."""

from __future__ import annotations

import secrets
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

from aiohttp import ClientPayloadError

from services.commands.demo.client import Refused

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from services.commands.demo.client import Answer, Person
    from services.commands.demo.stage import Stage

__all__ = ["Shopper"]

HOME: Final[Mapping[str, Any]] = {
    "recipient": "Mina Keller",
    "streetLines": ["Lindenstrasse 12"],
    "postalCode": "10969",
    "city": "Berlin",
    "countryCode": "DE",
}
CARD: Final = {"cardNumber": "4242424242424242", "expiryMonth": 12, "securityCode": "123"}
"""The simulated provider accepts it, for as long as it has not expired."""
LANGUAGE: Final = "de"
ENDED: Final = {"STATE_DELIVERED", "STATE_RETURNED", "STATE_CANCELLED"}


class Shopper:
    """Buys.

    Args:
        person: Who asks; `register` gives them a token.
        stage: Shows what is under way.
        run: What tells this story from others on the same mesh.
    """

    def __init__(self, person: Person, stage: Stage, run: str) -> None:
        self._person, self._stage, self._run = person, stage, run
        self._payment_method = ""
        self._user_id = ""
        self.recorded = 0
        """How much of what they did analytics has taken."""

    async def register(self) -> Answer:
        """Get an account at an address that nobody has, which reads German; return it."""
        account = {
            "email": f"mina.{self._run.lower()}@example.com",
            "password": secrets.token_urlsafe(15),
            "firstName": "Mina",
            "lastName": "Keller",
        }
        self._person.token = (await self._person.post("/v1/users", account))["tokens"]["accessToken"]
        changed = await self._person.patch("/v1/users/me", {"preferences": {"language": LANGUAGE}})
        user: Answer = changed["user"]
        self._user_id = user["userId"]
        return user

    async def look_around(self, products: Sequence[Answer], query: str) -> Answer:
        """Search until all *products* are found, look at each, and have that recorded; return what was found."""
        wanted = {each["productId"] for each in products}

        async def search() -> Answer:
            return await self._person.get("/v1/products", query=query, pageSize="100", orderBy="create_time desc")

        def holds(page: Answer) -> bool:
            return wanted <= {each["productId"] for each in page["products"]}

        page = await self._stage.until(search, holds, "catalog to find what is new")
        for product_id in wanted:
            await self._person.get(f"/v1/products/{product_id}")
        views = [self._did("KIND_PRODUCT_VIEWED", productId=product_id) for product_id in wanted]
        await self._record([self._did("KIND_SEARCHED"), *views])
        return {"query": query, "totalSize": page["totalSize"]}

    async def fill_cart(self, lines: Mapping[str, int]) -> None:
        """Put in how many of which product id."""
        for product_id, quantity in lines.items():
            item = {"productId": product_id, "quantity": quantity}
            await self._person.post("/v1/cart/items", item, key=uuid4().hex)
        await self._record([self._did("KIND_ADDED_TO_CART", productId=product_id) for product_id in lines])

    async def quote(self) -> Answer:
        """Return what the cart would cost, sent home."""
        return await self._person.post("/v1/cart:quote", {"destination": {"countryCode": HOME["countryCode"]}})

    async def check_out(self, quote: Answer) -> Answer:
        """Buy what is in the cart at what *quote* says; return the order. Raises Refused, CART_CHANGED among others."""
        if not self._payment_method:
            card = CARD | {"expiryYear": datetime.now(UTC).year + 1}
            self._payment_method = (await self._person.post("/v1/paymentMethods", card))["paymentMethod"]
        seen = ("productId", "quantity", "unitPrice")
        request = {
            "expectedLines": [{name: line[name] for name in seen} for line in quote["cart"]["lines"]],
            "expectedTotal": quote["total"],
            "paymentMethod": self._payment_method,
            "destination": HOME,
        }
        order: Answer = (await self._person.post("/v1/cart:checkOut", request, key=uuid4().hex))["order"]
        return order

    async def await_delivery(self, order_id: str) -> tuple[Answer, list[Answer]]:
        """Watch an order until nothing can change any more; return it, and when it came into which state."""
        states: dict[str, str] = {}

        async def watch() -> Answer:
            order: Answer = {"state": ""}
            with suppress(ClientPayloadError):  # the stream broke off
                async for said in self._person.watch(f"/v1/orders/{order_id}:watch"):
                    order = said["order"]
                    states.setdefault(order["state"], order["updateTime"])
            return order

        order = await self._stage.until(watch, lambda order: order["state"] in ENDED, f"order {order_id} to arrive")
        return order, [{"state": state, "time": time} for state, time in states.items()]

    async def call_off(self, order_id: str) -> Answer | None:
        """Cancel an order; return it once its money is back, or None if its parcel has left already."""
        try:
            await self._person.post(f"/v1/orders/{order_id}:cancel", {}, key=f"cancel-{order_id}")
        except Refused as refused:
            if refused.reason != "ILLEGAL_TRANSITION":
                raise
            return None
        order = await self._stage.until(
            lambda: self._order(order_id),
            lambda order: bool(order["state"] != "STATE_CANCELLING"),
            f"order {order_id} to be off",
        )
        return order if order["state"] == "STATE_CANCELLED" else None

    async def product(self, product_id: str, availability: str) -> Answer:
        """Return a product once it is known to be as available as that."""

        async def ask() -> Answer:
            found: Answer = (await self._person.get(f"/v1/products/{product_id}"))["product"]
            return found

        awaited = f"catalog to call {product_id} {availability}"
        return await self._stage.until(ask, lambda product: bool(product["availability"] == availability), awaited)

    async def payment(self, order_id: str) -> Answer:
        found: Answer = (await self._person.get(f"/v1/orders/{order_id}/payment"))["payment"]
        return found

    async def shipment(self, order_id: str) -> Answer:
        found: Answer = (await self._person.get(f"/v1/orders/{order_id}/shipment"))["shipment"]
        return found

    async def invoice(self, order_id: str, kind: str) -> Answer:
        """Return an order's invoice or credit note once there is one."""

        async def ask() -> list[Answer]:
            listed = await self._person.get("/v1/invoices", orderId=order_id)
            return [each for each in listed["invoices"] if each["kind"] == kind]

        return (await self._stage.until(ask, bool, f"{kind} of order {order_id}"))[0]

    async def printed(self, invoice_number: str) -> bytes:
        """Return an invoice as a PDF."""
        return await self._person.download(f"/v1/invoices/{invoice_number}:download")

    async def _order(self, order_id: str) -> Answer:
        order: Answer = (await self._person.get(f"/v1/orders/{order_id}"))["order"]
        return order

    def _did(self, kind: str, **what: str) -> Answer:
        now = datetime.now(UTC).isoformat()
        return {"eventId": str(uuid4()), "kind": kind, "visitorId": self._user_id, "time": now, **what}

    async def _record(self, events: Sequence[Answer]) -> None:
        """Tell analytics what was done, until it had room for all of it: repeats count once."""
        body = {"events": list(events)}
        await self._stage.until(
            lambda: self._person.post("/v1/behaviour:record", body),
            lambda answer: not answer["dropped"],
            "analytics to have room",
        )
        self.recorded += len(events)
