"""Carts, what they hold, and what is another now than it was seen."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.orders.cart import MOST_PRODUCTS, MOST_UNITS, Cart, Seen, differences, price
from services.orders.money import Money
from services.orders.pricing import Offer, Wanted
from services.orders.refusals import CartFull

MUG, POT, PEN = UUID(int=1), UUID(int=2), UUID(int=3)
PRICE = Money("EUR", 10, 0)
TOTAL = Money("EUR", 34, 900_000_000)
NOW = datetime(2026, 3, 1, tzinfo=UTC)


def offer(sku: str, *, unit_price: Money = PRICE, is_sold_out: bool = False) -> Offer:
    return Offer(sku=sku, name=sku.title(), unit_price=unit_price, category="kitchen", is_sold_out=is_sold_out)


OFFERS = {MUG: offer("MUG"), POT: offer("POT")}


def cart(**quantities: int) -> Cart:
    """Return a cart of mugs, pots and pens, by name."""
    ids = {"mug": MUG, "pot": POT, "pen": PEN}
    return Cart(items=tuple(Wanted(product_id=ids[name], quantity=each) for name, each in quantities.items()))


SEEN = cart(mug=2, pot=1)


def changed(now: Cart = SEEN, offers: dict[UUID, Offer] | None = None, total: Money | None = TOTAL) -> list[str]:
    """Return what is another now for somebody who saw two mugs and a pot, ten euros each."""
    seen = Seen(unit_prices=(PRICE, PRICE), total=TOTAL)
    found = differences(SEEN.items, seen, now, OFFERS if offers is None else offers, total)
    return [f"{violation.field} {violation.description}" for violation in found]


def test_what_is_put_in_again_keeps_its_place_and_what_is_new_comes_last() -> None:
    held = cart(mug=1, pot=2).with_quantity(MUG, 5).with_quantity(PEN, 1)

    assert held == cart(mug=5, pot=2, pen=1)
    assert held.with_quantity(MUG, 0).with_quantity(MUG, 1) == cart(pot=2, pen=1, mug=1)


def test_taking_out_what_is_not_in_changes_nothing() -> None:
    assert cart(mug=1).with_quantity(POT, 0) == cart(mug=1)


def test_a_cart_holds_so_many_of_a_product_and_no_more() -> None:
    assert cart(mug=1).with_quantity(MUG, MOST_UNITS).quantity_of(MUG) == MOST_UNITS

    with pytest.raises(CartFull) as refused:
        cart(mug=1).with_quantity(MUG, MOST_UNITS + 1)

    assert (refused.value.code, refused.value.reason) == ("FAILED_PRECONDITION", "CART_FULL")
    assert refused.value.metadata == {"limit": "999"}


def test_a_cart_holds_so_many_products_and_no_more() -> None:
    full = Cart(items=tuple(Wanted(product_id=UUID(int=n), quantity=1) for n in range(MOST_PRODUCTS)))

    with pytest.raises(CartFull):
        full.with_quantity(UUID(int=MOST_PRODUCTS), 1)

    assert full.with_quantity(UUID(int=7), 3).quantity_of(UUID(int=7)) == 3
    assert len(full.with_quantity(UUID(int=7), 0).with_quantity(UUID(int=MOST_PRODUCTS), 1).items) == MOST_PRODUCTS


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, MOST_UNITS)), max_size=30))
def test_a_cart_holds_what_was_last_said_of_each_product(said: list[tuple[int, int]]) -> None:
    held = Cart()
    for number, quantity in said:
        held = held.with_quantity(UUID(int=number), quantity)

    last = {UUID(int=number): quantity for number, quantity in said}
    assert {item.product_id: item.quantity for item in held.items} == {id_: n for id_, n in last.items() if n}


def test_a_cart_is_shown_at_the_prices_of_now_and_without_what_is_off_sale() -> None:
    offers = {MUG: offer("MUG", unit_price=Money("EUR", 11, 500_000_000)), POT: offer("POT", is_sold_out=True)}

    shown = price(cart(pen=3, mug=2, pot=1), offers)

    assert [(line.sku, line.quantity, str(line.total)) for line in shown.lines] == [
        ("MUG", 2, "23.00 EUR"),
        ("POT", 1, "10.00 EUR"),
    ]
    assert (str(shown.subtotal), shown.unavailable, shown.sold_out) == ("33.00 EUR", (PEN,), (POT,))


def test_an_empty_cart_has_no_sum() -> None:
    assert price(Cart(), OFFERS).subtotal is None
    assert price(cart(pen=1), OFFERS).subtotal is None


def test_a_cart_in_two_currencies_is_shown_without_a_sum() -> None:
    shown = price(cart(mug=1, pot=1), {MUG: offer("MUG"), POT: offer("POT", unit_price=Money("USD", 1, 0))})

    assert (len(shown.lines), shown.subtotal) == (2, None)


def test_what_is_as_it_was_seen_has_no_differences() -> None:
    assert changed() == []
    assert changed(cart(pot=1, mug=2)) == []  # in whichever order


def test_every_difference_is_named() -> None:
    offers = {
        MUG: offer("MUG", unit_price=Money("EUR", 12, 500_000_000)),
        POT: offer("POT", is_sold_out=True),
        PEN: offer("PEN"),
    }

    assert changed(cart(pen=1, mug=3, pot=1), offers, Money("EUR", 39, 900_000_000)) == [
        "expectedLines[0].quantity is 3 in the cart",
        "expectedLines[0].unitPrice is 12.50 EUR now",
        "expectedLines[1].quantity is more than there is: it is sold out",
        f"expectedLines lacks product {PEN}, which is in the cart",
        "expectedTotal is 39.90 EUR now",
    ]


def test_what_was_taken_out_or_went_off_sale_is_named() -> None:
    assert changed(cart(pot=1), OFFERS, None) == ["expectedLines[0].productId is not in the cart"]
    assert changed(SEEN, {POT: OFFERS[POT]}, None) == ["expectedLines[0].productId is off sale"]


def test_what_is_off_sale_and_was_not_seen_is_no_difference() -> None:
    assert changed(cart(mug=2, pot=1, pen=1)) == []


def test_a_price_in_another_currency_is_another_price() -> None:
    offers = {MUG: offer("MUG", unit_price=Money("USD", 10, 0)), POT: OFFERS[POT]}

    assert changed(offers=offers, total=None) == ["expectedLines[0].unitPrice is 10.00 USD now"]


def test_only_what_is_to_be_paid_may_differ() -> None:
    assert changed(total=Money("EUR", 35, 0)) == ["expectedTotal is 35.00 EUR now"]
