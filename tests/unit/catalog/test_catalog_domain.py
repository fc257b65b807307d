from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.catalog.domain import (
    NANOS,
    Amount,
    CurrencyNotSupported,
    InvalidFields,
    Listing,
    Money,
    OrderKey,
    Product,
    require_currency,
)

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
MUG = Product(
    product_id=UUID(int=7),
    sku="MUG-BLUE",
    name="Mug, blue",
    category="kitchen",
    price=Money("EUR", Amount(14, 500_000_000)),
    create_time=NOW,
    update_time=NOW,
)
AMOUNTS = st.decimals(min_value=0, max_value=10**10 - 1, places=9)


@given(AMOUNTS, AMOUNTS)
def test_amounts_are_read_exactly_and_compare_as_the_numbers_they_are(one: Decimal, other: Decimal) -> None:
    first, second = Amount.parse(f"{one:f}"), Amount.parse(f"{other:f}")

    assert Decimal(first.units) + Decimal(first.nanos) / NANOS == one
    assert (first < second) == (one < other)


@pytest.mark.parametrize(
    ("text", "amount"),
    [("10", (10, 0)), ("10.5", (10, 500_000_000)), ("0.000000001", (0, 1)), ("0000000007.01", (7, 10_000_000))],
)
def test_an_amount_is_a_decimal_of_up_to_nine_places(text: str, amount: tuple[int, int]) -> None:
    assert Amount.parse(text) == amount


@pytest.mark.parametrize("text", ["", "ten", "1.0000000001", "1,5"])
def test_what_is_no_amount_is_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  # any will do
        Amount.parse(text)


def test_prices_are_in_one_currency() -> None:
    require_currency(MUG.price, "EUR")

    with pytest.raises(CurrencyNotSupported) as refused:
        require_currency(MUG.price._replace(currency="USD"), "EUR")

    assert refused.value.reason == "CURRENCY_NOT_SUPPORTED"
    assert refused.value.metadata == {"supported": "EUR"}


def test_a_change_touches_what_it_names_and_the_time() -> None:
    later = NOW + timedelta(hours=1)

    assert MUG.change({"name": "Mug"}, now=later) == replace(MUG, name="Mug", update_time=later)
    assert MUG.change({"tags": ()}, now=later).tags == ()


def test_a_product_keeps_a_name_a_category_and_a_price() -> None:
    with pytest.raises(InvalidFields) as refused:
        MUG.change({"name": "", "category": "", "price": None, "description": ""}, now=NOW)

    fields = [violation.field for violation in refused.value.violations]
    assert fields == ["product.name", "product.category", "product.price"]


def test_a_free_product_has_a_price() -> None:
    assert MUG.change({"price": Money("EUR", Amount(0, 0))}, now=NOW).price.amount == (0, 0)


def test_names_are_ordered_without_regard_to_case() -> None:
    names = ["zebra", "Äpfel", "apple", "Banana", "STRASSE", "straße"]

    assert sorted(names, key=lambda name: replace(MUG, name=name).sort_name)[:3] == ["apple", "Banana", "STRASSE"]


@pytest.mark.parametrize(
    ("order_by", "key", "descending"),
    [
        ("", OrderKey.CREATE_TIME, True),
        ("name", OrderKey.NAME, False),
        ("name asc", OrderKey.NAME, False),
        ("price desc", OrderKey.PRICE, True),
        ("create_time", OrderKey.CREATE_TIME, False),
    ],
)
def test_an_order_is_a_key_and_perhaps_a_direction(order_by: str, key: OrderKey, descending: bool) -> None:
    listing = Listing.parse(category="", min_price="", max_price="", query="", order_by=order_by)

    assert listing == Listing(order_key=key, descending=descending)


FILTERS = st.fixed_dictionaries(
    {
        "category": st.sampled_from(["", "kitchen", "home"]),
        "min_price": st.sampled_from(["", "0", "1", "1.5"]),
        "max_price": st.sampled_from(["", "1", "1.5"]),
        "query": st.sampled_from(["", "mug", 'mug", null, "']),
        "order_by": st.sampled_from(["", "name", "name desc", "price"]),
    }
)


@given(FILTERS, FILTERS)
def test_listings_have_equal_fingerprints_exactly_when_they_are_equal(
    one: dict[str, str], other: dict[str, str]
) -> None:
    first, second = Listing.parse(**one), Listing.parse(**other)

    assert (first.fingerprint == second.fingerprint) == (first == second)


def test_a_filter_of_nothing_and_no_filter_differ() -> None:
    free = Listing.parse(category="", min_price="", max_price="0", query="", order_by="")

    assert free.max_price == Amount(0, 0)
    assert free.fingerprint != Listing().fingerprint
