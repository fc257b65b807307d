"""What an order comes to: exact sums, and taxes that are parts of them."""

from __future__ import annotations

from fractions import Fraction
from uuid import UUID

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from services.orders import taxes as rule
from services.orders.money import NANOS, Money
from services.orders.pricing import Offer, Terms, Wanted, priced, require_distinct, sum_of, terms
from services.orders.refusals import CurrenciesDiffer, DuplicateProducts, ProductNotFound
from services.orders.taxes import Taxed, taxes

MUG, POT, PEN = UUID(int=1), UUID(int=2), UUID(int=3)
OFFERS = {
    MUG: Offer(sku="MUG-BLUE", name="Mug, blue", unit_price=Money("EUR", 14, 990_000_000), category="kitchen"),
    POT: Offer(sku="TEAPOT", name="Teapot", unit_price=Money("EUR", 49, 20_000_000), category="kitchen"),
}
FREE = Money("EUR", 0, 0)
CENT = 10_000_000
CATEGORIES = st.sampled_from(["kitchen", "books", "food", "tea", "no such category", ""])
COUNTRIES = st.sampled_from([*rule._RATES, "US", "CH", "XX", ""])
ANY_SUMS = st.builds(Money, st.just("EUR"), st.integers(0, 10**9), st.integers(0, NANOS - 1))
CENTS = st.integers(0, 10**11).map(lambda cents: Money.of_nanos("EUR", cents * CENT))
Bought = list[tuple[str, Money, int]]


def bought(sums: st.SearchStrategy[Money]) -> st.SearchStrategy[Bought]:
    return st.lists(st.tuples(CATEGORIES, sums, st.integers(1, 999)), min_size=1, max_size=100)


def wanted(product_id: UUID, quantity: int = 1) -> Wanted:
    return Wanted(product_id=product_id, quantity=quantity)


def amount(money: Money) -> Fraction:
    assert 0 <= money.nanos < NANOS
    return money.units + Fraction(money.nanos, NANOS)


def agreed(lines: Bought, shipping: Money, country_code: str) -> Terms:
    offers = {
        UUID(int=number): Offer(sku="A", name="A", unit_price=price, category=category)
        for number, (category, price, _) in enumerate(lines)
    }
    asked = [wanted(UUID(int=number), quantity) for number, (_, _, quantity) in enumerate(lines)]
    return terms(asked, offers, shipping, country_code)


def contained(country_code: str, *goods: tuple[str, str], shipping: str = "0", currency: str = "EUR") -> list[str]:
    """Return `rate: tax of gross` for each tax."""
    found = taxes([Taxed(category, euros(price, currency)) for category, price in goods],
                  euros(shipping, currency), country_code)  # fmt: skip
    return [f"{tax.rate_percent}: {tax.tax} of {tax.gross}" for tax in found]


def euros(price: str, currency: str = "EUR") -> Money:
    return Money.of_nanos(currency, int(Fraction(price) * NANOS))


@given(ANY_SUMS, ANY_SUMS)
def test_sums_are_exact(one: Money, other: Money) -> None:
    assert amount(one.plus(other)) == amount(one) + amount(other)


@given(ANY_SUMS, st.integers(0, 999))
def test_products_are_exact(price: Money, quantity: int) -> None:
    assert amount(price.times(quantity)) == amount(price) * quantity


@pytest.mark.parametrize(
    ("money", "written"),
    [
        (Money("EUR", 14, 500_000_000), "14.50 EUR"),
        (Money("EUR", 0, 0), "0.00 EUR"),
        (Money("EUR", 1, 5_000_000), "1.005 EUR"),
        (Money("EUR", 1, 1), "1.000000001 EUR"),
        (Money("JPY", 1200, 0), "1200 JPY"),
        (Money("JPY", 1200, 500_000_000), "1200.5 JPY"),
        (Money("KWD", 3, 20_000_000), "3.020 KWD"),
    ],
)
def test_a_sum_is_written_as_people_read_it(money: Money, written: str) -> None:
    assert str(money) == written


