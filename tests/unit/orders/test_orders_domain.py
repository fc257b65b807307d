from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.orders.domain import (
    REPEATS,
    TRANSITIONS,
    Order,
    Recorded,
    State,
    after,
    changes,
    first,
    fold,
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
from services.orders.money import Money
from services.orders.pricing import Offer, Wanted, terms
from services.orders.refusals import CancelledByUser, IllegalTransition, order_refused

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
MUG, POT = UUID(int=1), UUID(int=2)
OFFERS = {
    MUG: Offer(sku="MUG-BLUE", name="Mug, blue", unit_price=Money("EUR", 14, 990_000_000), category="kitchen"),
    POT: Offer(sku="TEAPOT", name="Teapot", unit_price=Money("EUR", 49, 20_000_000), category="tea"),
}
SHIPPING = Money("EUR", 4, 900_000_000)


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


def bought(*lines: Wanted) -> Placed:
    agreed = terms(lines, OFFERS, SHIPPING, "DE")
    return Placed(user_id="ada", lines=agreed.lines, destination=HOME, shipping=agreed.shipping, taxes=agreed.taxes)


def placed(*lines: Wanted) -> Order:
    return first(UUID(int=9), bought(*lines), now=NOW)


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


def test_an_order_keeps_what_it_was_offered() -> None:
    order = placed(wanted(MUG, 3), wanted(POT))

    assert order.state is State.PENDING
    assert [(line.sku, line.name, line.quantity) for line in order.lines] == [
        ("MUG-BLUE", "Mug, blue", 3),
        ("TEAPOT", "Teapot", 1),
    ]
    assert [line.total for line in order.lines] == [("EUR", 44, 970_000_000), ("EUR", 49, 20_000_000)]
    assert (order.shipping, order.total, order.unit_count) == (SHIPPING, ("EUR", 98, 890_000_000), 4)
    assert [(tax.rate_percent, tax.gross) for tax in order.taxes] == [
        ("19", ("EUR", 49, 870_000_000)),
        ("7", ("EUR", 49, 20_000_000)),
    ]
    assert (order.user_id, order.destination, order.version) == ("ada", HOME, 1)


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


def test_an_order_from_before_there_were_shipments_goes_nowhere_for_nothing() -> None:
    line = Line(product_id=MUG, sku="MUG", name="Mug", unit_price=Money("EUR", 1, 0), quantity=2)
    event = Placed(user_id="ada", lines=(line,), destination=None, shipping=None, taxes=())
    written = to_json(event)
    del written["shipping"], written["taxes"]

    read = from_json("placed", written)

    assert read == event
    order = first(UUID(int=9), read, now=NOW)
    assert (order.shipping, order.taxes, order.total) == (("EUR", 0, 0), (), ("EUR", 2, 0))


def test_where_somebody_lives_is_in_no_representation() -> None:
    text = repr(placed(wanted(MUG))) + repr(bought(wanted(MUG)))

    assert "London" not in text
    assert "Street" not in text


def test_a_refusal_names_lines_as_the_shopper_wrote_them() -> None:
    error = order_refused(UUID(int=9), "INSUFFICIENT_STOCK", "too few", {"lines": "0,2", "product_ids": "a,b"})

    assert (error.code, error.reason, error.message) == ("FAILED_PRECONDITION", "INSUFFICIENT_STOCK", "too few")
    assert [violation.field for violation in error.violations] == ["lines[0].quantity", "lines[2].quantity"]
    assert error.metadata == {"lines": "0,2", "product_ids": "a,b", "order_id": str(UUID(int=9))}


def test_a_refused_cart_is_named_as_it_was_written_too() -> None:
    error = order_refused(UUID(int=9), "INSUFFICIENT_STOCK", "few", {"lines": "1"}, field="expectedLines")

    assert [violation.field for violation in error.violations] == ["expectedLines[1].quantity"]


def test_a_refusal_without_a_known_cause_still_has_its_reason() -> None:
    error = order_refused(UUID(int=9), "PAYMENT_DECLINED", "", {"reason": "any name is a peer's to choose"})

    assert (error.reason, error.violations) == ("PAYMENT_DECLINED", ())
    assert error.message


def test_trouble_is_worth_another_try() -> None:
    error = order_refused(UUID(int=9), "PEER_UNAVAILABLE", "", {"peer": "payments"})

    assert (error.code, error.reason) == ("UNAVAILABLE", "PEER_UNAVAILABLE")
    assert error.metadata == {"peer": "payments", "order_id": str(UUID(int=9))}
    assert error.retry_after_s
