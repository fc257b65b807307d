from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import product
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.payments.domain import (
    BEGINNINGS,
    OUTCOMES,
    Found,
    Happening,
    Operation,
    Payment,
    Refund,
    RefundState,
    Standing,
    State,
    happened,
)
from services.payments.money import NANOS, Money, NotPayable
from services.payments.refusals import (
    IllegalTransition,
    PaymentCaptured,
    PaymentClosed,
    PaymentDeclined,
    PaymentDiffers,
    PaymentNotCaptured,
    PaymentNotFound,
    ProviderContradicts,
    RefundRefused,
    RefundTooLarge,
    RequestIdReused,
)
from services.payments.schedule import MAX_RETRY_S, WATCHES, retry_s, watch_s

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
LATER = NOW + timedelta(seconds=5)
ORDER = UUID(int=1)
REFUND = Refund(refund_id=UUID(int=2), minor=400)
CENTS = Money("EUR", 1450)
NEW = Payment.new(ORDER, "ada", CENTS, reference=str(ORDER), now=NOW)
CLOSED_DOOR = Payment.closed(ORDER, reference=None, now=NOW)


def payment(state: State, pending: Operation | None = None, **fields: object) -> Payment:
    return replace(NEW, state=state, pending=pending, **fields)  # type: ignore[arg-type]  # of the right types


def found(standing: Standing, **fields: object) -> Found:
    return Found(standing=standing, **fields)  # type: ignore[arg-type]  # of the right types


def test_a_payment_is_born_being_authorised_with_an_id_that_follows_from_its_orders() -> None:
    again = Payment.new(ORDER, "ada", CENTS, reference=None, now=LATER)

    assert (NEW.state, NEW.pending) == (State.AUTHORIZING, Operation.AUTHORIZE)
    assert again.payment_id == NEW.payment_id
    assert Payment.new(UUID(int=9), "ada", CENTS, reference=None, now=NOW).payment_id != NEW.payment_id


def test_a_key_is_the_same_for_every_repeat_and_different_for_every_operation_and_refund() -> None:
    refunds = [replace(NEW, refund=replace(REFUND, refund_id=UUID(int=number))) for number in (5, 6, 6)]

    keys = [NEW.idempotency_key(operation) for operation in Operation]
    of_refunds = [each.idempotency_key(Operation.REFUND) for each in refunds]

    assert len(set(keys)) == len(keys)
    assert len(set(of_refunds)) == 2
    assert all(len(key) <= 255 for key in keys + of_refunds)  # Stripe's limit


def test_a_repeat_of_a_request_is_the_same_refund_and_another_callers_is_not() -> None:
    one = Refund.asked_by(ORDER, "root", "r1", 100)

    assert Refund.asked_by(ORDER, "root", "r1", 100) == one
    assert Refund.asked_by(ORDER, "root", "r2", 100) != one
    assert Refund.asked_by(ORDER, "admin", "r1", 100) != one


@pytest.mark.parametrize(("state", "operation"), list(product(State, Operation)))
def test_what_may_be_begun_is_what_the_table_says(state: State, operation: Operation) -> None:
    before = payment(state, attempts=3)

    if (state, operation) in BEGINNINGS:
        begun = before.begin(operation, now=LATER)
        assert (begun.state, begun.pending, begun.attempts, begun.update_time) == (state, operation, 0, LATER)
    else:
        with pytest.raises(IllegalTransition):
            before.begin(operation, now=LATER)


@pytest.mark.parametrize("pending", [Operation.CAPTURE, Operation.VOID, Operation.REFUND])
def test_one_operation_is_over_before_another_begins(pending: Operation) -> None:
    for state, operation in product(State, Operation):
        assert not payment(state, pending).can_begin(operation)


def test_a_void_takes_the_place_of_an_authorisation_under_way() -> None:
    begun = NEW.begin(Operation.VOID, now=LATER)

    assert (begun.state, begun.pending) == (State.AUTHORIZING, Operation.VOID)


@pytest.mark.parametrize(("state", "standing"), list(product(State, Standing)))
def test_what_the_provider_says_is_taken_as_the_table_says_or_contradicts(state: State, standing: Standing) -> None:
    before = payment(state)

    if (state, standing) in OUTCOMES:
        assert before.settle(found(standing), now=LATER).state is OUTCOMES[state, standing]
    else:
        with pytest.raises(ProviderContradicts):
            before.settle(found(standing), now=LATER)


def test_nothing_that_is_final_ever_becomes_something_else() -> None:
    for (state, _), outcome in OUTCOMES.items():
        if state in (State.DECLINED, State.VOIDED, State.REFUNDED):
            assert outcome is state