@given(lines=bought(ANY_SUMS), shipping=ANY_SUMS, country_code=COUNTRIES)
def test_the_total_is_the_sum_of_the_lines_and_of_shipping(lines: Bought, shipping: Money, country_code: str) -> None:
    order = agreed(lines, shipping, country_code)

    assert [amount(line.total) for line in order.lines] == [amount(price) * quantity for _, price, quantity in lines]
    assert amount(order.total) == sum(amount(line.total) for line in order.lines) + amount(shipping)
    assert order.total.units < 2**63


@given(lines=bought(ANY_SUMS), shipping=ANY_SUMS, country_code=COUNTRIES)
def test_the_gross_parts_of_all_rates_sum_to_the_total(lines: Bought, shipping: Money, country_code: str) -> None:
    order = agreed(lines, shipping, country_code)

    assert sum(amount(tax.gross) for tax in order.taxes) == amount(order.total)


@given(lines=bought(CENTS), shipping=CENTS, country_code=COUNTRIES)
def test_where_prices_are_whole_cents_each_rate_has_exactly_what_costs_at_it(
    lines: Bought, shipping: Money, country_code: str
) -> None:
    order = agreed(lines, shipping, country_code)

    rates = rule._RATES.get(country_code, rule._UNTAXED)
    exact: dict[int, Fraction] = {rates[rule.Goods.OTHER]: amount(shipping)}
    for category, price, quantity in lines:
        rate = rates[rule.GOODS.get(category, rule.Goods.OTHER)]
        exact[rate] = exact.get(rate, Fraction(0)) + amount(price) * quantity
    assert {Fraction(tax.rate_percent) * 100: amount(tax.gross) for tax in order.taxes} == {
        rate: gross for rate, gross in exact.items() if gross
    }


@given(lines=bought(ANY_SUMS), shipping=ANY_SUMS, country_code=COUNTRIES)
@example(lines=[("kitchen", Money("EUR", 0, 30_000_000), 1)], shipping=FREE, country_code="AT")  # half a cent
def test_a_tax_is_the_nearest_cent_halves_up_and_never_more_than_what_contains_it(
    lines: Bought, shipping: Money, country_code: str
) -> None:
    for tax in agreed(lines, shipping, country_code).taxes:
        rate, gross = Fraction(tax.rate_percent), amount(tax.gross)
        cents = gross * rate / (100 + rate) * 100

        assert amount(tax.tax) * 100 == (cents + Fraction(1, 2)) // 1
        assert amount(tax.tax) <= gross


@given(cents=st.integers(1, 10**6), parts=st.lists(st.tuples(CATEGORIES, ANY_SUMS), max_size=5), country=COUNTRIES)
def test_where_all_of_it_can_be_paid_so_can_each_part(cents: int, parts: list[tuple[str, Money]], country: str) -> None:
    so_far = sum(price.in_nanos for _, price in parts)
    rest = Money.of_nanos("EUR", -so_far % CENT + cents * CENT)

    for tax in taxes([Taxed(*part) for part in parts], rest, country):
        assert tax.gross.in_nanos % CENT == tax.tax.in_nanos % CENT == 0
        assert not tax.gross.is_nothing


@given(lines=bought(ANY_SUMS), shipping=ANY_SUMS, country_code=COUNTRIES)
def test_rates_stand_once_each_highest_first(lines: Bought, shipping: Money, country_code: str) -> None:
    rates = [Fraction(tax.rate_percent) for tax in agreed(lines, shipping, country_code).taxes]

    assert rates == sorted(set(rates), reverse=True)


def test_goods_have_the_rate_of_their_class_and_shipping_the_standard_rate() -> None:
    goods = ("kitchen", "10"), ("books", "10.70"), ("tea", "5.35")

    assert contained("DE", *goods, shipping="1.90") == ["19: 1.90 EUR of 11.90 EUR", "7: 1.05 EUR of 16.05 EUR"]
    assert contained("FR", *goods, shipping="2") == ["20: 2.00 EUR of 12.00 EUR", "5.5: 0.84 EUR of 16.05 EUR"]
    assert contained("FI", ("kitchen", "12.55")) == ["25.5: 2.55 EUR of 12.55 EUR"]


