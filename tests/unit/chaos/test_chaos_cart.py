"""A shopper remembers what is in their cart, whatever answers are lost on the way."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import aiohttp
import pytest

from scripts.lib.chaos.cart import Cart
from scripts.lib.chaos.shop import NO_ANSWER, Reply, Shop
from scripts.lib.chaos.told import Shelf, Told

OK = Reply(status=200, body={})
LOST = Reply(status=NO_ANSWER, body={})
FULL = Reply(status=400, body={})
EURO = {"currencyCode": "EUR", "units": "1"}


class Scripted(Shop):
    """Answers as it was told to, and keeps what it was asked."""

    def __init__(self, session: aiohttp.ClientSession, *replies: Reply) -> None:
        super().__init__(session)
        self.asked: list[tuple[str, str, str]] = []
        self._replies = list(replies)

    async def call(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, *, key: str = "", patience_s: float = 8.0
    ) -> Reply:
        self.asked.append((method, path, key))
        return self._replies.pop(0)


@pytest.fixture
def told() -> Told:
    return Told()


async def cart_of(told: Told, *replies: Reply) -> tuple[Cart, Scripted]:
    async with aiohttp.ClientSession() as session:
        shop = Scripted(session, *replies)
    shelf = Shelf(plenty={"MUG": "id-mug"}, scarce={"PEN": "id-pen"})
    return Cart("anna", "shopper-1", shop, shelf, told, patience_s=1.0), shop


async def test_what_was_put_in_is_counted_once_however_often_it_was_asked_for(told: Told) -> None:
    cart, shop = await cart_of(told, LOST, LOST, OK)

    await cart.put("MUG", 2)
    await cart.settle()
    assert cart.has_open_questions
    assert not told.added
    await cart.settle()

    assert not cart.has_open_questions
    assert told.added == {("anna", "MUG"): 2}
    assert {key for _, _, key in shop.asked} == {"shopper-1-put-1"}


async def test_what_was_refused_is_not_in_the_cart_and_not_asked_for_again(told: Told) -> None:
    cart, _ = await cart_of(told, FULL)

    await cart.put("MUG", 2)

    assert not cart.has_open_questions
    assert not told.added


async def test_a_quote_is_remembered_with_its_sums(told: Told) -> None:
    tax = {"ratePercent": "19", "gross": {"units": "2"}, "tax": {"nanos": 320_000_000}}
    quote = {"cart": {"subtotal": EURO, "lines": []}, "shipping": EURO, "total": {"units": "2"}, "taxes": [tax]}
    cart, _ = await cart_of(told, Reply(status=200, body=quote))

    assert await cart.seen("DE") == quote

    (noted,) = told.quotes
    assert (noted.goods, noted.shipping, noted.total) == (10**9, 10**9, 2 * 10**9)
    assert [(each.rate_percent, each.gross, each.tax) for each in noted.taxes] == [("19", 2 * 10**9, 320_000_000)]


async def test_what_is_sold_out_is_taken_out_and_nothing_is_bought_this_time(told: Told) -> None:
    sold_out = {"subtotal": EURO, "lines": [], "soldOutProductIds": ["id-pen"]}
    quote = {"cart": sold_out, "shipping": EURO, "total": {"units": "2"}, "taxes": []}
    cart, shop = await cart_of(told, Reply(status=200, body=quote), LOST)

    assert await cart.seen("DE") is None

    assert shop.asked[-1][:2] == ("DELETE", "/v1/cart/items/id-pen")
    assert told.removed == {("anna", "PEN")}
