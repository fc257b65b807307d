"""What becomes of money when answers are lost, the provider is away, or either side is killed at the worst moment."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable
from random import Random
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from services.payments.provider import Declined, ProviderUncertain
from services.payments.schedule import WATCHES
from services.payments.simulated import SimulatedProvider
from tests.mesh.services.calls import outcome, refusal
from tests.mesh.services.payments.parts import Payments, Simulator, Tap, replica
from tests.mesh.services.payments.requests import capture, part, refund, void
from tests.mesh.services.payments.waiting import Eventually, is_held, is_pending, repeated

if TYPE_CHECKING:
    pass


async def test_an_answer_that_is_lost_is_asked_for(payments: Payments, simulator: Simulator) -> None:
    order_id = str(uuid4())

    await payments.orders.AuthorizePayment(payments.request(order_id, "pm_test_answer_lost"))

    assert await payments.state(order_id) == "AUTHORIZED"
    assert (await simulator.account(order_id))["authorisations"] == 1
    assert await payments.events(order_id) == ["PaymentAuthorized"]


async def test_a_slow_provider_is_asked_again_until_it_is_known(payments: Payments, simulator: Simulator) -> None:
    order_id = str(uuid4())
    wanted = payments.request(order_id, "pm_test_slow")

    first = await refusal(payments.orders.AuthorizePayment(wanted))
    pending = await payments.state(order_id)
    await repeated(lambda: payments.orders.AuthorizePayment(wanted))

    assert (first.code, first.reason, first.metadata) == ("UNAVAILABLE", "PAYMENT_UNCERTAIN", {"order_id": order_id})
    assert first.retry_after_s == 1
    assert pending == "AUTHORIZING"
    assert await payments.state(order_id) == "AUTHORIZED"
    assert (await simulator.account(order_id))["authorisations"] == 1
    assert await payments.events(order_id) == ["PaymentAuthorized"]


async def test_a_provider_that_is_down_leaves_nothing_and_the_order_can_be_called_off(
    payments: Payments, simulator: Simulator
) -> None:
    order_id = str(uuid4())
    wanted = payments.request(order_id, "pm_test_down")

    error = await refusal(payments.orders.AuthorizePayment(wanted))
    await payments.settle()
    still = await refusal(payments.orders.AuthorizePayment(wanted))
    await payments.orders.VoidPayment(void(order_id))

    assert error.reason == still.reason == "PAYMENT_UNCERTAIN"
    assert await payments.state(order_id) == "VOIDED"
    assert await simulator.account(order_id) == {}
    assert await payments.events(order_id) == []  # nobody heard of it, nobody needs to


OPERATIONS: dict[str, tuple[str, Callable[[Payments, str], Awaitable[Any]], tuple[int, int, int, int]]] = {
    "capture": ("authorized", lambda p, order: p.orders.CapturePayment(capture(order)), (1450, 1450, 0, 0)),
    "void": ("authorized", lambda p, order: p.orders.VoidPayment(void(order)), (1450, 0, 1450, 0)),
    "refund": ("captured", lambda p, order: p.orders.RefundPayment(refund(order)), (1450, 1450, 0, 1450)),
    "part": ("captured", lambda p, order: p.admin.RefundPart(part(order, "2", "r")), (1450, 1450, 0, 200)),
}


@pytest.mark.parametrize("operation", OPERATIONS)
async def test_an_answer_that_is_lost_and_a_question_too_leave_it_open_until_it_is_asked(
    payments: Payments, simulator: Simulator, operation: str
) -> None:
    given, call, money = OPERATIONS[operation]
    order_id = await getattr(payments, given)()
    before = await payments.events(order_id)
    await simulator.faults(lose_ratio=1)

    error = await refusal(call(payments, order_id))
    unknown = await payments.events(order_id)
    await simulator.faults()
    await payments.settle()

    assert (error.code, error.reason) == ("UNAVAILABLE", "PAYMENT_UNCERTAIN")
    assert unknown == before
    assert await simulator.money(order_id) == money
    assert (await payments.row(order_id)).pending is None
    await call(payments, order_id)
    assert await simulator.money(order_id) == money
    assert len(await payments.events(order_id)) == len(before) + 1


@pytest.mark.parametrize("operation", OPERATIONS)
async def test_what_was_begun_while_the_provider_is_away_is_done_once_it_is_back(
    payments: Payments, simulator: Simulator, operation: str
) -> None:
    given, call, money = OPERATIONS[operation]
    order_id = await getattr(payments, given)()
    simulator.kill()

    error = await refusal(call(payments, order_id))
    await payments.settle()
    simulator.start()
    untouched = await simulator.money(order_id)
    await payments.settle()

    assert (error.code, error.reason) == ("UNAVAILABLE", "PAYMENT_UNCERTAIN")
    assert untouched != money
    assert await simulator.money(order_id) == money
    await call(payments, order_id)
    assert await simulator.money(order_id) == money


async def test_every_repeat_carries_the_key_of_the_first_so_that_it_is_harmless_if_that_arrives_late(
    tapped: Payments, tap: Tap
) -> None:
    order_id = str(uuid4())
    fails = True

    async def lose(name: str) -> None:
        if fails and name != "find":
            raise ProviderUncertain

    tap.before = lose
    calls: list[Callable[[], Awaitable[Any]]] = [
        lambda: tapped.orders.AuthorizePayment(tapped.request(order_id)),
        lambda: tapped.orders.CapturePayment(capture(order_id)),
        lambda: tapped.admin.RefundPart(part(order_id, "1", "r")),
        lambda: tapped.orders.RefundPayment(refund(order_id)),
    ]
    for call in calls:
        fails = True
        assert [await outcome(call()) for _ in range(2)] == ["PAYMENT_UNCERTAIN"] * 2
        fails = False
        await call()

    assert Counter(name for name, _ in tap.keys) == {"authorize": 3, "capture": 3, "refund": 6}
    assert sorted(Counter(tap.keys).values()) == [3, 3, 3, 3]


async def test_an_authorisation_is_repeated_by_its_caller_once_the_provider_is_back(
    payments: Payments, simulator: Simulator
) -> None:
    order_id = str(uuid4())
    wanted = payments.request(order_id)
    simulator.kill()

    error = await refusal(payments.orders.AuthorizePayment(wanted))
    simulator.start()
    await payments.settle()  # has no token to repeat it with
    waiting = await payments.state(order_id)
    await payments.orders.AuthorizePayment(wanted)

    assert error.reason == "PAYMENT_UNCERTAIN"
    assert waiting == "AUTHORIZING"
    assert await simulator.money(order_id) == (1450, 0, 0, 0)


async def test_a_provider_killed_in_the_middle_of_a_call_is_asked_when_it_is_back(
    payments: Payments, simulator: Simulator, eventually: Eventually
) -> None:
    order_id = str(uuid4())
    wanted = payments.request(order_id)
    await simulator.faults(delay_s=60)

    call = asyncio.create_task(outcome(payments.orders.AuthorizePayment(wanted)))
    await eventually(lambda: is_pending(payments.database, order_id))
    simulator.kill()
    answer = await call
    simulator.start()
    await payments.orders.AuthorizePayment(wanted)

    assert answer == "PAYMENT_UNCERTAIN"
    assert (await simulator.account(order_id))["authorisations"] == 1


async def test_an_authorisation_that_arrives_after_its_payment_was_voided_is_voided_too(
    payments: Payments, simulator: Simulator, eventually: Eventually
) -> None:
    order_id = str(uuid4())
    slow = payments.request(order_id, "pm_test_slow")

    uncertain = await outcome(payments.orders.AuthorizePayment(slow))
    await payments.orders.VoidPayment(void(order_id))
    nothing_yet = await simulator.money(order_id)
    await eventually(lambda: is_held(simulator, order_id))
    await payments.settle()

    assert uncertain == "PAYMENT_UNCERTAIN"
    assert nothing_yet == (0, 0, 0, 0)
    assert await payments.state(order_id) == "VOIDED"
    assert await simulator.money(order_id) == (1450, 0, 1450, 0)


async def test_a_void_overtakes_an_authorisation_that_is_under_way(
    tapped: Payments, tap: Tap, payments: Payments, simulator: Simulator
) -> None:
    order_id = str(uuid4())
    arrived = asyncio.Event()

    async def arrive(name: str) -> None:
        if name == "authorize":
            arrived.set()
            await asyncio.sleep(0.2)

    tap.before = arrive
    authorizing = asyncio.create_task(outcome(tapped.orders.AuthorizePayment(tapped.request(order_id))))
    await arrived.wait()
    await repeated(lambda: payments.orders.VoidPayment(void(order_id)))
    await authorizing
    await payments.settle()

    assert await payments.state(order_id) == "VOIDED"
    authorised, captured, voided, _ = await simulator.money(order_id)
    assert (authorised, captured) == (voided, 0)
    assert await outcome(payments.orders.AuthorizePayment(payments.request(order_id))) == "PAYMENT_DIFFERS"
    assert await outcome(tapped.orders.AuthorizePayment(tapped.request(order_id))) == "PAYMENT_CLOSED"


async def test_the_provider_is_asked_about_a_voided_payment_for_a_while_and_then_no_more(
    tapped: Payments, tap: Tap
) -> None:
    order_id = await tapped.authorized()
    await tapped.orders.VoidPayment(void(order_id))
    tap.calls.clear()

    for _ in range(WATCHES + 3):
        await tapped.settle()

    assert tap.calls == ["find"] * WATCHES
    assert (await tapped.row(order_id)).due_time is None


async def test_money_that_the_provider_let_go_cannot_be_taken(payments: Payments, simulator: Simulator) -> None:
    order_id = await payments.authorized()
    async with SimulatedProvider.open(simulator.url) as provider:
        await provider.void("held for too long", order_id)

    error = await refusal(payments.orders.CapturePayment(capture(order_id)))

    assert (error.code, error.reason) == ("FAILED_PRECONDITION", "PAYMENT_CLOSED")
    assert await payments.state(order_id) == "VOIDED"
    assert await payments.events(order_id) == ["PaymentAuthorized", "PaymentVoided"]


@pytest.mark.parametrize("call", ["refund", "part"])
async def test_a_refund_that_the_provider_refuses_is_a_refusal(tapped: Payments, tap: Tap, call: str) -> None:
    order_id = await tapped.captured()

    async def refuse(name: str) -> None:
        if name == "refund":
            raise Declined("charge_disputed")

    tap.before = refuse
    errors = [await refusal(OPERATIONS[call][1](tapped, order_id)) for _ in range(2)]

    assert {(error.code, error.reason) for error in errors} == {("FAILED_PRECONDITION", "REFUND_REFUSED")}
    row = await tapped.row(order_id)
    assert (row.state, row.pending, row.refunded_minor) == ("captured", None, 0)
    tap.before = None
    await tapped.orders.RefundPayment(refund(order_id))  # a new one, by whoever has cleared it up


async def test_a_provider_that_contradicts_what_is_known_is_not_believed(
    payments: Payments, simulator: Simulator, tmp_path: Any, caplog: pytest.LogCaptureFixture
) -> None:
    order_id = await payments.authorized()
    forgetful = Simulator(tmp_path / "empty.db")
    forgetful.start()
    try:
        async with (
            SimulatedProvider.open(forgetful.url) as provider,
            replica(payments.database, provider, user_id=payments.user_id) as other,
        ):
            with caplog.at_level(logging.ERROR):
                error = await refusal(other.orders.CapturePayment(capture(order_id)))
    finally:
        forgetful.kill()

    assert error.reason == "PAYMENT_UNCERTAIN"
    assert [record.levelname for record in caplog.records if record.name == "services.payments.cashier"] == ["ERROR"]
    await payments.orders.CapturePayment(capture(order_id))
    assert await simulator.money(order_id) == (1450, 1450, 0, 0)


@pytest.mark.parametrize("seed", [1, 2])
async def test_whatever_is_lost_or_refused_both_books_agree_in_the_end(
    payments: Payments, simulator: Simulator, seed: int
) -> None:
    random = Random(seed)
    await simulator.faults(delay_s=0.01, refuse_ratio=0.3, lose_ratio=0.3, seed=seed)

    async def live(order_id: str) -> None:
        """One order's life, with calls repeated as a saga repeats them, a few times at most."""
        fate = random.choice(["keep", "void", "refund", "part"])
        wanted = payments.request(order_id)

        async def tried(call: Callable[[], Awaitable[Any]], times: int = 4) -> bool:
            for _ in range(times):
                if not isinstance(await outcome(call()), str):
                    return True
            return False

        held = await tried(lambda: payments.orders.AuthorizePayment(wanted))
        if not held or fate == "void":
            await tried(lambda: payments.orders.VoidPayment(void(order_id)), times=50)
            return
        await tried(lambda: payments.orders.CapturePayment(capture(order_id)), times=50)
        if fate == "refund":
            await tried(lambda: payments.orders.RefundPayment(refund(order_id)))
        if fate == "part":
            await tried(lambda: payments.admin.RefundPart(part(order_id, "1.50", "r")))

    order_ids = [str(uuid4()) for _ in range(25)]
    await asyncio.gather(*map(live, order_ids))
    await simulator.faults()
    for _ in range(3):
        await payments.settle()

    for order_id in order_ids:
        row, account = await payments.row(order_id), await simulator.account(order_id)
        assert row.pending is None
        assert account.get("authorisations", 0) <= 1
        voided, captured = account.get("voided", 0), account.get("captured", 0)
        assert (row.state == "voided") == (captured == 0)
        assert account.get("authorised", 0) == voided + captured
        assert row.refunded_minor == account.get("refunded", 0)
