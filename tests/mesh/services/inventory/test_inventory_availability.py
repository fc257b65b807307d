"""What others are told, and may ask, of how much is left."""

from __future__ import annotations

import asyncio
import random
from itertools import pairwise
from typing import TYPE_CHECKING
from uuid import uuid4

from shop.inventory.v1 import inventory_pb2 as pb

from tests.mesh.services.calls import Calls, outcome, refusal
from weft.testing import STRANGER

if TYPE_CHECKING:
    from tests.mesh.services.inventory.parts import Inventory


async def test_each_change_of_the_word_is_told_once_with_a_greater_revision(inventory: Inventory) -> None:
    await inventory.given("MUG", 10, threshold=3)

    first = await inventory.reserved(MUG=6)
    second = await inventory.reserved(MUG=2)
    await inventory.reserved(MUG=2)
    await inventory.release(first)
    await inventory.commit(second)

    assert await inventory.told("MUG") == [("PLENTY", 1), ("LOW", 2), ("OUT", 3), ("PLENTY", 4)]
    assert await inventory.listed() == {"MUG": ("PLENTY", 4)}


async def test_what_does_not_change_the_word_is_not_told(inventory: Inventory) -> None:
    await inventory.given("MUG", 10, threshold=3)

    await inventory.release(await inventory.reserved(MUG=2))
    await inventory.adjust("MUG", 5)
    await inventory.adjust("MUG", 0, low_stock_threshold=14)

    assert await inventory.told("MUG") == [("PLENTY", 1)]
    await inventory.adjust("MUG", 0, low_stock_threshold=15)
    assert await inventory.told("MUG") == [("PLENTY", 1), ("LOW", 2)]


async def test_a_sku_of_which_there_is_nothing_is_told_as_out(inventory: Inventory) -> None:
    await inventory.given("MUG", 0)

    assert await inventory.told("MUG") == [("OUT", 1)]


async def test_a_reservation_that_fails_tells_nothing(inventory: Inventory) -> None:
    await inventory.given("MUG", 2)
    await inventory.given("POT", 1)

    error = await refusal(inventory.reserve(str(uuid4()), MUG=2, POT=2))

    assert error.reason == "INSUFFICIENT_STOCK"
    assert await inventory.told("MUG") == [("PLENTY", 1)]
    assert await inventory.listed() == {"MUG": ("PLENTY", 1), "POT": ("PLENTY", 1)}


async def test_however_orders_meet_what_was_told_last_is_what_is_true(inventory: Inventory) -> None:
    dice = random.Random(7)
    skus = ("MUG", "POT", "PEN")
    for sku in skus:
        await inventory.given(sku, 6, threshold=3)

    async def shopper() -> None:
        order_id = str(uuid4())
        lines = {sku: dice.randint(1, 3) for sku in dice.sample(skus, 2)}
        if not isinstance(await outcome(inventory.reserve(order_id, **lines)), str) and dice.random() < 0.7:
            await outcome(inventory.orders.ReleaseStock(pb.ReleaseStockRequest(order_id=order_id)))

    for _ in range(4):
        await asyncio.gather(*(shopper() for _ in range(8)))

    for sku, (word, revision) in (await inventory.listed()).items():
        told = await inventory.told(sku)
        assert [number for _, number in told] == list(range(1, revision + 1))
        assert all(one[0] != other[0] for one, other in pairwise(told))
        on_hand = (await inventory.units(sku))[0]
        assert told[-1][0] == word == ("OUT" if not on_hand else "LOW" if on_hand <= 3 else "PLENTY")


async def test_pages_show_every_sku_once(inventory: Inventory) -> None:
    skus = sorted(f"{letter}-{number}" for letter in "AZ" for number in range(5))
    for sku in skus:
        await inventory.given(sku, 1)

    assert list(await inventory.listed(page_size=3)) == skus
    assert list(await inventory.listed()) == skus


async def test_availability_is_for_catalog(inventory: Inventory) -> None:
    stub = inventory._stub
    stranger = Calls(stub, inventory.server.service_token(STRANGER))
    request = pb.ListAvailabilityRequest()

    assert (await refusal(stranger.ListAvailability(request))).reason == "CALLER_NOT_ALLOWED"
    assert (await refusal(inventory.admin.ListAvailability(request))).code == "UNAUTHENTICATED"
