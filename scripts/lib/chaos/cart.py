"""A shopper's cart: filled, looked at, and remembered unit by unit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from scripts.lib.chaos.follow_ups import in_nanos, taxes
from scripts.lib.chaos.records import Quote
from scripts.lib.chaos.shop import Shop
from scripts.lib.chaos.told import Shelf, Told

__all__ = ["Cart"]


class Cart:
    """One shopper's. What is put in is only ever added, so that nothing depends on what came first.

    Args:
        user_id: whose.
        name: begins their idempotency keys.
        patience_s: longest wait for an answer.
    """

    def __init__(self, user_id: str, name: str, shop: Shop, shelf: Shelf, told: Told, *, patience_s: float) -> None:
        self._user_id, self._name = user_id, name
        self._shop, self._shelf, self._told = shop, shelf, told
        self._patience_s = patience_s
        self._count = 0
        self._open: dict[str, tuple[str, int]] = {}

    @property
    def has_open_questions(self) -> bool:
        return bool(self._open)

    async def put(self, sku: str, units: int) -> None:
        """Put in *units* more of a product. Without a definite answer, it is asked again in `settle`."""
        self._count += 1
        key = f"{self._name}-put-{self._count}"
        self._open[key] = (sku, units)
        await self._ask(key)

    async def settle(self) -> None:
        """Ask again, once for each, what has had no definite answer."""
        for key in list(self._open):
            await self._ask(key)

    async def seen(self, country_code: str) -> Mapping[str, Any] | None:
        """Return the quote for what is in the cart, or None where there is none; what is sold out is taken out."""
        body = {"destination": {"countryCode": country_code}}
        reply = await self._shop.call("POST", "/v1/cart:quote", body, patience_s=self._patience_s)
        self._told.statuses["quote", reply.status] += 1
        if not reply.is_ok:
            return None
        self._note(reply.body)
        sold_out = reply.body["cart"].get("soldOutProductIds", ())
        for product_id in sold_out:
            await self._remove(product_id)
        return None if sold_out else reply.body

    async def _ask(self, key: str) -> None:
        sku, units = self._open[key]
        body = {"productId": self._shelf.product_ids()[sku], "quantity": units}
        reply = await self._shop.call("POST", "/v1/cart/items", body, key=key, patience_s=self._patience_s)
        self._told.statuses["put", reply.status] += 1
        if reply.is_ok:
            self._told.added[self._user_id, sku] += units
        if reply.is_definite:
            self._open.pop(key, None)

    async def _remove(self, product_id: str) -> None:
        """Take a product out, if that succeeds; nobody asks again."""
        self._told.removed.add((self._user_id, self._shelf.skus()[product_id]))
        reply = await self._shop.call("DELETE", f"/v1/cart/items/{product_id}", patience_s=self._patience_s)
        self._told.statuses["remove", reply.status] += 1

    def _note(self, quote: Mapping[str, Any]) -> None:
        self._told.quotes.append(
            Quote(
                user_id=self._user_id,
                number=len(self._told.quotes) + 1,
                goods=in_nanos(quote["cart"]["subtotal"]),
                shipping=in_nanos(quote["shipping"]),
                total=in_nanos(quote["total"]),
                taxes=taxes(quote["taxes"]),
            )
        )
