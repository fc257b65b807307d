"""Shoppers: they buy, ask again when an answer is lost, change their minds, and remember every word they were told."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from random import Random
from typing import Any, Final

import aiohttp

from scripts.lib.chaos.cart import Cart
from scripts.lib.chaos.evidence import Request
from scripts.lib.chaos.follow_ups import in_nanos
from scripts.lib.chaos.mesh import ChaosFailed
from scripts.lib.chaos.shop import NO_ANSWER, Reply, Shop
from scripts.lib.chaos.told import Shelf, Told

__all__ = ["Shopper", "register"]

METHODS: Final = {
    "pm_test_accepted": 30,
    "pm_test_declined": 3,
    "pm_test_slow": 3,
    "pm_test_answer_lost": 3,
    "pm_test_down": 1,
}
"""What they pay with, and how often."""
THINK_S: Final = (0.0, 0.4)
PATIENCE_S: Final = 7.0
"""A little more than the contract gives an order."""
IMPATIENCE_S: Final = (0.05, 1.5)
"""Of a client that hangs up early, and asks again."""
ASK_AGAIN_S: Final = (0.1, 1.0)
DESTINATION: Final = {
    "recipient": "Anna Berg",
    "streetLines": ["Hauptstrasse 1"],
    "postalCode": "10115",
    "city": "Berlin",
}
COUNTRIES: Final = ("DE", "DE", "AT", "FI", "CH")
"""Where to: as they tax and as the carrier charges, they differ."""
BY_CART: Final = 0.4
"""Share of visits that end at the cart's check-out; the others place an order outright."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """What a request for an order sends, each time it is sent."""

    path: str
    body: Mapping[str, Any]


