"""Payments through Stripe's own library, against a stand-in on loopback."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from google.api.httpbody_pb2 import HttpBody
from google.type.money_pb2 import Money
from shop.payments.v1 import payments_pb2 as pb
from shop.payments.v1 import payments_pb2_grpc
from sqlalchemy import text

from services.payments.stripe import StripeProvider, StripeWebhooks
from tests.mesh.services.calls import euros, outcome, refusal
from tests.mesh.services.payments.parts import Payments, Tap, replica
from tests.mesh.services.payments.requests import capture, card, part, refund, void
from tests.mesh.services.payments.stripe_stand_in import API_KEY, WEBHOOK_SECRET, StripeStandIn, webhook
from tests.mesh.services.payments.waiting import repeated

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from weft.data import Database

VISA = "pm_card_visa"


@pytest.fixture(name="stripe")
async def _stripe() -> AsyncIterator[StripeStandIn]:
    async with StripeStandIn.running() as stand_in:
        yield stand_in


@pytest.fixture(name="payments")
async def _payments(payments_database: Database, stripe: StripeStandIn) -> AsyncIterator[Payments]:
    async with (
        StripeProvider.open(API_KEY, url=stripe.url) as provider,
        replica(payments_database, Tap(provider), webhooks=StripeWebhooks(WEBHOOK_SECRET)) as payments,
    ):
        yield payments


async def authorized(payments: Payments, amount: str = "14.50") -> str:
    order_id = str(uuid4())
    await payments.orders.AuthorizePayment(payments.request(order_id, VISA, amount))
    return order_id


async def captured(payments: Payments) -> str:
    order_id = await authorized(payments)
    await payments.orders.CapturePayment(capture(order_id))
    return order_id


async def send(payments: Payments, body: bytes, signature: str | None) -> Any:
    metadata = (("stripe-signature", signature),) if signature is not None else ()
    stub = payments_pb2_grpc.PaymentsServiceStub(payments.server.channel)
    event = HttpBody(content_type="application/json", data=body)
    return await stub.HandleStripeWebhook(pb.HandleStripeWebhookRequest(event=event), timeout=10, metadata=metadata)


async def test_money_goes_its_way(payments: Payments, stripe: StripeStandIn) -> None:
    order_id = await captured(payments)
    half = (await payments.admin.RefundPart(part(order_id, "7.25"))).payment
    rest = (await payments.orders.RefundPayment(refund(order_id))).payment

    (intent,) = stripe.intents.values()
    assert (intent["amount"], intent["currency"], intent["capture_method"]) == (1450, "eur", "manual")
    assert intent["metadata"] == {"order_id": order_id}
    assert (half.state, half.refunded) == (pb.Payment.STATE_CAPTURED, euros("7.25"))
    assert (rest.state, rest.refunded) == (pb.Payment.STATE_REFUNDED, euros("14.50"))
    assert stripe.done == {"confirm": 1, "succeeded": 1, "refund": 2}
    assert await payments.events(order_id) == [
        "PaymentAuthorized", "PaymentCaptured", "PaymentRefunded", "PaymentRefunded",
    ]  # fmt: skip


async def test_the_intents_name_is_committed_before_any_money_moves(payments: Payments, stripe: StripeStandIn) -> None:
    names: list[tuple[str, str | None]] = []

    async def look(path: str) -> None:
        async with payments.database.transaction() as tx:
            names.append((path, await tx.scalar(text("select provider_reference from payments"))))

    stripe.before = look
    await authorized(payments)

    (name,) = stripe.intents
    assert names == [("payment_intents", None), ("confirm", name)]


@pytest.mark.parametrize(
    ("method", "code"),
    [
        ("pm_card_chargeDeclined", "generic_decline"),
        ("pm_card_authenticationRequired", "authentication_required"),
        ("pm_unknown", "resource_missing"),
    ],
)
async def test_a_card_is_declined_with_stripes_code(
    payments: Payments, stripe: StripeStandIn, method: str, code: str
) -> None:
    order_id = str(uuid4())

    error = await refusal(payments.orders.AuthorizePayment(payments.request(order_id, method)))

    assert (error.reason, error.metadata["decline_code"]) == ("PAYMENT_DECLINED", code)
    assert await payments.state(order_id) == "DECLINED"
    assert stripe.done == {}


@pytest.mark.parametrize(
    ("amount", "code"),
    [
        (Money(currency_code="EUR", nanos=100_000_000), "amount_too_small"),
        (Money(currency_code="UGX", units=5000), "currency_not_supported"),
    ],
    ids=str,
)
async def test_an_amount_stripe_does_not_take_is_declined(payments: Payments, amount: Money, code: str) -> None:
    wanted = payments.request(str(uuid4()), VISA)
    wanted.amount.CopyFrom(amount)

    error = await refusal(payments.orders.AuthorizePayment(wanted))

    assert (error.reason, error.metadata["decline_code"]) == ("PAYMENT_DECLINED", code)


@pytest.mark.parametrize("lost", ["payment_intents", "confirm"])
async def test_an_answer_that_is_lost_while_authorising_does_not_charge_twice(
    payments: Payments, stripe: StripeStandIn, lost: str
) -> None:
    order_id = str(uuid4())
    wanted = payments.request(order_id, VISA)
    stripe.lose = {lost, "retrieve"}

    error = await refusal(payments.orders.AuthorizePayment(wanted))
    stripe.lose = set()
    await payments.orders.AuthorizePayment(wanted)

    assert error.reason == "PAYMENT_UNCERTAIN"
    assert len(stripe.intents) == 1
    assert stripe.done == {"confirm": 1}
    assert await payments.events(order_id) == ["PaymentAuthorized"]


@pytest.mark.parametrize("call", ["capture", "cancel", "refunds"])
async def test_an_answer_that_is_lost_later_is_asked_for(payments: Payments, stripe: StripeStandIn, call: str) -> None:
    order_id = await (captured(payments) if call == "refunds" else authorized(payments))
    stripe.lose = {call}

    if call == "capture":
        await payments.orders.CapturePayment(capture(order_id))
    elif call == "cancel":
        await payments.orders.VoidPayment(void(order_id))
    else:
        error = await refusal(payments.admin.RefundPart(part(order_id, "1", "r")))  # the list is lost too
        stripe.lose = set()
        await payments.admin.RefundPart(part(order_id, "1", "r"))
        assert error.reason == "PAYMENT_UNCERTAIN"

    done = {"capture": "succeeded", "cancel": "canceled", "refunds": "refund"}[call]
    assert stripe.done[done] == 1
    assert (await payments.row(order_id)).pending is None


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_failures_of_stripe_are_waited_for(payments: Payments, stripe: StripeStandIn, status: int) -> None:
    order_id = await authorized(payments)
    stripe.fail = {"capture": status}

    error = await refusal(payments.orders.CapturePayment(capture(order_id)))
    stripe.fail = {}
    stripe.answers = {key: answer for key, answer in stripe.answers.items() if answer[1] < 500}  # a day later
    await payments.settle()

    assert (error.code, error.reason) == ("UNAVAILABLE", "PAYMENT_UNCERTAIN")
    assert await payments.state(order_id) == "CAPTURED"
    assert stripe.done["succeeded"] == 1


async def test_a_failure_that_stripe_remembers_can_still_be_called_off(
    payments: Payments, stripe: StripeStandIn
) -> None:
    order_id = str(uuid4())
    stripe.fail = {"confirm": 500}
    await outcome(payments.orders.AuthorizePayment(payments.request(order_id, VISA)))
    stripe.fail = {}

    again = await outcome(payments.orders.AuthorizePayment(payments.request(order_id, VISA)))
    await payments.orders.VoidPayment(void(order_id))

    assert again == "PAYMENT_UNCERTAIN"
    assert [intent["status"] for intent in stripe.intents.values()] == ["canceled"]  # it can't arrive late any more
    assert await payments.state(order_id) == "VOIDED"


async def test_an_order_voided_before_it_is_paid_asks_stripe_nothing(payments: Payments, stripe: StripeStandIn) -> None:
    order_id = str(uuid4())

    await payments.orders.VoidPayment(void(order_id))

    assert stripe.requests == []
    assert await outcome(payments.orders.AuthorizePayment(payments.request(order_id, VISA))) == "PAYMENT_CLOSED"
    assert stripe.requests == []


async def test_fifty_calls_at_once_make_one_charge(payments: Payments, stripe: StripeStandIn) -> None:
    order_id = str(uuid4())

    async def authorize() -> Any:
        return await repeated(lambda: payments.orders.AuthorizePayment(payments.request(order_id, VISA)))

    answers = await asyncio.gather(*(authorize() for _ in range(50)))

    assert {answer.payment.state for answer in answers} == {pb.Payment.STATE_AUTHORIZED}
    assert (len(stripe.intents), stripe.done) == (1, {"confirm": 1})


async def test_a_refused_key_is_loud_and_nothing_is_lost(
    payments_database: Database, stripe: StripeStandIn, caplog: pytest.LogCaptureFixture
) -> None:
    wrong = "sk_test_" + "x" * 24
    async with StripeProvider.open(wrong, url=stripe.url) as provider, replica(payments_database, provider) as payments:
        with caplog.at_level(logging.DEBUG):
            error = await refusal(payments.orders.AuthorizePayment(payments.request(str(uuid4()), VISA)))

    assert error.reason == "PAYMENT_UNCERTAIN"
    assert "Stripe does not accept the key" in caplog.text
    assert wrong not in caplog.text


async def test_a_card_that_stripe_does_not_take_is_invalid(payments: Payments) -> None:
    token = (await payments.owner.CreatePaymentMethod(card("4242424242424242"))).payment_method
    error = await refusal(payments.owner.CreatePaymentMethod(card("4242424242424241")))

    assert token.startswith("pm_")
    assert (error.reason, error.metadata) == ("CARD_INVALID", {"code": "incorrect_number"})


async def test_a_webhook_has_stripe_asked_and_is_not_believed(payments: Payments, stripe: StripeStandIn) -> None:
    order_id = await captured(payments)
    ((name, intent),) = stripe.intents.items()
    body, signature = webhook(intent | {"status": "canceled"})  # so it says

    for _ in range(2):
        await send(payments, body, signature)
    due = (await payments.row(order_id)).due_time
    await payments.cashier.settle_due()

    assert due is not None
    assert stripe.requests[-2][:2] == ("GET", f"/v1/payment_intents/{name}")
    assert await payments.state(order_id) == "CAPTURED"
    assert (await payments.row(order_id)).due_time is None


async def test_money_given_back_at_stripes_own_desk_is_noticed(payments: Payments, stripe: StripeStandIn) -> None:
    order_id = await captured(payments)
    (charge,) = stripe.charges.values()
    (name,) = stripe.intents
    charge["amount_refunded"] = 1450
    body, signature = webhook({"id": charge["id"], "object": "charge", "payment_intent": name})

    await send(payments, body, signature)
    await payments.cashier.settle_due()

    assert await payments.state(order_id) == "REFUNDED"
    assert await payments.events(order_id) == ["PaymentAuthorized", "PaymentCaptured", "PaymentRefunded"]


async def test_a_webhook_that_comes_while_money_moves_is_not_forgotten(
    payments: Payments, stripe: StripeStandIn
) -> None:
    order_id = await authorized(payments)
    (intent,) = stripe.intents.values()
    body, signature = webhook(intent)

    async def meanwhile(path: str) -> None:
        if path == "capture":
            await send(payments, body, signature)

    stripe.before = meanwhile
    await payments.orders.CapturePayment(capture(order_id))

    assert (await payments.row(order_id)).due_time is not None


async def test_a_webhook_about_something_else_is_taken_and_does_nothing(payments: Payments) -> None:
    await send(payments, *webhook({"id": "cus_1", "object": "customer"}))
    await send(payments, *webhook({"id": "pi_of_another_shop", "object": "payment_intent"}))


@pytest.mark.parametrize("wrong", ["secret", "age", "body", "missing", "empty", "garbage", "not UTF-8"])
async def test_a_webhook_with_a_wrong_signature_is_refused(
    payments: Payments, stripe: StripeStandIn, wrong: str
) -> None:
    order_id = await captured(payments)
    (intent,) = stripe.intents.values()
    body, signature = webhook(
        intent, secret="whsec_other" if wrong == "secret" else WEBHOOK_SECRET, age_s=3600 if wrong == "age" else 0
    )
    forged: dict[str, tuple[bytes, str | None]] = {
        "body": (body + b" ", signature),
        "missing": (body, None),
        "empty": (body, ""),
        "garbage": (body, "t=yesterday,v1=,=,"),
        "not UTF-8": (b"\xff", signature),
    }

    error = await refusal(send(payments, *forged.get(wrong, (body, signature))))

    assert (error.code, error.reason) == ("UNAUTHENTICATED", "SIGNATURE_INVALID")
    assert (await payments.row(order_id)).due_time is None
