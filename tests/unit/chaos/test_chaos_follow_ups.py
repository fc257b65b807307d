"""Each promise about what follows an order notices when it is broken: mails, invoices, reports, availability, carts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from scripts.lib.chaos.evidence import Evidence, Order, Payment
from scripts.lib.chaos.records import Mail, Notice, Notification, Refund, Reports, Sold, Tax
from scripts.lib.chaos.verdict import judge
from tests.unit.chaos.good_run import ANNA, BOUGHT, CENT, EURO, GOOD, REFUSED, mail, told

ONE_NOTICE = "each event that is told of has one notice"
TOLD = "each notice is SENT once to whom it is for by each of their channels"
NONE_LOST = "each mail that is SENT is in its mailbox"
NOBODY_ELSE = "each mail went to whom it is for"
ALIKE = "a mail that comes again is the same, by its Message-ID"
INVOICED = "one invoice for each captured payment, on its amount"
CREDITED = "one credit note for each refund, on its amount"
NUMBERED = "numbers of a year go from 1 on, each once, in order"
SUMMED_UP = "an invoice is its order's lines, sending and taxes, to the cent"
AS_BOOKED = "orders, units, revenue, takings and refunds are those of the books"
BY_PRODUCT = "what was sold of each product is what orders hold"
BY_CATEGORY = "categories sum to all sales"
REBUILT = "`weft rebuild analytics` changes nothing"
SHOWN = "availability is what the shelves say, by every replica"
IN_CART = "what was put in is there until an order that bought it is certain"
AS_SEEN = "a check-out buys what was seen, for what was seen"
ADDS_UP = "a total is lines and sending, and taxes are a part of it"


def changed(rows: Sequence[Any], at: int, **fields: object) -> tuple[Any, ...]:
    return (*rows[:at], replace(rows[at], **fields), *rows[at + 1 :])


def broken(evidence: Evidence) -> dict[str, str]:
    """Return promise -> the first breach of it."""
    verdict = judge(evidence)
    return {finding.rule: f"{breach.subject} {breach.text}" for finding, breach in reversed(verdict.breaches)}


def with_mail(at: int, **fields: object) -> Evidence:
    return replace(GOOD, mails=changed(GOOD.mails, at, **fields))


def with_invoice(at: int, **fields: object) -> Evidence:
    return replace(GOOD, invoices=changed(GOOD.invoices, at, **fields))


# Mails.


def test_an_event_that_nobody_was_told_of_is_a_breach() -> None:
    found = broken(replace(GOOD, notices=GOOD.notices[1:], notifications=GOOD.notifications[1:], mails=GOOD.mails[1:]))

    assert found == {ONE_NOTICE: f"orders-2 is shop.orders.v1.OrderConfirmed of {BOUGHT}, and was noted as []"}


@pytest.mark.parametrize("fields", [{"template": "refunded"}, {"user_id": "admin"}])
def test_a_notice_of_something_else_or_for_somebody_else_is_a_breach(fields: dict[str, str]) -> None:
    assert ONE_NOTICE in broken(replace(GOOD, notices=changed(GOOD.notices, 0, **fields)))


@pytest.mark.parametrize("event_id", ["orders-7", "nowhere"])
def test_a_notice_of_what_nobody_needs_to_hear_is_a_breach(event_id: str) -> None:
    stray = Notice(event_id=event_id, template="payment_failed", user_id=ANNA)

    assert ONE_NOTICE in broken(replace(GOOD, notices=(*GOOD.notices, stray)))


@pytest.mark.parametrize("state", ["PENDING", "FAILED"])
def test_a_notification_that_did_not_leave_is_a_breach(state: str) -> None:
    found = broken(replace(GOOD, notifications=changed(GOOD.notifications, 0, state=state)))

    assert found == {TOLD: f"orders-2 order_confirmed should be SENT to anna by email, and is {state} to anna by email"}


def test_a_notice_that_reaches_nobody_twice_the_same_or_another_too_is_a_breach() -> None:
    first, *others = GOOD.notifications
    again = replace(first, notification_id="again")
    another = replace(first, notification_id="another", user_id="bert")

    assert TOLD in broken(replace(GOOD, notifications=tuple(others)))
    assert TOLD in broken(replace(GOOD, notifications=(*GOOD.notifications, again)))
    assert TOLD in broken(replace(GOOD, notifications=(*GOOD.notifications, another)))


def test_a_notification_without_a_notice_is_a_breach() -> None:
    stray = Notification(notification_id="x", event_id="nowhere", user_id=ANNA, channel="email", state="SENT")

    assert TOLD in broken(replace(GOOD, notifications=(*GOOD.notifications, stray)))


def test_a_mail_that_was_sent_and_never_came_is_a_breach() -> None:
    found = broken(replace(GOOD, mails=GOOD.mails[1:]))

    assert found == {NONE_LOST: "orders-2-anna was SENT to anna, and never taken by the mail server"}


def test_a_mail_that_comes_twice_is_none_as_long_as_both_are_the_same() -> None:
    assert broken(replace(GOOD, mails=(*GOOD.mails, GOOD.mails[0]))) == {}
    assert list(broken(replace(GOOD, mails=(*GOOD.mails, replace(GOOD.mails[0], digest="another"))))) == [ALIKE]
    assert list(broken(replace(GOOD, mails=(*GOOD.mails, replace(GOOD.mails[0], message_id="another"))))) == [ALIKE]


@pytest.mark.parametrize(
    "fields",
    [
        {"recipients": ("bert@example.com",)},
        {"recipients": ("anna@example.com", "bert@example.com")},
        {"to": "bert@example.com"},
    ],
)
def test_a_mail_to_the_wrong_person_is_a_breach(fields: dict[str, object]) -> None:
    assert list(broken(with_mail(0, **fields))) == [NOBODY_ELSE]


def test_a_mail_that_nobody_has_sent_is_a_breach() -> None:
    stray: Mail = mail("nowhere")

    assert list(broken(replace(GOOD, mails=(*GOOD.mails, stray)))) == [NOBODY_ELSE]


# Invoices.


def test_a_captured_payment_without_an_invoice_is_a_breach_and_so_is_one_with_two() -> None:
    first = GOOD.invoices[0]

    assert INVOICED in broken(replace(GOOD, invoices=GOOD.invoices[1:]))
    assert INVOICED in broken(replace(GOOD, invoices=(*GOOD.invoices, replace(first, ordinal=4, issued_s=3.0))))


def test_an_invoice_of_what_was_not_captured_is_a_breach() -> None:
    declined = Payment(order_id=BOUGHT, state="DECLINED", amount=29 * EURO, refunded=0)

    assert INVOICED in broken(replace(GOOD, payments=(declined, *GOOD.payments[1:])))


def test_an_invoice_on_another_amount_is_a_breach() -> None:
    found = broken(with_invoice(0, total=28 * EURO))

    assert found[INVOICED] == f"{BOUGHT} was captured for 29.00, and has invoices for 28.00"
    assert SUMMED_UP in found


def test_a_refund_without_a_credit_note_is_a_breach_and_so_is_a_note_without_a_refund() -> None:
    refund = Refund(order_id=BOUGHT, amount=EURO, state="DONE")

    assert list(broken(replace(GOOD, invoices=GOOD.invoices[:-1]))) == [CREDITED]
    assert list(broken(replace(GOOD, refunds=()))) == [CREDITED]
    assert list(broken(replace(GOOD, refunds=(*GOOD.refunds, refund)))) == [CREDITED]


@pytest.mark.parametrize("corrects", [None, (2026, 1)])
def test_a_credit_note_of_another_invoice_is_a_breach(corrects: tuple[int, int] | None) -> None:
    assert list(broken(with_invoice(2, corrects=corrects))) == [CREDITED]


@pytest.mark.parametrize("ordinal", [4, 2])
def test_a_number_left_out_or_given_twice_is_a_breach(ordinal: int) -> None:
    assert NUMBERED in broken(with_invoice(2, ordinal=ordinal))


def test_numbers_that_go_back_in_time_are_a_breach() -> None:
    found = broken(with_invoice(2, issued_s=1.5))

    assert found == {NUMBERED: "2026-000003 was issued 0.500 s before 2026-000002"}


@pytest.mark.parametrize(
    "fields",
    [
        {"sums": 28 * EURO},
        {"lines": {"MUG": 1}},
        {"taxes": ()},
        {"taxes": (Tax(rate_percent="7", gross=29 * EURO, tax=190 * CENT),)},
    ],
)
def test_an_invoice_that_says_something_else_than_its_order_is_a_breach(fields: dict[str, object]) -> None:
    assert list(broken(with_invoice(0, **fields))) == [SUMMED_UP]


# Reports.


@pytest.mark.parametrize("name", ["orders", "units", "revenue", "captured", "refunded"])
@pytest.mark.parametrize("period", ["slot", "day", "month", "year"])
def test_a_report_that_differs_from_the_books_by_the_least_there_is_is_a_breach(period: str, name: str) -> None:
    right = GOOD.reports.sales[period]
    wrong = replace(right, **{name: getattr(right, name) + 1})
    reports = replace(GOOD.reports, sales={**GOOD.reports.sales, period: wrong})

    assert AS_BOOKED in broken(replace(GOOD, reports=reports))


def test_a_report_that_leaves_an_order_out_is_a_breach_also_where_the_order_was_called_off_later() -> None:
    unsold = replace(GOOD.orders[1], was_confirmed=False)

    found = broken(replace(GOOD, orders=(GOOD.orders[0], unsold, GOOD.orders[2])))

    assert {AS_BOOKED, BY_PRODUCT} <= found.keys()


@pytest.mark.parametrize("sku", ["MUG", "PEN"])
def test_a_product_of_which_something_else_was_sold_is_a_breach(sku: str) -> None:
    by_sku = {**GOOD.reports.by_sku, ("day", sku): Sold(orders=1, units=1, revenue=EURO)}

    assert list(broken(replace(GOOD, reports=replace(GOOD.reports, by_sku=by_sku)))) == [BY_PRODUCT]


def test_categories_that_do_not_sum_to_all_sales_are_a_breach() -> None:
    by_category = {**GOOD.reports.by_category, ("day", "kitchen"): Sold(orders=2, units=2, revenue=33 * EURO)}

    assert list(broken(replace(GOOD, reports=replace(GOOD.reports, by_category=by_category)))) == [BY_CATEGORY]


def test_a_rebuild_that_gives_other_rows_is_a_breach() -> None:
    rebuilt = Reports(rows={"purchases": frozenset({"order_id=1", "order_id=3"})})

    assert broken(replace(GOOD, rebuilt=rebuilt)) == {
        REBUILT: "purchases 1 rows are gone and 1 new, as order_id=2 became order_id=3"
    }


# Availability.


@pytest.mark.parametrize(
    ("on_hand", "threshold", "word"), [(0, 5, "OUT"), (5, 5, "LOW"), (6, 5, "IN_STOCK"), (1, 0, "IN_STOCK")]
)
def test_the_catalog_is_to_show_what_is_on_the_shelf(on_hand: int, threshold: int, word: str) -> None:
    levels = changed(GOOD.levels, 0, on_hand=on_hand, threshold=threshold)

    assert SHOWN not in broken(replace(GOOD, levels=levels, shown={"MUG": frozenset({word})}))
    assert SHOWN in broken(replace(GOOD, levels=levels, shown={"MUG": frozenset({"UNSPECIFIED"})}))


def test_one_replica_that_shows_what_was_before_is_a_breach() -> None:
    found = broken(replace(GOOD, shown={"MUG": frozenset({"IN_STOCK", "LOW"})}))

    assert found == {SHOWN: "MUG is shown as IN_STOCK and LOW, with 8 on hand, and 0 are few"}


# Carts.


@pytest.mark.parametrize("left", [2, 4])
def test_a_unit_that_left_the_cart_unbought_or_stayed_though_it_was_bought_is_a_breach(left: int) -> None:
    found = broken(replace(GOOD, carts={(ANNA, "MUG"): left}))

    assert found == {IN_CART: f"anna put 5 of MUG in; 2 bought by certain orders, {left} left"}


def test_what_was_taken_out_may_be_gone_and_is_never_more_than_there_was() -> None:
    removed = frozenset({(ANNA, "MUG"), (ANNA, "PEN")})

    assert broken(replace(GOOD, removed=removed, carts={})) == {}
    assert IN_CART in broken(replace(GOOD, removed=removed, carts={(ANNA, "MUG"): 4}))


def test_a_refused_check_out_takes_nothing_out() -> None:
    request = replace(GOOD.requests["a-3"], is_from_cart=True, total=14 * EURO)
    evidence = replace(
        GOOD,
        requests={**GOOD.requests, "a-3": request},
        answers=(*GOOD.answers, told("place", REFUSED, reason="PAYMENT_DECLINED", key="a-3")),
    )

    assert broken(evidence) == {}


def test_a_cart_bought_twice_is_a_breach() -> None:
    evidence = replace(GOOD, requests={**GOOD.requests, "a-2": replace(GOOD.requests["a-2"], is_from_cart=True)})

    assert IN_CART in broken(evidence)


@pytest.mark.parametrize("fields", [{"total": 28 * EURO}, {"lines": {"MUG": 1}}])
def test_a_check_out_of_something_else_than_was_seen_is_a_breach(fields: dict[str, Any]) -> None:
    request = replace(GOOD.requests["a-1"], **fields)

    assert list(broken(replace(GOOD, requests={**GOOD.requests, "a-1": request}))) == [AS_SEEN]


@pytest.mark.parametrize(
    "taxes",
    [
        (),
        (Tax(rate_percent="19", gross=28 * EURO, tax=447 * CENT),),
        (Tax(rate_percent="19", gross=29 * EURO, tax=462 * CENT),),
        (Tax(rate_percent="7", gross=29 * EURO, tax=463 * CENT),),
    ],
)
def test_taxes_that_are_no_part_of_the_total_or_another_than_the_rate_says_are_a_breach(
    taxes: tuple[Tax, ...],
) -> None:
    assert list(broken(replace(GOOD, quotes=changed(GOOD.quotes, 0, taxes=taxes)))) == [ADDS_UP]


def test_a_total_without_the_sending_is_a_breach() -> None:
    cheap: Order = replace(GOOD.orders[0], shipping=0)

    assert list(broken(replace(GOOD, orders=(cheap, *GOOD.orders[1:])))) == [ADDS_UP]


def test_a_check_out_may_be_refused_for_what_its_cart_has_become_and_an_order_may_not() -> None:
    rule = "no refusal without its cause, and no purchase with a declined card"
    late = told("place", "", reason="CART_CHANGED", key="a-4")
    request = replace(GOOD.requests["a-1"], is_from_cart=False)

    def refused(*, is_from_cart: bool) -> Evidence:
        requests = {**GOOD.requests, "a-4": replace(request, is_from_cart=is_from_cart)}
        return replace(GOOD, answers=(*GOOD.answers, late), requests=requests)

    assert broken(refused(is_from_cart=True)) == {}
    assert list(broken(refused(is_from_cart=False))) == [rule]