class Shopper:
    """One person with one account. *chance* decides what they do."""

    def __init__(self, name: str, user_id: str, shop: Shop, shelf: Shelf, told: Told, chance: Random) -> None:
        self.user_id = user_id
        self._name = name
        self._shop = shop
        self._shelf = shelf
        self._told = told
        self._chance = chance
        self._count = 0
        self._asks: dict[str, Ask] = {}
        self._refused: set[str] = set()
        self._open_orders: set[str] = set()
        self._open_cancels: dict[str, str] = {}
        self._watches: set[asyncio.Task[None]] = set()
        self._cart = Cart(user_id, name, shop, shelf, told, patience_s=PATIENCE_S)

    @property
    def has_open_questions(self) -> bool:
        return bool(self._open_orders or self._open_cancels or self._cart.has_open_questions)

    async def shop(self, until: asyncio.Event) -> None:
        """Go on buying until *until* is set."""
        while not until.is_set():
            await self._visit()
            await asyncio.sleep(self._chance.uniform(*THINK_S))

    async def leave(self) -> None:
        for watch in self._watches:
            watch.cancel()
        await asyncio.gather(*self._watches, return_exceptions=True)

    async def settle(self) -> None:
        """Ask again, once for each, whatever has had no definite answer."""
        await self._cart.settle()
        for key in sorted(self._open_orders):
            await self._place(key, PATIENCE_S)
        for key, order_id in list(self._open_cancels.items()):
            await self._cancel(key, order_id)

    async def repeat_everything(self) -> None:
        """Send every request a last time whose order was certain: each has had its answer, and gets it again."""
        for key in self._asks:
            if key not in self._refused:
                await self._place(key, PATIENCE_S)

    async def _visit(self) -> None:
        self._count += 1
        key = f"{self._name}-{self._count}"
        keys = [key] * (2 if self._chance.random() < 0.1 else 1)  # noqa: PLR2004  # a double click
        if self._chance.random() < BY_CART:
            if (found := await self._from_cart()) is None:
                return
            if self._chance.random() < 0.15:  # noqa: PLR2004  # in another window, at the same moment
                keys.append(f"{key}-too")
        else:
            found = self._outright()
        ask, request = found
        for each in keys:
            self._asks[each] = ask
            self._told.requests[each] = request
        self._open_orders.update(keys)
        impatient = self._chance.random() < 0.15  # noqa: PLR2004
        patience_s = self._chance.uniform(*IMPATIENCE_S) if impatient else PATIENCE_S
        reply, *_ = await asyncio.gather(*(self._place(each, patience_s) for each in keys))
        if not reply.is_definite:
            if self._chance.random() < 0.7:  # noqa: PLR2004  # the others ask when all is over
                await asyncio.sleep(self._chance.uniform(*ASK_AGAIN_S))
                reply = await self._place(key, PATIENCE_S)
        elif self._chance.random() < 0.15:  # noqa: PLR2004
            await self._place(key, PATIENCE_S)
        order_id = str(reply.order.get("orderId", ""))
        if order_id:
            await self._look_after(order_id)

    async def _look_after(self, order_id: str) -> None:
        choice = self._chance.random()
        if choice < 0.2:  # noqa: PLR2004
            key = f"{self._name}-cancel-{order_id}"
            await asyncio.sleep(self._chance.choice((0.0, 0.5, 2.0)))
            self._open_cancels[key] = order_id
            await self._cancel(key, order_id)
        elif choice < 0.5:  # noqa: PLR2004
            self._watches.add(watch := asyncio.create_task(self._watch(order_id)))
            watch.add_done_callback(self._watches.discard)
        elif choice < 0.7:  # noqa: PLR2004
            await self._look(f"/v1/orders/{order_id}", "get")
        elif choice < 0.8:  # noqa: PLR2004
            await self._look("/v1/orders?pageSize=10", "list")

    def _outright(self) -> tuple[Ask, Request]:
        """Choose what to order by itself."""
        lines, ids = self._wish(), self._shelf.product_ids()
        body = {"lines": [{"productId": ids[sku], "quantity": units} for sku, units in lines.items()], **self._terms()}
        request = Request(user_id=self.user_id, payment_method=body["paymentMethod"], lines=lines)
        return Ask(path="/v1/orders", body=body), request

    async def _from_cart(self) -> tuple[Ask, Request] | None:
        """Put something into the cart, and choose to buy what is then in it; None where that can't be seen."""
        for sku, units in self._wish().items():
            await self._cart.put(sku, units)
        terms = self._terms()
        quote = await self._cart.seen(terms["destination"]["countryCode"])
        if quote is None:
            return None
        lines = [
            {name: line[name] for name in ("productId", "quantity", "unitPrice")} for line in quote["cart"]["lines"]
        ]
        request = Request(
            user_id=self.user_id,
            payment_method=terms["paymentMethod"],
            lines={line["sku"]: int(line["quantity"]) for line in quote["cart"]["lines"]},
            is_from_cart=True,
            total=in_nanos(quote["total"]),
        )
        body = {"expectedLines": lines, "expectedTotal": quote["total"], **terms}
        return Ask(path="/v1/cart:checkOut", body=body), request

    def _wish(self) -> Mapping[str, int]:
        """Choose SKUs, and how many of each."""
        skus = self._chance.sample(sorted(self._shelf.plenty), self._chance.choice((1, 1, 2, 3)))
        if self._shelf.scarce and self._chance.random() < 0.2:  # noqa: PLR2004
            skus = [*skus, self._chance.choice(sorted(self._shelf.scarce))]
        return {sku: self._chance.randint(1, 3) for sku in skus}

    def _terms(self) -> dict[str, Any]:
        """Choose how to pay, and where to send it."""
        (method,) = self._chance.choices(list(METHODS), weights=list(METHODS.values()))
        return {
            "paymentMethod": method,
            "destination": DESTINATION | {"countryCode": self._chance.choice(COUNTRIES)},
        }

    async def _place(self, key: str, patience_s: float) -> Reply:
        asked_s, ask = self._told.now_s(), self._asks[key]
        reply = await self._shop.call("POST", ask.path, ask.body, key=key, patience_s=patience_s)
        self._told.statuses["check out" if self._told.requests[key].is_from_cart else "place", reply.status] += 1
        if reply.is_definite:
            self._open_orders.discard(key)
        if reply.is_definite or reply.order:
            refusal = {} if reply.is_ok else {"reason": reply.reason or f"HTTP_{reply.status}"}
            self._told.tell("place", self.user_id, reply.order, asked_s, key=key, **refusal)
            (self._refused.discard if reply.is_ok else self._refused.add)(key)
        return reply

    async def _cancel(self, key: str, order_id: str) -> None:
        self._told.cancels.add(order_id)
        asked_s = self._told.now_s()
        reply = await self._shop.call("POST", f"/v1/orders/{order_id}:cancel", {}, key=key, patience_s=PATIENCE_S)
        self._told.statuses["cancel", reply.status] += 1
        if reply.is_definite:
            self._open_cancels.pop(key, None)
        if reply.is_ok:  # what is refused here is the cancellation, not the order
            self._told.tell("cancel", self.user_id, reply.order, asked_s)

    async def _look(self, path: str, call: str) -> None:
        asked_s = self._told.now_s()
        reply = await self._shop.call("GET", path, patience_s=PATIENCE_S)
        self._told.statuses[call, reply.status] += 1
        if reply.is_ok:
            for order in [reply.order] if call == "get" else reply.body.get("orders", ()):
                self._told.tell(call, self.user_id, order, asked_s)

    async def _watch(self, order_id: str) -> None:
        self._told.streams += 1
        stream, status, asked_s = self._told.streams, NO_ANSWER, self._told.now_s()
        async for line in self._shop.lines(f"/v1/orders/{order_id}:watch", patience_s=60):
            if "order" in line:
                status = 200
                self._told.tell("watch", self.user_id, line["order"], asked_s, stream=stream)
        self._told.statuses["watch", status] += 1


async def register(session: aiohttp.ClientSession, name: str) -> tuple[str, Shop]:
    """Make an account and log in; return the user's id and their shop. Raises ChaosFailed."""
    email, password = f"{name}@example.com", "correct horse"
    person = {"email": email, "password": password, "firstName": "Anna", "lastName": "Berg"}
    reply, shop = await Shop(session).call("POST", "/v1/users", person), Shop(session, email, password)
    if not reply.is_ok or not (await shop.log_in()).is_ok:
        raise ChaosFailed(f"{name} got no account: {reply.status} {reply.reason}")
    return str(reply.body["user"]["userId"]), shop
