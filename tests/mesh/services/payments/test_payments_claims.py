"""How calls for one payment take turns, what is committed when, and who goes on when a replica dies."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

import pytest
from grpc import aio
from sqlalchemy import text

from services.chores import chore
from services.payments.cashier import Cashier
from services.payments.messages import bill_of
from services.payments.money import Money
from services.payments.provider import ProviderUncertain
from tests.mesh.services.calls import outcome
from tests.mesh.services.payments.parts import MARGIN_S, ROOT, Payments, Simulator, Tap, replica
from tests.mesh.services.payments.requests import capture, part, refund, void
from tests.mesh.services.payments.waiting import Eventually, is_held, is_pending, repeated
from weft.events import Outbox

if TYPE_CHECKING:
    from google.protobuf.message import Message

    from weft.data import Transaction


async def test_a_service_killed_between_intent_and_outcome_is_succeeded_by_another(
    payments: Payments, simulator: Simulator, database_url: Callable[[str], str], eventually: Eventually
) -> None:
    order_id = str(uuid4())
    await simulator.faults(delay_s=1)
    killed = one_shot(database_url("payments"), simulator.url, order_id, payments.user_id)

    await eventually(lambda: is_pending(payments.database, order_id))
    await eventually(lambda: was_told(killed))
    killed.kill()
    killed.communicate()
    await simulator.faults()
    await eventually(lambda: is_held(simulator, order_id))
    await payments.settle()

    assert await payments.state(order_id) == "AUTHORIZED"
    assert await payments.events(order_id) == ["PaymentAuthorized"]
    await payments.orders.AuthorizePayment(payments.request(order_id))
    assert (await simulator.account(order_id))["authorisations"] == 1


async def test_a_claim_of_a_dead_replica_runs_out_by_itself(payments: Payments, simulator: Simulator, tap: Tap) -> None:
    order_id = await payments.authorized()
    dead = Cashier(payments.database, tap, Outbox("payments"), margin_s=-4.5)  # its claims last for half a second

    async def die(_: str) -> None:
        await asyncio.Event().wait()

    tap.before = die
    task = asyncio.create_task(dead.capture(UUID(order_id), bill_of(capture(order_id))))
    while not tap.calls:
        await asyncio.sleep(0.01)

    answer = await repeated(lambda: payments.orders.CapturePayment(capture(order_id)))

    assert not isinstance(answer, str)
    assert await simulator.money(order_id) == (1450, 1450, 0, 0)
    task.cancel()
    for left in dead._tasks.copy():
        left.cancel()
        await asyncio.wait([left])


async def test_who_has_lost_a_claim_writes_nothing(
    tapped: Payments, tap: Tap, payments: Payments, simulator: Simulator
) -> None:
    order_id = str(uuid4())
    go, late = asyncio.Event(), asyncio.Event()

    async def linger(name: str) -> None:
        if name == "authorize":
            late.set()
            await go.wait()

    tap.after = linger
    first = asyncio.create_task(outcome(tapped.orders.AuthorizePayment(tapped.request(order_id))))
    await late.wait()
    async with payments.database.transaction() as tx:
        await tx.execute(text("update payments set claim_expire_time = now()"))
    wanted = tapped.request(order_id)
    await payments.orders.AuthorizePayment(wanted)
    await payments.orders.VoidPayment(void(order_id))
    go.set()

    assert await first == "PAYMENT_CLOSED"
    assert await payments.state(order_id) == "VOIDED"
    assert await simulator.money(order_id) == (1450, 0, 1450, 0)
    assert await payments.events(order_id) == ["PaymentAuthorized", "PaymentVoided"]


async def test_no_transaction_is_open_while_the_provider_is_called(tapped: Payments, tap: Tap) -> None:
    open_transactions: list[tuple[str, int]] = []

    async def look(name: str) -> None:
        async with tapped.database.transaction() as tx:
            count = text(
                "select count(*) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()"
                " and backend_type = 'client backend' and xact_start is not null"
            )
            open_transactions.append((name, await tx.scalar(count)))

    tap.before = look
    order_id = str(uuid4())
    wanted = tapped.request(order_id, "pm_test_answer_lost")
    wanted.request_id = "1"
    await tapped.orders.AuthorizePayment(wanted)
    await tapped.orders.CapturePayment(capture(order_id, request_id="2"))
    await tapped.admin.RefundPart(part(order_id, "1", "3"))
    await tapped.orders.RefundPayment(refund(order_id, request_id="4"))
    await tapped.orders.VoidPayment(void(await tapped.authorized(), request_id="5"))

    assert [name for name, _ in open_transactions] == [
        "authorize", "find", "capture", "refund", "refund", "authorize", "void",
    ]  # fmt: skip
    assert {count for _, count in open_transactions} == {0}


async def test_an_intent_is_committed_before_the_provider_hears_of_it(tapped: Payments, tap: Tap) -> None:
    seen: list[tuple[str, str | None]] = []

    async def look(name: str) -> None:
        async with tapped.database.transaction() as tx:
            pending, is_claimed = tuple(await tx.one(text("select pending, claim_id is not null from payments")))
        assert is_claimed
        seen.append((name, pending))

    tap.before = look
    order_id = await tapped.captured()
    await tapped.orders.RefundPayment(refund(order_id))

    assert seen == [("authorize", "authorize"), ("capture", "capture"), ("refund", "refund")]


async def test_an_outcome_that_cannot_be_committed_is_no_success(
    payments: Payments, simulator: Simulator, tap: Tap
) -> None:
    class FullOutbox:
        async def publish(self, tx: Transaction, event: Message) -> None:
            await tx.execute(text("select 1 / 0"))

    order_id = str(uuid4())
    cashier = Cashier(payments.database, tap, FullOutbox(), margin_s=MARGIN_S)

    with pytest.raises(Exception, match="division by zero"):
        await cashier.authorize(UUID(order_id), payments.user_id, Money("EUR", 1450), "pm_test_accepted")
    forgotten = await payments.state(order_id)
    await payments.settle()

    assert forgotten == "AUTHORIZING"
    assert await payments.state(order_id) == "AUTHORIZED"
    assert (await simulator.account(order_id))["authorisations"] == 1


async def test_work_goes_on_when_its_caller_leaves(
    payments: Payments, simulator: Simulator, eventually: Eventually
) -> None:
    order_id = str(uuid4())
    await simulator.faults(delay_s=0.3)
    call = payments.orders.AuthorizePayment(payments.request(order_id))
    await eventually(lambda: is_pending(payments.database, order_id))

    call.cancel()
    with suppress(asyncio.CancelledError, aio.AioRpcError):
        await call

    async def is_authorized() -> bool:
        return await payments.state(order_id) == "AUTHORIZED"

    await eventually(is_authorized)


async def test_replicas_share_what_is_to_be_settled(tapped: Payments, tap: Tap) -> None:
    async def lose(name: str) -> None:
        if name == "capture":
            raise ProviderUncertain

    tap.before = lose
    order_ids = [await tapped.authorized() for _ in range(8)]
    await asyncio.gather(*(outcome(tapped.orders.CapturePayment(capture(order_id))) for order_id in order_ids))
    tap.before, tap.calls[:] = None, []
    other = Tap(tap)

    async with replica(tapped.database, other) as second:
        await tapped.make_due()
        await asyncio.gather(*(replica.cashier.settle_due(limit=3) for replica in (tapped, second) for _ in range(3)))

    assert {await tapped.state(order_id) for order_id in order_ids} == {"CAPTURED"}
    assert (tap.calls.count("find"), tap.calls.count("capture")) == (8, 8)


async def test_a_payment_that_cannot_be_settled_does_not_hold_up_the_others(
    tapped: Payments, tap: Tap, caplog: pytest.LogCaptureFixture
) -> None:
    order_ids = [await tapped.authorized() for _ in range(3)]
    for order_id in order_ids:
        await tapped.orders.VoidPayment(void(order_id))
    asked = 0

    async def stumble(_: str) -> None:
        nonlocal asked
        asked += 1
        if asked == 1:
            raise RuntimeError

    tap.before = stumble
    await tapped.settle()

    assert asked == 3
    assert sorted([(await tapped.row(order_id)).attempts for order_id in order_ids]) == [0, 1, 1]
    assert [record.message for record in caplog.records if record.levelno == logging.ERROR] == [
        "cannot settle a payment"
    ]
    assert {(await tapped.row(order_id)).claim_id for order_id in order_ids} == {None}


async def test_the_loop_outlives_a_database_and_a_provider_that_are_away(
    payments: Payments, simulator: Simulator, eventually: Eventually
) -> None:
    order_id = await payments.authorized()
    simulator.kill()
    assert await outcome(payments.orders.CapturePayment(capture(order_id))) == "PAYMENT_UNCERTAIN"
    loop = asyncio.create_task(chore(payments.cashier.settle_due, name="settle", batch=20, poll_s=0.01))
    async with payments.database.transaction() as tx:
        await tx.execute(text("alter table payments rename to lost"))
    await asyncio.sleep(0.1)
    async with payments.database.transaction() as tx:
        await tx.execute(text("alter table lost rename to payments"))
    simulator.start()

    async def is_captured() -> bool:
        await payments.make_due()
        return await payments.state(order_id) == "CAPTURED"

    await eventually(is_captured)

    assert not loop.done()
    loop.cancel()
    await asyncio.wait([loop])


def one_shot(database: str, provider: str, order_id: str, user_id: str) -> subprocess.Popen[str]:
    """Start a process that authorises one payment and says when the provider is about to be told."""
    program = """
import asyncio, sys, uuid
from services.chores import chore
from services.payments.cashier import Cashier
from services.payments.messages import bill_of
from services.payments.money import Money
from services.payments.simulated import SimulatedProvider
from weft.data import Database
from weft.events import Outbox

async def main(database, provider, order_id, user_id):
    async with Database.open(database) as database, SimulatedProvider.open(provider) as provider:
        authorize = provider.authorize
        async def told(*arguments):
            asyncio.get_running_loop().call_later(0.2, print, "told", True)
            return await authorize(*arguments)
        provider.authorize = told
        cashier = Cashier(database, provider, Outbox("payments"))
        await cashier.authorize(uuid.UUID(order_id), user_id, Money("EUR", 1450), "pm_test_accepted")

asyncio.run(main(*sys.argv[1:]))
"""
    return subprocess.Popen(
        [sys.executable, "-u", "-c", program, database, provider, order_id, user_id],
        cwd=ROOT,
        env={"PYTHONPATH": f"{ROOT}:{ROOT}/gen"},
        stdout=subprocess.PIPE,
        text=True,
    )


async def was_told(process: subprocess.Popen[str]) -> bool:
    assert process.stdout
    return bool(await asyncio.to_thread(process.stdout.readline))
