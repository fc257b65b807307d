"""Fills the shelves before the shoppers come."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

import aiohttp

from scripts.lib.chaos.mesh import ChaosFailed, Mesh
from scripts.lib.chaos.shop import Reply, Shop
from scripts.lib.chaos.told import Shelf
from services.local import ADMIN_EMAIL, FIRST_DELIVERY, PRODUCTS

__all__ = ["administrator", "fill", "shown"]

PLENTY: Final = {f"CHAOS-PLENTY-{number}": 100_000 for number in range(1, 7)}
SCARCE: Final = {"CHAOS-SCARCE-1": 10, "CHAOS-SCARCE-2": 25, "CHAOS-SCARCE-3": 40}
"""SKU -> units put in."""
PRICES: Final = ("3.99", "14.50", "119.00")
CATEGORIES: Final = ("books", "chaos", "food", "games")
"""Of which two are taxed at rates of their own."""
FEW: Final = 5
ASKED: Final = 4
"""How often the catalog is asked for a product: each replica has answers of its own."""
PAGE: Final = 100


async def administrator(session: aiohttp.ClientSession, mesh: Mesh) -> Shop:
    """Log in as the one whom `weft up` made. Raises ChaosFailed."""
    password = (mesh.state.path / "keys" / "admin-password").read_text().strip()
    admin = Shop(session, ADMIN_EMAIL, password)
    _accepted(await admin.log_in(), "the administrator's login")
    return admin


async def fill(admin: Shop) -> tuple[Shelf, dict[str, int]]:
    """Put our own products on sale; return what may be bought, and SKU -> units of all there is. Raises ChaosFailed."""
    ours = PLENTY | SCARCE
    async with asyncio.TaskGroup() as group:
        tasks = {sku: group.create_task(_offer(admin, sku, count)) for sku, count in ours.items()}
    ids = {sku: task.result() for sku, task in tasks.items()}
    shelf = Shelf(plenty={sku: ids[sku] for sku in PLENTY}, scarce={sku: ids[sku] for sku in SCARCE})
    return shelf, {product["sku"]: FIRST_DELIVERY for product in PRODUCTS} | ours


async def shown(shop: Shop) -> Mapping[str, frozenset[str]]:
    """Return SKU -> every word that the catalog has for how much there is of it. Raises ChaosFailed."""
    reply = _accepted(await shop.call("GET", f"/v1/products?pageSize={PAGE}"), "asking for all products")
    words: dict[str, set[str]] = {}
    for product in reply.body["products"]:
        words[product["sku"]] = {_word(product)}
        for _ in range(ASKED):
            path = f"/v1/products/{product['productId']}"
            again = _accepted(await shop.call("GET", path), f"asking for {product['sku']}")
            words[product["sku"]].add(_word(again.body["product"]))
    return {sku: frozenset(each) for sku, each in words.items()}


def _word(product: Mapping[str, Any]) -> str:
    return str(product.get("availability", "UNSPECIFIED")).removeprefix("AVAILABILITY_")


async def _offer(admin: Shop, sku: str, count: int) -> str:
    reply = await admin.call("POST", "/v1/products", {"product": _product(sku)}, key=f"offer-{sku}")
    product_id = str(_accepted(reply, f"the product {sku}").body["product"]["productId"])
    delivery = {"delta": count, "reason": "for chaos", "lowStockThreshold": FEW}
    reply = await admin.call("POST", f"/v1/stock/{sku}:adjust", delivery, key=f"deliver-{sku}")
    _accepted(reply, f"the stock of {sku}")
    return product_id


def _product(sku: str) -> Mapping[str, object]:
    units, _, cents = PRICES[sum(map(ord, sku)) % len(PRICES)].partition(".")
    price = {"currencyCode": "EUR", "units": units, "nanos": int(cents) * 10_000_000}
    return {
        "sku": sku,
        "name": sku.title(),
        "description": "To be bought in a storm.",
        "category": CATEGORIES[sum(map(ord, sku)) % len(CATEGORIES)],
        "price": price,
    }


def _accepted(reply: Reply, what: str) -> Reply:
    if reply.status != HTTPStatus.OK:
        raise ChaosFailed(f"{what} was not accepted: {reply.status} {reply.reason or reply.body}")
    return reply