@pytest.mark.parametrize(
    ("state", "pending", "standing", "over", "left"),
    [
        (State.AUTHORIZING, Operation.AUTHORIZE, Standing.UNKNOWN, False, Operation.AUTHORIZE),
        (State.AUTHORIZING, Operation.AUTHORIZE, Standing.OPEN, False, Operation.AUTHORIZE),
        (State.AUTHORIZING, Operation.AUTHORIZE, Standing.HELD, True, None),
        (State.AUTHORIZING, Operation.AUTHORIZE, Standing.DECLINED, True, None),
        (State.AUTHORIZED, Operation.CAPTURE, Standing.HELD, False, Operation.CAPTURE),
        (State.AUTHORIZED, Operation.CAPTURE, Standing.CAPTURED, True, None),
        (State.AUTHORIZED, Operation.CAPTURE, Standing.VOIDED, True, None),
        (State.AUTHORIZED, Operation.VOID, Standing.HELD, False, Operation.VOID),
        (State.AUTHORIZED, Operation.VOID, Standing.VOIDED, True, None),
        (State.AUTHORIZING, Operation.VOID, Standing.UNKNOWN, True, None),
        (State.AUTHORIZING, Operation.VOID, Standing.OPEN, False, Operation.VOID),
        (State.AUTHORIZING, Operation.VOID, Standing.HELD, False, Operation.VOID),
        (State.AUTHORIZING, Operation.VOID, Standing.DECLINED, True, None),
        (State.VOIDED, None, Standing.HELD, True, Operation.VOID),  # it arrived late
        (State.VOIDED, None, Standing.OPEN, True, Operation.VOID),
        (State.VOIDED, None, Standing.UNKNOWN, True, None),
        (State.CAPTURED, None, Standing.CAPTURED, True, None),
    ],
)
def test_an_operation_is_over_when_its_effect_can_be_seen(
    state: State, pending: Operation | None, standing: Standing, over: bool, left: Operation | None
) -> None:
    before = payment(state, pending)

    assert (before.settle(found(standing), now=LATER).pending is None) == over
    assert before.left_to_do(found(standing)) == left


def test_a_refund_is_over_when_the_provider_lists_it() -> None:
    before = payment(State.CAPTURED, Operation.REFUND, refund=REFUND)

    waiting = before.settle(found(Standing.CAPTURED), now=LATER)
    done = before.settle(found(Standing.CAPTURED, refunded_minor=400, refunds=frozenset({REFUND.refund_id})), now=LATER)
    refused = before.settle(found(Standing.CAPTURED, refused_refunds=frozenset({REFUND.refund_id})), now=LATER)

    assert waiting == before
    assert (done.pending, done.refund, done.refunded_minor, done.state) == (None, None, 400, State.CAPTURED)
    assert (refused.pending, refused.refund, refused.refunded_minor) == (None, None, 0)


def test_all_that_was_taken_and_given_back_is_refunded_whoever_gave_it() -> None:
    settled = payment(State.CAPTURED).settle(found(Standing.CAPTURED, refunded_minor=1450), now=LATER)

    assert (settled.state, settled.remaining_minor) == (State.REFUNDED, 0)


def test_an_answer_that_is_no_news_changes_nothing() -> None:
    before = payment(State.AUTHORIZED, attempts=2)

    assert before.settle(found(Standing.HELD), now=LATER) is before


def test_who_authorises_learns_what_became_of_it() -> None:
    assert not NEW.is_authorized(NEW)
    for state in (State.AUTHORIZED, State.CAPTURED, State.REFUNDED):
        assert payment(state).is_authorized(NEW)
    for closed in (payment(State.VOIDED), payment(State.AUTHORIZING, Operation.VOID), CLOSED_DOOR):
        with pytest.raises(PaymentClosed):
            closed.is_authorized(NEW)
    with pytest.raises(PaymentDeclined):
        payment(State.DECLINED, decline_code="card_declined").is_authorized(NEW)
    for changed in ({"amount": Money("EUR", 1)}, {"amount": Money("USD", 1450)}, {"user_id": "b"}):
        with pytest.raises(PaymentDiffers):
            NEW.is_authorized(payment(State.AUTHORIZING, **changed))


def test_who_captures_voids_or_refunds_learns_what_became_of_it() -> None:
    answers = {state: payment(state) for state in State}
    open_or_taken = [state for state in State if state not in (State.DECLINED, State.VOIDED)]

    assert [state for state in open_or_taken if answers[state].is_captured()] == [State.CAPTURED, State.REFUNDED]
    for state in (State.DECLINED, State.VOIDED):
        with pytest.raises(PaymentClosed):
            answers[state].is_captured()
        assert answers[state].is_voided()
    for state in (State.CAPTURED, State.REFUNDED):
        with pytest.raises(PaymentCaptured):
            answers[state].is_voided()
    assert [state for state in State if answers[state].is_given_back()] == [
        State.DECLINED, State.VOIDED, State.REFUNDED,
    ]  # fmt: skip
    with pytest.raises(PaymentNotFound):
        CLOSED_DOOR.is_given_back()


