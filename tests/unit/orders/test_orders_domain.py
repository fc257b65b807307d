from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from itertools import pairwise
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.orders.domain import (
    REPEATS,
    TRANSITIONS,
    Offer,
    Order,
    Recorded,
    State,
    Wanted,
    after,
    changes,
    first,
    fold,
    priced,
    require_distinct,
)
from services.orders.events import (
    Address,
    CancellationRefused,
    CancellationRequested,
    Cancelled,
    Confirmed,
    Delivered,
    Event,
    Line,
    Placed,
    Returned,
    Shipped,
    from_json,
    to_json,
    type_of,
)
from services.orders.money import NANOS, Money
from services.orders.refusals import (
    CancelledByUser,
    CurrenciesDiffer,
    DuplicateProducts,
    IllegalTransition,
    ProductNotFound,
    order_refused,
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


HOME = Address(recipient="Ada", street_lines=("1 Street",), postal_code="1", city="London", country_code="GB")
EVENTS: tuple[Event, ...] = (
    Confirmed(),
    CancellationRequested("CANCELLED_BY_USER"),
    CancellationRefused("SHIPMENT_DISPATCHED"),
    Cancelled("PAYMENT_DECLINED"),
    Shipped(),
    Delivered(),
    Returned(),
)
HISTORIES = st.lists(st.sampled_from(EVENTS), max_size=12)


def bought(*lines: Wanted, offers: dict[UUID, Offer] | None = None) -> Placed:
    return Placed(user_id="ada", lines=priced(lines, OFFERS if offers is None else offers), destination=HOME)


def placed(*lines: Wanted, offers: dict[UUID, Offer] | None = None) -> Order:
    return first(UUID(int=9), bought(*lines, offers=offers), now=NOW)


def lived(history: list[Event]) -> list[Order]:
    """Return an order at each point of its life, with those events of *history* that may happen and change it."""
    orders = [placed(wanted(MUG))]
    for number, event in enumerate(history):
        try:
            if changes(orders[-1], event):
                orders.append(after(orders[-1], event, now=NOW + timedelta(minutes=number)))
        except (IllegalTransition, CancelledByUser):
            continue
    return orders


def amount(money: Money) -> Fraction:
    assert 0 <= money.nanos < NANOS
    return money.units + Fraction(money.nanos, NANOS)


@given(SUMS, SUMS)
def test_sums_are_exact(one: Money, other: Money) -> None:
    assert amount(one.plus(other)) == amount(one) + amount(other)


@given(SUMS, st.integers(0, 999))
def test_products_are_exact(price: Money, quantity: int) -> None:
    assert amount(price.times(quantity)) == amount(price) * quantity


@given(prices=st.lists(st.tuples(SUMS, st.integers(1, 999)), min_size=1, max_size=100))
def test_the_total_is_the_sum_of_the_lines(prices: list[tuple[Money, int]]) -> None:
    offers = {UUID(int=i): Offer(sku="A", name="A", unit_price=price) for i, (price, _) in enumerate(prices)}
    lines = [wanted(UUID(int=i), quantity) for i, (_, quantity) in enumerate(prices)]

    order = placed(*lines, offers=offers)

    assert amount(order.total) == sum(amount(price) * quantity for price, quantity in prices)
    assert order.total.units < 2**63


def test_different_currencies_have_no_sum() -> None:
    dollars = Offer(sku="PEN", name="Pen", unit_price=Money("USD", 1, 0))

    with pytest.raises(CurrenciesDiffer):
        placed(wanted(MUG), wanted(PEN), offers=OFFERS | {PEN: dollars})


def test_an_order_keeps_what_it_was_offered() -> None:
    order = placed(wanted(MUG, 3), wanted(POT))

    assert order.state is State.PENDING
    assert [(line.sku, line.name, line.quantity) for line in order.lines] == [
        ("MUG-BLUE", "Mug, blue", 3),
        ("TEAPOT", "Teapot", 1),
    ]
    assert [line.total for line in order.lines] == [("EUR", 44, 970_000_000), ("EUR", 49, 20_000_000)]
    assert (order.total, order.unit_count) == (("EUR", 93, 990_000_000), 4)
    assert (order.user_id, order.destination, order.version) == ("ada", HOME, 1)


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


def test_an_event_changes_the_state_the_time_and_the_version() -> None:
    order = placed(wanted(MUG))
    later = NOW + timedelta(hours=1)

    confirmed = after(order, Confirmed(), now=later)

    assert confirmed == replace(order, state=State.CONFIRMED, update_time=later, confirm_time=later, version=2)


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("event", EVENTS, ids=type_of)
def test_every_state_answers_every_event_by_the_tables(state: State, event: Event) -> None:
    order = replace(placed(wanted(MUG)), state=state, confirm_time=NOW)
    key = (state, type(event))

    if key in REPEATS:
        assert not changes(order, event)
    elif key in TRANSITIONS:
        assert changes(order, event)
        assert after(order, event, now=NOW).state is TRANSITIONS[key]
    else:
        with pytest.raises(IllegalTransition) as refused:
            changes(order, event)
        with pytest.raises(IllegalTransition):
            after(order, event, now=NOW)
        assert refused.value.code == "FAILED_PRECONDITION"


def test_no_event_is_both_new_and_a_repeat() -> None:
    assert REPEATS.isdisjoint(TRANSITIONS)


@pytest.mark.parametrize("state", [State.SHIPPED, State.DELIVERED, State.RETURNED])
def test_what_has_left_can_not_be_called_off(state: State) -> None:
    order = replace(placed(wanted(MUG)), state=state, confirm_time=NOW)

    with pytest.raises(IllegalTransition) as refused:
        changes(order, CancellationRequested("CANCELLED_BY_USER"))

    assert refused.value.metadata == {"state": state.value, "action": "cancel"}


def test_who_called_an_order_off_in_time_does_not_get_it() -> None:
    order = after(placed(wanted(MUG)), CancellationRequested("CANCELLED_BY_USER"), now=NOW)

    with pytest.raises(CancelledByUser) as refused:
        changes(order, Confirmed())

    assert (refused.value.code, refused.value.reason) == ("FAILED_PRECONDITION", "CANCELLED_BY_USER")


@pytest.mark.parametrize("event", [CancellationRefused("NO"), Shipped(), Delivered(), Returned()], ids=type_of)
def test_an_order_that_never_was_certain_can_not_become_so_by_being_called_off(event: Event) -> None:
    order = after(placed(wanted(MUG)), CancellationRequested("CANCELLED_BY_USER"), now=NOW)

    with pytest.raises(IllegalTransition):
        changes(order, event)


@given(HISTORIES)
def test_whatever_happens_an_order_is_what_its_history_says(history: list[Event]) -> None:
    orders = lived(history)
    last = orders[-1]

    assert [order.version for order in orders] == list(range(1, len(orders) + 1))
    assert all(before.update_time <= now.update_time for before, now in pairwise(orders))
    # What is certain stays so, and what has left was certain.
    assert all(now.is_confirmed for before, now in pairwise(orders) if before.is_confirmed)
    assert last.is_confirmed or last.state in (State.PENDING, State.CANCELLING, State.CANCELLED)
    assert bool(last.cancel_reason) == last.is_called_off
    assert last.is_refused == (last.state is State.CANCELLED and not last.is_confirmed)


@given(HISTORIES)
def test_a_history_that_is_written_down_says_the_same_when_it_is_read(history: list[Event]) -> None:
    orders, events = [placed(wanted(MUG, 3), wanted(POT))], [bought(wanted(MUG, 3), wanted(POT))]
    written: list[Recorded] = [Recorded(1, events[0], NOW)]
    for event in history:
        try:
            if changes(orders[-1], event):
                orders.append(after(orders[-1], event, now=NOW))
                written.append(Recorded(orders[-1].version, event, NOW))
        except (IllegalTransition, CancelledByUser):
            continue

    read = [
        Recorded(version, from_json(type_of(event), json.loads(json.dumps(to_json(event)))), time)
        for version, event, time in written
    ]

    assert read == written
    assert fold(UUID(int=9), read) == orders[-1]


def test_an_empty_history_is_no_order() -> None:
    assert fold(UUID(int=9), []) is None


def test_a_history_begins_with_what_was_bought() -> None:
    with pytest.raises(IllegalTransition):
        fold(UUID(int=9), [Recorded(1, Confirmed(), NOW)])


def test_an_order_from_before_there_were_shipments_goes_nowhere() -> None:
    line = Line(product_id=MUG, sku="MUG", name="Mug", unit_price=Money("EUR", 1, 0), quantity=1)
    event = Placed(user_id="ada", lines=(line,), destination=None)

    assert from_json("placed", to_json(event)) == event


def test_where_somebody_lives_is_in_no_representation() -> None:
    text = repr(placed(wanted(MUG))) + repr(bought(wanted(MUG)))

    assert "London" not in text
    assert "Street" not in text


def test_a_refusal_names_lines_as_the_shopper_wrote_them() -> None:
    error = order_refused(UUID(int=9), "INSUFFICIENT_STOCK", "too few", {"lines": "0,2", "product_ids": "a,b"})

    assert (error.code, error.reason, error.message) == ("FAILED_PRECONDITION", "INSUFFICIENT_STOCK", "too few")
    assert [violation.field for violation in error.violations] == ["lines[0].quantity", "lines[2].quantity"]
    assert error.metadata == {"lines": "0,2", "product_ids": "a,b", "order_id": str(UUID(int=9))}


def test_a_refusal_without_a_known_cause_still_has_its_reason() -> None:
    error = order_refused(UUID(int=9), "PAYMENT_DECLINED", "", {"reason": "any name is a peer's to choose"})

    assert (error.reason, error.violations) == ("PAYMENT_DECLINED", ())
    assert error.message


def test_trouble_is_worth_another_try() -> None:
    error = order_refused(UUID(int=9), "PEER_UNAVAILABLE", "", {"peer": "payments"})

    assert (error.code, error.reason) == ("UNAVAILABLE", "PEER_UNAVAILABLE")
    assert error.metadata == {"peer": "payments", "order_id": str(UUID(int=9))}
    assert error.retry_after_s
