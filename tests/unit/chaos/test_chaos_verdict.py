"""Each promise notices when it is broken, and nothing else does where it need not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from scripts.lib.chaos.evidence import (
    Answer,
    BrokerEvent,
    Charge,
    DeadLetter,
    Evidence,
    Order,
    Payment,
    Request,
    Reservation,
    Saga,
    Shipment,
    StockChange,
    StockLevel,
)
from scripts.lib.chaos.verdict import judge
from tests.unit.chaos.good_run import ANNA, BOUGHT, CANCELLED, GOOD, NOON, REFUSED, entry, event, told

PAID_EXACTLY = "captured less refunded is the total of a confirmed order, else nothing"
STANDS = "an order told CONFIRMED stands, unless its shopper cancelled it"
OFF = "an order told to be off is CANCELLED for the reason told"
WITH_CAUSE = "no refusal without its cause, and no purchase with a declined card"
ONE_ORDER = "at most one order per idempotency key, and none besides"
EQUAL = "equal answers for equal keys"
HISTORY = "an order's events are its history, each once"
ONE_SHIPMENT = "one shipment for a confirmed order, none for another"
ONE_AT_A_TIME = "one replica at a time works on a saga"


def changed(rows: Sequence[Any], at: int, **fields: object) -> tuple[Any, ...]:
    return (*rows[:at], replace(rows[at], **fields), *rows[at + 1 :])


def order(at: int, **fields: object) -> Evidence:
    return replace(GOOD, orders=changed(GOOD.orders, at, **fields))


def charge(at: int, **fields: object) -> Evidence:
    return replace(GOOD, charges=changed(GOOD.charges, at, **fields))


def level(**fields: int) -> Evidence:
    return replace(GOOD, levels=changed(GOOD.levels, 0, **fields))


def with_answers(*answers: Any) -> Evidence:
    return replace(GOOD, answers=(*GOOD.answers, *answers))


def with_log(*entries: Any) -> Evidence:
    return replace(GOOD, saga_log=(*GOOD.saga_log, *entries))


def with_event(*events: Any) -> Evidence:
    on_broker = tuple(
        BrokerEvent(event_id=e.event_id, type=e.type, source=e.source, subject=e.subject, sequence=e.sequence)
        for e in events
    )
    assert GOOD.on_broker is not None
    return replace(GOOD, outbox=(*GOOD.outbox, *events), on_broker=(*GOOD.on_broker, *on_broker))


def without(rows: Sequence[Any], test: Callable[[Any], bool]) -> tuple[Any, ...]:
    return tuple(row for row in rows if not test(row))


def broken(evidence: Evidence) -> dict[str, str]:
    """Return promise -> the first breach of it."""
    verdict = judge(evidence)
    return {finding.rule: f"{breach.subject} {breach.text}" for finding, breach in reversed(verdict.breaches)}


def test_a_good_run_has_no_breach_and_every_promise_was_held_against_something() -> None:
    verdict = judge(GOOD)

    assert verdict.breaches == []
    assert [finding.rule for finding in verdict.findings if not finding.checked] == []
    assert verdict.counts == {"placed": 3, "confirmed": 1, "cancelled": 2, "undecided": 0, "stuck": 0}


def test_a_run_in_which_nothing_happened_breaks_nothing() -> None:
    assert judge(Evidence()).breaches == []


@pytest.mark.parametrize("state", ["PENDING", "CANCELLING"])
def test_an_order_that_stays_undecided_is_a_breach(state: str) -> None:
    assert "no order stays PENDING or CANCELLING" in broken(order(0, state=state))


def test_a_confirmation_that_was_told_and_taken_back_is_a_breach() -> None:
    found = broken(order(0, state="CANCELLED", cancel_reason="INSUFFICIENT_STOCK"))

    assert found[STANDS] == f"{BOUGHT} was told to be certain, and is CANCELLED INSUFFICIENT_STOCK"


def test_a_confirmation_of_an_order_that_is_nowhere_is_a_breach() -> None:
    assert "isn't there" in broken(replace(GOOD, orders=GOOD.orders[1:]))[STANDS]


def test_a_confirmed_order_that_its_shopper_cancelled_is_none() -> None:
    assert STANDS not in broken(GOOD)
    assert STANDS in broken(replace(GOOD, cancels=frozenset()))


def test_a_refusal_that_was_told_and_is_not_so_is_a_breach() -> None:
    assert OFF in broken(order(2, state="CONFIRMED", cancel_reason=""))
    assert OFF in broken(order(2, cancel_reason="INSUFFICIENT_STOCK"))


def test_a_purchase_with_a_declined_card_is_a_breach() -> None:
    declined = replace(GOOD.requests["a-1"], payment_method="pm_test_declined")

    found = broken(replace(GOOD, requests={**GOOD.requests, "a-1": declined}))

    assert list(found) == [WITH_CAUSE]


@pytest.mark.parametrize("reason", ["PAYMENT_DECLINED", "INSUFFICIENT_STOCK", "USER_NOT_FOUND"])
def test_a_refusal_for_what_is_not_so_is_a_breach(reason: str) -> None:
    wanted = Request(user_id=ANNA, payment_method="pm_test_accepted", lines={"MUG": 1})
    evidence = replace(with_answers(told("place", "", reason=reason, key="a-4")), requests={"a-4": wanted})

    assert WITH_CAUSE in broken(evidence)
    if reason == "INSUFFICIENT_STOCK":
        assert WITH_CAUSE not in broken(replace(evidence, scarce=frozenset({"MUG"})))


def test_two_orders_for_one_key_are_a_breach() -> None:
    assert ONE_ORDER in broken(with_answers(told("place", CANCELLED, "CONFIRMED", key="a-1")))


def test_a_key_tried_again_after_a_refusal_may_have_another_order() -> None:
    refused_before = told("place", REFUSED, reason="INSUFFICIENT_STOCK", key="a-2", at_s=0.5)
    evidence = replace(GOOD, answers=(refused_before, *GOOD.answers), scarce=frozenset({"MUG"}))

    assert broken(replace(evidence, orders=changed(GOOD.orders, 2, cancel_reason="INSUFFICIENT_STOCK"))).keys() == {OFF}
    assert ONE_ORDER not in broken(evidence)
    assert EQUAL not in broken(evidence)


def test_an_order_that_nobody_was_told_of_is_a_breach_of_its_shoppers_keys_alone() -> None:
    another = replace(GOOD.orders[0], order_id="another")

    assert ONE_ORDER in broken(replace(GOOD, orders=(*GOOD.orders, another)))
    assert ONE_ORDER not in broken(replace(GOOD, orders=(*GOOD.orders, replace(another, user_id="tester"))))


@pytest.mark.parametrize(
    "answer",
    [
        told("place", BOUGHT, reason="PAYMENT_DECLINED", key="a-1", at_s=9),
        told("place", "", reason="PEER_UNAVAILABLE", key="a-1", at_s=9),
        told("place", CANCELLED, "PENDING", key="a-1", at_s=9),
        told("place", CANCELLED, "CONFIRMED", key="a-1", at_s=1),
    ],
)
def test_another_answer_for_a_key_that_was_answered_for_certain_is_a_breach(answer: Answer) -> None:
    assert EQUAL in broken(with_answers(answer))


def test_a_repeat_that_is_told_of_the_shoppers_own_cancellation_is_none() -> None:
    late = told("place", CANCELLED, "CANCELLED", "CANCELLED_BY_USER", key="a-2", at_s=9)

    assert broken(with_answers(late)) == {}


def test_an_order_that_is_watched_going_back_is_a_breach() -> None:
    assert "an order never goes back" in broken(with_answers(told("watch", BOUGHT, "CONFIRMED", stream=1)))
    assert broken(with_answers(told("watch", BOUGHT, "CONFIRMED", stream=2))) == {}


def test_money_that_was_not_taken_for_a_confirmed_order_is_a_breach() -> None:
    found = broken(charge(0, captured=0))

    assert found[PAID_EXACTLY] == f"{BOUGHT} is DELIVERED: the provider took 0.00 and should have taken 29.00"


@pytest.mark.parametrize("at", [1, 2], ids=["cancelled", "refused"])
def test_money_that_was_kept_for_an_order_that_is_off_is_a_breach(at: int) -> None:
    assert PAID_EXACTLY in broken(charge(at, captured=14, refunded=0))


def test_money_that_was_taken_for_an_order_that_is_nowhere_is_a_breach() -> None:
    stray = Charge(order_id="nowhere", authorisations=1, held=0, captured=1, refunded=0)

    assert "not there" in broken(replace(GOOD, charges=(*GOOD.charges, stray)))[PAID_EXACTLY]


def test_an_authorisation_left_open_is_a_breach() -> None:
    assert "no authorisation is left open" in broken(charge(2, held=1))


def test_money_held_or_taken_twice_is_a_breach_even_when_it_was_given_back_once() -> None:
    rule = "an order is authorised and captured at most once"
    total = GOOD.orders[0].total

    assert rule in broken(charge(0, authorisations=2))
    assert rule in broken(charge(0, captured=2 * total, refunded=total))


@pytest.mark.parametrize(
    "payment",
    [
        Payment(order_id=BOUGHT, state="AUTHORIZED", amount=29, refunded=0),
        Payment(order_id=BOUGHT, state="CAPTURED", amount=28, refunded=0),
    ],
)
def test_books_that_differ_from_the_providers_are_a_breach(payment: Payment) -> None:
    found = broken(replace(GOOD, payments=(payment, *GOOD.payments[1:])))

    assert "payments and the provider keep the same books" in found
    assert ("every payment is settled" in found) == (payment.state == "AUTHORIZED")


def test_a_payment_method_that_is_kept_is_a_breach() -> None:
    assert list(broken(replace(GOOD, cards_kept=frozenset({BOUGHT})))) == ["no payment method is kept"]


def test_an_order_that_is_read_as_something_else_than_its_history_is_a_breach() -> None:
    rule = "an order is what its history says"

    assert list(broken(order(0, history=("placed", "confirmed")))) == [rule]
    kept = ("placed", "confirmed", "cancellation_requested", "cancellation_refused", "shipped", "delivered")
    assert broken(order(0, history=kept)) == {}


def test_a_unit_that_vanished_is_a_breach() -> None:
    found = broken(level(on_hand=7))

    assert found["on hand + reserved + sold is what was put in"] == "MUG 7 on hand + 0 reserved + 2 sold; put in: 10"


def test_a_unit_sold_that_nobody_bought_is_a_breach() -> None:
    assert "sold is what confirmed orders hold" in broken(level(on_hand=7, sold=3))


def test_a_unit_that_stays_reserved_is_a_breach_and_so_is_an_open_reservation() -> None:
    rule = "no reservation outlives its order"

    assert rule in broken(level(on_hand=7, reserved=1))
    open_one = Reservation(order_id=BOUGHT, state="RESERVED")
    assert rule in broken(replace(GOOD, reservations=(open_one,)))


def test_a_ledger_that_does_not_add_up_is_a_breach() -> None:
    assert "the ledger adds up to the levels" in broken(replace(GOOD, changes=GOOD.changes[:-1]))


def test_a_level_that_was_below_nothing_for_a_moment_is_a_breach() -> None:
    early = StockChange(sku="MUG", number=0, kind="committed", order_id="", on_hand=0, reserved=-1, sold=1)
    late = replace(early, number=99, reserved=1, sold=-1)

    found = broken(replace(GOOD, changes=(early, *GOOD.changes, late)))

    assert list(found) == ["no level was ever below nothing"]
    negative = replace(GOOD, levels=(*GOOD.levels, StockLevel(sku="PEN", on_hand=-1, reserved=0, sold=1)))
    assert "no level was ever below nothing" in broken(negative)


def test_goods_taken_twice_for_one_order_are_a_breach() -> None:
    twice = replace(GOOD.changes[1], number=9)

    assert "an order takes what it holds, once" in broken(replace(GOOD, changes=(*GOOD.changes, twice)))


@pytest.mark.parametrize("status", ["RUNNING", "COMPENSATING"])
def test_a_saga_that_does_not_end_is_a_breach(status: str) -> None:
    endless = Saga(saga_id=BOUGHT, order_id=BOUGHT, definition="place_order", status=status)

    assert list(broken(replace(GOOD, sagas=(endless,)))) == ["every saga ends"]


def test_a_saga_that_is_still_stuck_when_all_is_well_is_a_breach() -> None:
    stuck = Saga(saga_id=BOUGHT, order_id=BOUGHT, definition="place_order", status="STUCK", failure="PAYMENT_UNCERTAIN")

    assert "for PAYMENT_UNCERTAIN" in broken(replace(GOOD, sagas=(stuck,)))["no saga is stuck"]


@pytest.mark.parametrize("kind", ["done", "compensated"])
def test_a_step_done_or_undone_twice_is_a_breach(kind: str) -> None:
    again = entry(REFUSED, 9, "reserve_stock", kind)

    assert "no step is done or undone twice" in broken(with_log(again))


def test_two_replicas_at_one_saga_are_a_breach() -> None:
    assert ONE_AT_A_TIME in broken(with_log(entry(BOUGHT, 7, "confirm", "done", holder="one", seconds=8)))


def test_a_lease_taken_before_it_ran_out_is_a_breach() -> None:
    early = entry(BOUGHT, 7, "confirm", "lease_taken", holder="one", seconds=8)
    late = entry(BOUGHT, 7, "confirm", "lease_taken", holder="one", seconds=10)

    assert ONE_AT_A_TIME in broken(with_log(early))
    assert broken(with_log(late)) == {}


@pytest.mark.parametrize("kind", ["done", "gave_up", "retried"])
def test_a_step_that_may_have_been_done_and_was_not_undone_is_a_breach(kind: str) -> None:
    log = (
        *without(GOOD.saga_log, lambda each: each.saga_id == REFUSED),
        entry(REFUSED, 1, "authorize_payment", kind),
        entry(REFUSED, 2, "reserve_stock", "compensating"),
        entry(REFUSED, 3, "reserve_stock", "compensated"),
    )

    found = broken(replace(GOOD, saga_log=log))

    assert found == {
        "a compensated saga has undone all it may have done": f"{REFUSED} authorize_payment was never undone"
    }


def test_a_confirmed_order_without_a_shipment_is_a_breach_and_so_is_one_with_two() -> None:
    again = Shipment(order_id=BOUGHT, shipment_id="sh-9", state="CREATED")

    assert ONE_SHIPMENT in broken(replace(GOOD, shipments=GOOD.shipments[1:]))
    assert ONE_SHIPMENT in broken(replace(GOOD, shipments=(*GOOD.shipments, again)))


@pytest.mark.parametrize("order_id", [CANCELLED, REFUSED, "nowhere"])
def test_a_shipment_of_an_order_that_is_off_is_a_breach(order_id: str) -> None:
    stray = Shipment(order_id=order_id, shipment_id="sh-9", state="DELIVERED")

    assert list(broken(replace(GOOD, shipments=(*GOOD.shipments, stray)))) == [ONE_SHIPMENT]


def test_an_event_that_was_never_published_is_a_breach() -> None:
    assert "every event is published" in broken(replace(GOOD, outbox=changed(GOOD.outbox, 0, is_published=False)))


def test_an_event_of_a_transaction_that_never_was_is_a_breach() -> None:
    rule = "nothing is told that did not happen"
    assert GOOD.on_broker is not None
    invented = replace(GOOD.on_broker[0], event_id="invented")

    assert rule in broken(replace(GOOD, on_broker=(*GOOD.on_broker, invented)))
    assert rule in broken(
        replace(GOOD, inbox={"orders.shipments": dict.fromkeys(("shipping-1", "shipping-2", "invented"), NOON)})
    )


def test_an_event_marked_as_published_that_is_not_on_the_broker_is_a_breach() -> None:
    assert GOOD.on_broker is not None
    rule = "what is marked as published is on the broker"

    assert list(broken(replace(GOOD, on_broker=GOOD.on_broker[1:]))) == [rule]
    assert broken(replace(GOOD, on_broker=None)) == {}


def test_events_out_of_order_are_a_breach_and_late_copies_are_none() -> None:
    assert GOOD.on_broker is not None
    first, second, *others = GOOD.on_broker

    assert "events of one subject are published in order" in broken(replace(GOOD, on_broker=(second, first, *others)))
    assert broken(replace(GOOD, on_broker=(*GOOD.on_broker, first))) == {}


def test_an_event_that_a_subscription_never_applied_is_a_breach() -> None:
    found = broken(replace(GOOD, inbox={"orders.shipments": {"shipping-1": NOON}}))

    assert list(found) == ["every subscription applied every event"]


def test_a_dead_letter_is_a_breach() -> None:
    letter = DeadLetter(subscription="orders.shipments", event_id="x", type="ShipmentDelivered", reason="INTERNAL")

    assert list(broken(replace(GOOD, dead_letters=(letter,)))) == ["no event is given up"]


def test_an_effect_that_happened_twice_is_a_breach() -> None:
    again = event(10, "shop.orders.v1.OrderShipped", BOUGHT)

    found = broken(with_event(again))

    assert HISTORY in found
    assert "what can happen once was published once" in found


def test_others_who_were_told_another_history_are_a_breach() -> None:
    assert HISTORY in broken(order(0, state="CONFIRMED"))
    assert HISTORY in broken(replace(GOOD, outbox=without(GOOD.outbox, lambda each: each.event_id == "orders-7")))
    assert HISTORY in broken(with_event(event(10, "shop.orders.v1.OrderPlaced", "nowhere")))


def test_an_order_that_does_not_stand_where_its_shipment_does_is_a_breach() -> None:
    assert "an order stands where its shipment stands" in broken(order(0, state="SHIPPED"))


def test_an_order_that_came_back_may_have_been_delivered_before() -> None:
    returned = Order(order_id=BOUGHT, user_id=ANNA, state="RETURNED", cancel_reason="", total=1, lines={})

    assert HISTORY not in broken(replace(GOOD, orders=(returned, *GOOD.orders[1:])))
