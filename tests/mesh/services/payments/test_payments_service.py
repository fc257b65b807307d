"""Payments against the simulated provider when nothing goes wrong, or goes wrong in the ways a card can."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from google.type.money_pb2 import Money
from shop.payments.v1 import events_pb2, payments_pb2_grpc
from shop.payments.v1 import payments_pb2 as pb
from sqlalchemy import text

from tests.mesh.services.calls import Calls, euros, outcome, refusal
from tests.mesh.services.payments.requests import capture, card, part, refund, void
from tests.mesh.services.payments.waiting import repeated

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.mesh.services.payments.parts import Payments, Simulator


async def test_an_orders_money_is_held_taken_and_given_back(payments: Payments, simulator: Simulator) -> None:
    order_id = str(uuid4())

    held = (await payments.orders.AuthorizePayment(payments.request(order_id))).payment
    taken = (await payments.orders.CapturePayment(capture(order_id))).payment
    given_back = (await payments.orders.RefundPayment(refund(order_id))).payment

    assert (held.order_id, held.user_id, held.amount) == (order_id, payments.user_id, euros("14.50"))
    states = [held.state, taken.state, given_back.state]
    assert states == [pb.Payment.STATE_AUTHORIZED, pb.Payment.STATE_CAPTURED, pb.Payment.STATE_REFUNDED]
    assert given_back.refunded == euros("14.50")
    assert await simulator.money(order_id) == (1450, 1450, 0, 1450)
    assert await payments.events(order_id) == ["PaymentAuthorized", "PaymentCaptured", "PaymentRefunded"]
    assert (await payments.row(order_id)).due_time is None


async def test_what_is_held_can_be_let_go(payments: Payments, simulator: Simulator) -> None:
    order_id = await payments.authorized()

    await payments.orders.VoidPayment(void(order_id))

    assert await payments.state(order_id) == "VOIDED"
    assert await simulator.money(order_id) == (1450, 0, 1450, 0)
    assert await payments.events(order_id) == ["PaymentAuthorized", "PaymentVoided"]


@pytest.mark.parametrize("number", ["4242424242424242", "5555555555554444", "378282246310005"])
async def test_a_card_becomes_a_token_to_pay_with(payments: Payments, simulator: Simulator, number: str) -> None:
    order_id = str(uuid4())

    token = (await payments.owner.CreatePaymentMethod(card(number))).payment_method
    await payments.orders.AuthorizePayment(payments.request(order_id, token))

    assert token.startswith("pm_")
    assert await simulator.money(order_id) == (1450, 0, 0, 0)


@pytest.mark.parametrize(
    ("wrong", "code"),
    [(card("4242424242424241"), "incorrect_number"), (card("4242424242424242", expiry_year=2020), "expired_card")],
)
async def test_a_card_that_cannot_be_is_refused(
    payments: Payments, wrong: pb.CreatePaymentMethodRequest, code: str
) -> None:
    error = await refusal(payments.owner.CreatePaymentMethod(wrong))

    assert (error.code, error.reason, error.metadata) == ("INVALID_ARGUMENT", "CARD_INVALID", {"code": code})


@pytest.mark.parametrize("method", ["pm_test_declined", "4000000000000002", "pm_nobody_knows"])
async def test_a_declined_payment_stays_declined(payments: Payments, simulator: Simulator, method: str) -> None:
    order_id = str(uuid4())
    if method.isdigit():
        method = (await payments.owner.CreatePaymentMethod(card(method))).payment_method

    error = await refusal(payments.orders.AuthorizePayment(payments.request(order_id, method)))
    again = await refusal(payments.orders.AuthorizePayment(payments.request(order_id)))

    code = "payment_method_unknown" if method == "pm_nobody_knows" else "card_declined"
    assert (error.code, error.reason) == ("FAILED_PRECONDITION", "PAYMENT_DECLINED")
    assert error.metadata == {"order_id": order_id, "decline_code": code}
    assert again.reason == "PAYMENT_DECLINED"
    assert (await payments.get(order_id)).decline_code == code
    assert await simulator.money(order_id) == (0, 0, 0, 0)
    assert await payments.events(order_id) == ["PaymentDeclined"]
    assert await outcome(payments.orders.CapturePayment(capture(order_id))) == "PAYMENT_CLOSED"
    await payments.orders.VoidPayment(void(order_id))  # nothing is held: nothing to do
    await payments.orders.RefundPayment(refund(order_id))


@pytest.mark.parametrize("request_id", ["", "once"])
async def test_repeats_change_nothing(payments: Payments, simulator: Simulator, request_id: str) -> None:
    order_id = str(uuid4())
    wanted = payments.request(order_id)
    wanted.request_id = request_id

    first = [await payments.orders.AuthorizePayment(wanted) for _ in range(3)]
    second = [await payments.orders.CapturePayment(capture(order_id, request_id=request_id)) for _ in range(3)]
    third = [await payments.orders.RefundPayment(refund(order_id, request_id=request_id)) for _ in range(3)]

    assert first[0] == first[1] == first[2]
    assert second[0] == second[1] == second[2]
    assert third[0] == third[1] == third[2]
    account = await simulator.account(order_id)
    assert (account["authorisations"], account["captured"], account["refunded"]) == (1, 1450, 1450)
    assert len(account["refunds"]) == 1
    assert await payments.events(order_id) == ["PaymentAuthorized", "PaymentCaptured", "PaymentRefunded"]


async def test_an_order_has_one_payment_of_one_amount_and_one_user(payments: Payments, simulator: Simulator) -> None:
    order_id = await payments.authorized()
    another = payments.request(order_id)
    another.user_id = "somebody else"

    errors = [
        await refusal(payments.orders.AuthorizePayment(payments.request(order_id, amount="14.51"))),
        await refusal(payments.orders.AuthorizePayment(another)),
    ]

    assert {(error.code, error.reason) for error in errors} == {("INVALID_ARGUMENT", "PAYMENT_DIFFERS")}
    assert await simulator.money(order_id) == (1450, 0, 0, 0)


async def test_fifty_calls_at_once_hold_the_money_once(
    payments: Payments, simulator: Simulator, another_replica: Callable[[], Any]
) -> None:
    order_id, go = str(uuid4()), asyncio.Event()
    await simulator.faults(delay_s=0.1)

    async def authorize(replica: Payments) -> Any:
        await go.wait()
        return await repeated(lambda: replica.orders.AuthorizePayment(payments.request(order_id)))

    async with another_replica() as other:
        calls = [asyncio.create_task(authorize(replica)) for replica in [payments, other] * 25]
        go.set()
        answers = await asyncio.gather(*calls)

    assert {answer.payment.state for answer in answers} == {pb.Payment.STATE_AUTHORIZED}
    assert (await simulator.account(order_id))["authorisations"] == 1
    assert await payments.events(order_id) == ["PaymentAuthorized"]


async def test_fifty_refunds_at_once_never_give_back_more_than_was_taken(
    payments: Payments, simulator: Simulator
) -> None:
    order_id = await payments.captured("10")

    async def refund_part(request_id: str) -> Any:
        return await repeated(lambda: payments.admin.RefundPart(part(order_id, "3", request_id)))

    answers = await asyncio.gather(*(refund_part(f"r{n % 10}") for n in range(50)))

    account = await simulator.account(order_id)
    assert account["refunded"] == 900
    assert len(account["refunds"]) == 3
    assert {answer for answer in answers if isinstance(answer, str)} <= {"REFUND_TOO_LARGE", "CONFLICT"}
    assert (await payments.get(order_id)).refunded == euros("9")


async def test_parts_are_given_back_until_nothing_is_left(payments: Payments, simulator: Simulator) -> None:
    order_id = await payments.captured("14.50")

    first = (await payments.admin.RefundPart(part(order_id, "4.50", "broken-mug"))).payment
    again = (await payments.admin.RefundPart(part(order_id, "4.50", "broken-mug"))).payment
    too_large = await refusal(payments.admin.RefundPart(part(order_id, "10.01", "greed")))
    rest = (await payments.orders.RefundPayment(refund(order_id))).payment
    nothing_left = await refusal(payments.admin.RefundPart(part(order_id, "0.01")))

    assert (first.state, first.refunded) == (pb.Payment.STATE_CAPTURED, euros("4.50"))
    assert again == first
    assert (too_large.code, too_large.reason) == ("FAILED_PRECONDITION", "REFUND_TOO_LARGE")
    assert too_large.metadata["left"] == "10.00 EUR"
    assert (rest.state, rest.refunded) == (pb.Payment.STATE_REFUNDED, euros("14.50"))
    assert nothing_left.reason == "REFUND_TOO_LARGE"
    assert await simulator.money(order_id) == (1450, 1450, 0, 1450)
    assert await payments.events(order_id) == [
        "PaymentAuthorized", "PaymentCaptured", "PaymentRefunded", "PaymentRefunded",
    ]  # fmt: skip


async def test_a_refund_says_how_much_it_was_and_how_much_it_is_in_all(payments: Payments) -> None:
    order_id = await payments.captured("14.50")

    await payments.admin.RefundPart(part(order_id, "4.50"))
    await payments.admin.RefundPart(part(order_id, "1"))

    async with payments.database.transaction() as tx:
        rows = await tx.all(
            text("select data from outbox where subject = :id order by sequence").bindparams(id=order_id)
        )
    event = events_pb2.PaymentRefunded.FromString(rows[-1][0])
    assert (event.order_id, event.user_id) == (order_id, payments.user_id)
    assert (event.amount, event.refunded) == (euros("1"), euros("5.50"))


async def test_a_part_whose_stored_answer_is_gone_is_not_given_back_twice(
    payments: Payments, simulator: Simulator
) -> None:
    order_id = await payments.captured()
    await payments.admin.RefundPart(part(order_id, "1", "a"))
    async with payments.database.transaction() as tx:
        await tx.execute(text("delete from request_answers"))

    await payments.admin.RefundPart(part(order_id, "1", "a"))
    async with payments.database.transaction() as tx:
        await tx.execute(text("delete from request_answers"))
    error = await refusal(payments.admin.RefundPart(part(order_id, "2", "a")))

    assert error.reason == "REQUEST_ID_REUSED"
    assert (await simulator.account(order_id))["refunded"] == 100


async def test_what_is_only_held_is_voided_instead_of_refunded(payments: Payments, simulator: Simulator) -> None:
    order_id = await payments.authorized()

    part_error = await refusal(payments.admin.RefundPart(part(order_id, "1")))
    payment = (await payments.orders.RefundPayment(refund(order_id))).payment

    assert (part_error.code, part_error.reason) == ("FAILED_PRECONDITION", "PAYMENT_NOT_CAPTURED")
    assert payment.state == pb.Payment.STATE_VOIDED
    assert await simulator.money(order_id) == (1450, 0, 1450, 0)


async def test_what_was_taken_is_not_voided(payments: Payments, simulator: Simulator) -> None:
    order_id = await payments.captured()

    error = await refusal(payments.orders.VoidPayment(void(order_id)))

    assert (error.code, error.reason) == ("FAILED_PRECONDITION", "PAYMENT_CAPTURED")
    assert await simulator.money(order_id) == (1450, 1450, 0, 0)


async def test_a_voided_payment_is_closed(payments: Payments, simulator: Simulator) -> None:
    order_id = await payments.authorized()
    await payments.orders.VoidPayment(void(order_id))

    errors = [
        await refusal(payments.orders.AuthorizePayment(payments.request(order_id))),
        await refusal(payments.orders.CapturePayment(capture(order_id))),
    ]

    assert {(error.code, error.reason) for error in errors} == {("FAILED_PRECONDITION", "PAYMENT_CLOSED")}
    await payments.orders.VoidPayment(void(order_id))
    assert await simulator.money(order_id) == (1450, 0, 1450, 0)


async def test_an_order_voided_before_it_is_paid_can_never_be_paid(payments: Payments, simulator: Simulator) -> None:
    order_id = str(uuid4())

    await payments.orders.VoidPayment(void(order_id))
    late = await refusal(payments.orders.AuthorizePayment(payments.request(order_id)))

    assert (late.code, late.reason) == ("FAILED_PRECONDITION", "PAYMENT_CLOSED")
    assert await simulator.account(order_id) == {}
    assert await payments.events(order_id) == []
    assert (await refusal(payments.admin.GetPayment(pb.GetPaymentRequest(order_id=order_id)))).code == "NOT_FOUND"
    assert list((await payments.admin.ListPayments(pb.ListPaymentsRequest())).payments) == []


async def test_an_order_without_a_payment_has_nothing_to_take_or_give_back(payments: Payments) -> None:
    order_id = str(uuid4())

    errors = [
        await refusal(payments.orders.CapturePayment(capture(order_id))),
        await refusal(payments.orders.RefundPayment(refund(order_id))),
        await refusal(payments.admin.RefundPart(part(order_id, "1"))),
        await refusal(payments.admin.GetPayment(pb.GetPaymentRequest(order_id=order_id))),
    ]

    assert {(error.code, error.reason) for error in errors} == {("NOT_FOUND", "PAYMENT_NOT_FOUND")}


@pytest.mark.parametrize(
    ("amount", "held"),
    [
        (Money(currency_code="JPY", units=500), 500),
        (Money(currency_code="KWD", units=1, nanos=5_000_000), 1005),
        (Money(currency_code="EUR", nanos=10_000_000), 1),
        (Money(currency_code="EUR", units=10_000_000_000_000, nanos=990_000_000), 1_000_000_000_000_099),
    ],
    ids=str,
)
async def test_an_amount_is_exact_in_every_currency(
    payments: Payments, simulator: Simulator, amount: Money, held: int
) -> None:
    order_id = str(uuid4())
    wanted = payments.request(order_id)
    wanted.amount.CopyFrom(amount)

    payment = (await payments.orders.AuthorizePayment(wanted)).payment

    assert payment.amount == amount
    assert (await simulator.account(order_id))["authorised"] == held


@pytest.mark.parametrize(
    "amount",
    [Money(currency_code="EUR", units=1, nanos=5_000_000), Money(currency_code="JPY", units=1, nanos=500_000_000)],
    ids=str,
)
async def test_a_fraction_of_the_smallest_unit_cannot_be_paid(payments: Payments, amount: Money) -> None:
    wanted = payments.request(str(uuid4()))
    wanted.amount.CopyFrom(amount)

    error = await refusal(payments.orders.AuthorizePayment(wanted))

    assert (error.code, error.reason) == ("INVALID_ARGUMENT", "INVALID_FIELDS")
    assert [violation.field for violation in error.violations] == ["amount.nanos"]


async def test_a_refund_is_in_the_currency_of_its_payment(payments: Payments) -> None:
    wanted = part(await payments.captured(), "1")
    wanted.amount.currency_code = "USD"

    error = await refusal(payments.admin.RefundPart(wanted))

    assert [violation.field for violation in error.violations] == ["amount.currencyCode"]


async def test_a_payment_is_seen_by_its_owner_and_by_administrators(payments: Payments) -> None:
    order_id = await payments.authorized()
    stub = payments_pb2_grpc.PaymentsServiceStub(payments.server.channel)
    wanted = pb.GetPaymentRequest(order_id=order_id)

    mine = (await payments.owner.GetPayment(wanted)).payment
    admins = (await payments.admin.GetPayment(wanted)).payment
    others = await refusal(Calls(stub, payments.server.token(str(uuid4()))).GetPayment(wanted))

    assert mine == admins
    assert (others.code, others.reason) == ("NOT_FOUND", "PAYMENT_NOT_FOUND")


async def test_money_is_moved_by_orders_only(payments: Payments) -> None:
    order_id = await payments.authorized()
    stub = payments_pb2_grpc.PaymentsServiceStub(payments.server.channel)
    nobody, stranger = Calls(stub), Calls(stub, payments.server.service_token("stranger"))

    for calls, code in (
        (nobody, "UNAUTHENTICATED"),
        (payments.admin, "UNAUTHENTICATED"),
        (stranger, "PERMISSION_DENIED"),
    ):
        for refused in (
            calls.AuthorizePayment(payments.request(order_id)),
            calls.CapturePayment(capture(order_id)),
            calls.VoidPayment(void(order_id)),
            calls.RefundPayment(refund(order_id)),
        ):
            assert (await refusal(refused)).code == code
    assert (await refusal(payments.owner.RefundPart(part(order_id, "1")))).reason == "ROLE_MISSING"
    assert (await refusal(payments.owner.ListPayments(pb.ListPaymentsRequest()))).reason == "ROLE_MISSING"
    assert (await refusal(nobody.CreatePaymentMethod(card("4242424242424242")))).code == "UNAUTHENTICATED"
    assert await payments.state(order_id) == "AUTHORIZED"


async def test_payments_are_listed_newest_first_page_by_page(payments: Payments) -> None:
    order_ids = [await payments.authorized() for _ in range(5)]

    listed, token = [], ""
    while True:
        page = await payments.admin.ListPayments(pb.ListPaymentsRequest(page_size=2, page_token=token))
        listed += [payment.order_id for payment in page.payments]
        token = page.next_page_token
        if not token:
            break

    assert listed == order_ids[::-1]
    error = await refusal(payments.admin.ListPayments(pb.ListPaymentsRequest(page_token="forged")))
    assert error.reason == "PAGE_TOKEN_INVALID"


async def test_webhooks_of_stripe_are_refused_where_payments_do_not_go_through_it(payments: Payments) -> None:
    stub = payments_pb2_grpc.PaymentsServiceStub(payments.server.channel)

    error = await refusal(Calls(stub).HandleStripeWebhook(pb.HandleStripeWebhookRequest()))

    assert (error.code, error.reason) == ("FAILED_PRECONDITION", "PROVIDER_NOT_STRIPE")