def test_where_a_class_has_the_standard_rate_it_is_no_rate_of_its_own() -> None:
    assert contained("DK", ("books", "10"), ("kitchen", "10"), shipping="5") == ["25: 5.00 EUR of 25.00 EUR"]


def test_what_has_no_tax_is_told_as_such() -> None:
    assert contained("IE", ("books", "10"), shipping="1.23") == ["23: 0.23 EUR of 1.23 EUR", "0: 0.00 EUR of 10.00 EUR"]


@pytest.mark.parametrize("country", ["US", "CH", "GB", "XX", "", "de"])
def test_what_leaves_the_union_has_no_tax(country: str) -> None:
    assert contained(country, ("kitchen", "10"), ("books", "5"), shipping="4.90") == ["0: 0.00 EUR of 19.90 EUR"]


def test_what_costs_nothing_contains_nothing() -> None:
    assert contained("DE", ("kitchen", "0"), ("books", "0")) == []


def test_many_small_lines_are_rounded_once() -> None:
    lines = [("kitchen", "0.01")] * 100

    assert contained("DE", *lines) == ["19: 0.16 EUR of 1.00 EUR"]  # each line's tax alone would be nothing


def test_halves_are_rounded_up() -> None:
    assert contained("AT", ("kitchen", "0.03")) == ["20: 0.01 EUR of 0.03 EUR"]
    assert contained("AT", ("kitchen", "0.15")) == ["20: 0.03 EUR of 0.15 EUR"]


def test_a_tax_is_a_whole_number_of_the_smallest_unit_there_is() -> None:
    assert contained("DE", ("kitchen", "1000"), shipping="99", currency="JPY") == ["19: 175 JPY of 1099 JPY"]
    assert contained("DE", ("kitchen", "1"), currency="KWD") == ["19: 0.160 KWD of 1.000 KWD"]


def test_what_is_finer_than_a_cent_moves_to_the_next_rate() -> None:
    goods = ("kitchen", "10.005"), ("books", "5.005")

    assert contained("DE", *goods) == ["19: 1.60 EUR of 10.00 EUR", "7: 0.33 EUR of 5.01 EUR"]


def test_each_row_of_the_table_is_plausible() -> None:
    for country_code, rates in rule._RATES.items():
        assert len(country_code) == 2
        assert country_code.isupper()
        standard = rates[rule.Goods.OTHER]
        assert 1500 <= standard <= 2700  # the union's law says at least 15 %
        assert all(0 <= rate <= standard for rate in rates.values())
    assert len(rule._RATES) == 27


def test_different_currencies_have_no_sum() -> None:
    dollars = Offer(sku="PEN", name="Pen", unit_price=Money("USD", 1, 0), category="paper")

    with pytest.raises(CurrenciesDiffer):
        terms([wanted(MUG), wanted(PEN)], OFFERS | {PEN: dollars}, FREE, "DE")
    with pytest.raises(CurrenciesDiffer):
        terms([wanted(MUG)], OFFERS, Money("USD", 4, 0), "DE")


def test_every_line_without_an_offer_is_named() -> None:
    with pytest.raises(ProductNotFound) as refused:
        priced([wanted(PEN), wanted(MUG), wanted(UUID(int=4))], OFFERS)

    assert refused.value.reason == "PRODUCT_NOT_FOUND"
    assert [violation.field for violation in refused.value.violations] == ["lines[0].productId", "lines[2].productId"]
    assert refused.value.metadata == {"lines": "0,2", "product_ids": f"{PEN},{UUID(int=4)}"}


def test_each_repeated_line_is_named() -> None:
    require_distinct([wanted(MUG), wanted(POT)], "lines")

    with pytest.raises(DuplicateProducts) as refused:
        require_distinct([wanted(MUG), wanted(POT), wanted(MUG, 2), wanted(POT), wanted(MUG)], "lines")

    assert [violation.field for violation in refused.value.violations] == [
        "lines[2].productId",
        "lines[3].productId",
        "lines[4].productId",
    ]
    assert refused.value.code == "INVALID_ARGUMENT"


def test_a_sum_of_lines_is_what_they_cost() -> None:
    assert sum_of(priced([wanted(MUG, 2), wanted(POT)], OFFERS)) == Money("EUR", 79, 0)