def test_a_part_is_given_back_of_what_was_taken_and_is_left() -> None:
    taken = payment(State.CAPTURED, refunded_minor=1000)

    assert not taken.is_part_given_back(replace(REFUND, minor=450), None)
    assert taken.is_part_given_back(REFUND, replace(REFUND, state=RefundState.DONE))
    assert not taken.is_part_given_back(REFUND, REFUND)
    with pytest.raises(RefundTooLarge, match=r"4\.50 EUR"):
        taken.is_part_given_back(replace(REFUND, minor=451), None)
    with pytest.raises(RequestIdReused):
        taken.is_part_given_back(replace(REFUND, minor=399), REFUND)
    with pytest.raises(RefundRefused):
        taken.is_part_given_back(REFUND, replace(REFUND, state=RefundState.REFUSED))
    for state in (State.AUTHORIZED, State.DECLINED, State.VOIDED):
        with pytest.raises(PaymentNotCaptured):
            payment(state).is_part_given_back(REFUND, None)
    with pytest.raises(PaymentNotCaptured):
        NEW.is_part_given_back(REFUND, None)
    with pytest.raises(PaymentNotFound):
        CLOSED_DOOR.is_part_given_back(REFUND, None)
    assert not payment(State.AUTHORIZED, Operation.CAPTURE).is_part_given_back(REFUND, None)  # soon it may be taken


@pytest.mark.parametrize(
    ("before", "after", "news"),
    [
        (NEW, NEW, ()),
        (NEW, payment(State.AUTHORIZED), (Happening.AUTHORIZED,)),
        (NEW, payment(State.CAPTURED), (Happening.AUTHORIZED, Happening.CAPTURED)),
        (NEW, payment(State.DECLINED), (Happening.DECLINED,)),
        (NEW, payment(State.VOIDED), ()),
        (payment(State.AUTHORIZED), payment(State.CAPTURED), (Happening.CAPTURED,)),
        (payment(State.AUTHORIZED), payment(State.VOIDED), (Happening.VOIDED,)),
        (payment(State.CAPTURED), payment(State.CAPTURED, refunded_minor=1), (Happening.REFUNDED,)),
        (payment(State.CAPTURED), payment(State.REFUNDED, refunded_minor=1450), (Happening.REFUNDED,)),
        (
            payment(State.AUTHORIZED),
            payment(State.REFUNDED, refunded_minor=1450),
            (Happening.CAPTURED, Happening.REFUNDED),
        ),
    ],
)
def test_others_hear_of_every_step_once(before: Payment, after: Payment, news: tuple[Happening, ...]) -> None:
    assert happened(before, after) == news


def test_the_provider_is_asked_again_ever_more_seldom() -> None:
    for attempts, longest_s in ((1, 0.5), (2, 1), (3, 2), (8, MAX_RETRY_S), (500, MAX_RETRY_S)):
        assert longest_s * 0.75 <= retry_s(payment(State.AUTHORIZED, Operation.CAPTURE, attempts=attempts)) <= longest_s


def test_a_voided_payment_is_watched_for_a_while_and_no_other() -> None:
    waits = [watch_s(payment(State.VOIDED, attempts=attempts)) for attempts in range(WATCHES + 2)]

    assert waits[:4] == [1, 2, 4, 8]
    assert 600 < sum(wait for wait in waits if wait) < 1200
    assert waits[-2:] == [None, None]
    assert {watch_s(payment(state)) for state in State if state is not State.VOIDED} == {None}


@given(st.sampled_from(["EUR", "JPY", "KWD", "USD"]), st.integers(0, 10**15))
def test_money_is_the_same_in_units_and_in_the_smallest_unit(currency: str, minor: int) -> None:
    units, nanos = Money(currency, minor).units_and_nanos

    assert 0 <= nanos < NANOS
    assert Money.of(currency, units, nanos) == Money(currency, minor)


@pytest.mark.parametrize(
    ("currency", "minor", "text"),
    [
        ("EUR", 1450, "14.50 EUR"),
        ("EUR", 5, "0.05 EUR"),
        ("JPY", 500, "500 JPY"),
        ("KWD", 1005, "1.005 KWD"),
    ],
)
def test_money_reads_as_people_write_it(currency: str, minor: int, text: str) -> None:
    assert str(Money(currency, minor)) == text


@pytest.mark.parametrize(("currency", "nanos"), [("EUR", 1), ("EUR", 5_000_000), ("JPY", 10_000_000), ("KWD", 100_000)])
def test_a_fraction_of_the_smallest_unit_is_no_payable_money(currency: str, nanos: int) -> None:
    with pytest.raises(NotPayable):
        Money.of(currency, 1, nanos)
