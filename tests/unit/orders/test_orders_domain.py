from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.orders.domain import (
    NANOS,
    TRANSITIONS,
    Action,
    CurrenciesDiffer,
    DuplicateProducts,
    IllegalTransition,
    Money,
    Offer,
    Order,
    ProductNotFound,
    State,
    Wanted,
    place,
    require_distinct,
)

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
MUG, POT, PEN = UUID(int=1), UUID(int=2), UUID(int=3)
OFFERS = {
    MUG: Offer(sku="MUG-BLUE", name="Mug, blue", unit_price=Money("EUR", 14, 990_000_000)),
    POT: Offer(sku="TEAPOT", name="Teapot", unit_price=Money("EUR", 49, 20_000_000)),
}
SUMS = st.builds(Money, st.just("EUR"), st.integers(0, 10**9), st.integers(0, NANOS - 1))


def wanted(product_id: UUID, quantity: int = 1) -> Wanted:
    return Wanted(product_id=product_id, quantity=quantity)


def placed(*lines: Wanted, offers: dict[UUID, Offer] | None = None) -> Order:
    return place(lines, OFFERS if offers is None else offers, order_id=UUID(int=9), user_id="ada", now=NOW)


def amount(money: Money) -> Fraction:
    assert 0 <= money.nanos < NANOS
    return money.units + Fraction(money.nanos, NANOS)


@given(SUMS, SUMS)
def test_sums_are_exact(one: Money, other: Money) -> None:
    assert amount(one.plus(other)) == amount(one) + amount(other)


@given(SUMS, st.integers(0, 999))
def test_products_are_exact(price: Money, quantity: int) -> None:
    assert amount(price.times(quantity)) == amount(price) * quantity


@given(st.lists(st.tuples(SUMS, st.integers(1, 999)), min_size=1, max_size=100))
def test_the_total_is_the_sum_of_the_lines(bought: list[tuple[Money, int]]) -> None:
    offers = {UUID(int=i): Offer(sku="A", name="A", unit_price=price) for i, (price, _) in enumerate(bought)}
    lines = [wanted(UUID(int=i), quantity) for i, (_, quantity) in enumerate(bought)]

    order = placed(*lines, offers=offers)

    assert amount(order.total) == sum(amount(price) * quantity for price, quantity in bought)
    assert order.total.units < 2**63


def test_different_currencies_have_no_sum() -> None:
    dollars = Offer(sku="PEN", name="Pen", unit_price=Money("USD", 1, 0))

    with pytest.raises(CurrenciesDiffer):
        placed(wanted(MUG), wanted(PEN), offers=OFFERS | {PEN: dollars})


def test_an_order_keeps_what_it_was_offered() -> None:
    order = placed(wanted(MUG, 3), wanted(POT))

    assert order.state is State.CONFIRMED
    assert [(line.sku, line.name, line.quantity) for line in order.lines] == [
        ("MUG-BLUE", "Mug, blue", 3),
        ("TEAPOT", "Teapot", 1),
    ]
    assert [line.total for line in order.lines] == [("EUR", 44, 970_000_000), ("EUR", 49, 20_000_000)]
    assert order.total == ("EUR", 93, 990_000_000)


def test_every_line_without_an_offer_is_named() -> None:
    with pytest.raises(ProductNotFound) as refused:
        placed(wanted(PEN), wanted(MUG), wanted(UUID(int=4)))

    assert refused.value.reason == "PRODUCT_NOT_FOUND"
    assert [violation.field for violation in refused.value.violations] == ["lines[0].productId", "lines[2].productId"]
    assert refused.value.metadata == {"lines": "0,2", "product_ids": f"{PEN},{UUID(int=4)}"}


def test_each_repeated_line_is_named() -> None:
    require_distinct([wanted(MUG), wanted(POT)])

    with pytest.raises(DuplicateProducts) as refused:
        require_distinct([wanted(MUG), wanted(POT), wanted(MUG, 2), wanted(POT), wanted(MUG)])

    assert [violation.field for violation in refused.value.violations] == [
        "lines[2].productId",
        "lines[3].productId",
        "lines[4].productId",
    ]
    assert refused.value.code == "INVALID_ARGUMENT"


def test_cancelling_changes_the_state_and_the_time_once() -> None:
    order = placed(wanted(MUG))
    later = NOW + timedelta(hours=1)

    cancelled = order.apply(Action.CANCEL, now=later)

    assert cancelled == replace(order, state=State.CANCELLED, update_time=later)
    assert cancelled.apply(Action.CANCEL, now=later + timedelta(hours=1)) is cancelled


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("action", Action)
def test_every_state_answers_every_action_by_the_table(state: State, action: Action) -> None:
    order = replace(placed(wanted(MUG)), state=state)

    if (state, action) in TRANSITIONS:
        assert order.apply(action, now=NOW).state is TRANSITIONS[state, action]
    else:
        with pytest.raises(IllegalTransition):
            order.apply(action, now=NOW)


def test_what_the_table_does_not_hold_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.orders.domain.TRANSITIONS", {})

    with pytest.raises(IllegalTransition) as refused:
        placed(wanted(MUG)).apply(Action.CANCEL, now=NOW)

    assert refused.value.code == "FAILED_PRECONDITION"
    assert refused.value.metadata == {"state": "confirmed", "action": "cancel"}
