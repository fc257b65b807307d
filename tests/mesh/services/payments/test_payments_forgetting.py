"""What payments keeps of somebody who has deleted their account: what the law has it keep, and nothing besides."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from sqlalchemy import text

from services.payments import invoice_store
from services.payments.forgetting import handlers
from tests.mesh.services.calls import euros, outcome
from tests.mesh.services.forgetting import deleted, hear, somebody_waits
from tests.mesh.services.payments.requests import HOME, capture, line, part, refund, tax, void
from tests.mesh.services.payments.test_payments_invoices import CREDIT_NOTE, all_issued, kept_bills, of_order

if TYPE_CHECKING:
    from tests.mesh.services.payments.parts import Payments, Simulator, Tap
    from weft.events import Received

LEFT_OVER = """
    insert into bills select cast(:order_id as uuid), content from invoices limit 1
"""


async def forget(payments: Payments, received: Received[Any] | None = None) -> None:
    """Hear that the owner of the payments is gone."""
    await hear(payments.database, handlers(), received or deleted(payments.user_id))


async def leave_bill(payments: Payments, order_id: str) -> None:
    """Keep a bill for *order_id*, as of a capture that was begun and never told to the provider."""
    async with payments.database.transaction() as tx:
        await tx.execute(text(LEFT_OVER).bindparams(order_id=order_id))


async def test_invoices_and_payments_stay_as_they_are(payments: Payments) -> None:
    paid = [await payments.captured() for _ in range(2)]
    await payments.admin.RefundPart(part(paid[0], "4.50"))
    before = await all_issued(payments), [await payments.get(each) for each in paid]

    await forget(payments)

    assert (await all_issued(payments), [await payments.get(each) for each in paid]) == before
    assert {each.buyer.recipient for each in before[0]} == {HOME.recipient}
    assert len(before[0]) == 3


async def test_what_is_refunded_later_is_credited_to_the_buyer_of_the_invoice_with_its_taxes(
    payments: Payments, simulator: Simulator
) -> None:
    order_id = await payments.authorized("35.90")
    bought = capture(order_id, lines=[line("15", 2)], shipping=euros("5.90"), taxes=[tax("19", "35.90", "5.73")])
    await payments.orders.CapturePayment(bought)
    await forget(payments)

    await payments.admin.RefundPart(part(order_id, "10"))
    await payments.orders.RefundPayment(refund(order_id))

    notes = [each for each in await of_order(payments, order_id) if each.kind == CREDIT_NOTE]
    assert [each.total for each in notes] == [euros("10"), euros("25.90")]
    assert [each.buyer for each in notes] == [HOME] * 2
    taxes = [each.tax.units * 100 + each.tax.nanos // 10_000_000 for note in notes for each in note.taxes]
    assert sum(taxes) == 573
    assert await simulator.money(order_id) == (3590, 3590, 0, 3590)


async def test_what_was_to_be_billed_and_is_not_under_way_is_forgotten(payments: Payments) -> None:
    await payments.captured()
    held, closed = await payments.authorized(), await payments.authorized()
    await payments.orders.VoidPayment(void(closed))
    for order_id in (held, closed):
        await leave_bill(payments, order_id)

    await forget(payments)

    assert await kept_bills(payments.database) == 0
    await payments.orders.CapturePayment(capture(held))  # which says again what was bought
    [invoice] = await of_order(payments, held)
    assert invoice.buyer == HOME
    assert await kept_bills(payments.database) == 0


async def test_a_capture_under_way_is_invoiced_and_then_nothing_else_is_kept(
    payments: Payments, simulator: Simulator
) -> None:
    order_id = await payments.authorized()
    await simulator.faults(lose_ratio=1)
    assert await outcome(payments.orders.CapturePayment(capture(order_id))) == "PAYMENT_UNCERTAIN"

    await forget(payments)
    kept = await kept_bills(payments.database)
    await simulator.faults()
    await payments.settle()

    assert kept == 1
    [invoice] = await all_issued(payments)
    assert (invoice.order_id, invoice.buyer) == (order_id, HOME)
    assert await kept_bills(payments.database) == 0


async def test_whoever_is_forgotten_while_the_provider_is_told_gets_an_invoice(tapped: Payments, tap: Tap) -> None:
    order_id = await tapped.authorized()

    async def forget_now(call: str) -> None:
        if call == "capture":
            await forget(tapped)

    tap.before = forget_now
    await tapped.orders.CapturePayment(capture(order_id))

    assert [each.order_id for each in await all_issued(tapped)] == [order_id]
    assert await kept_bills(tapped.database) == 0


async def test_a_capture_that_begins_while_its_user_is_being_forgotten_waits_and_is_invoiced(
    payments: Payments,
) -> None:
    await payments.captured()
    order_id = await payments.authorized()
    await leave_bill(payments, order_id)

    async with payments.database.transaction() as tx:
        await invoice_store.forget_bills(tx, payments.user_id)
        capturing = asyncio.create_task(outcome(payments.orders.CapturePayment(capture(order_id))))
        await somebody_waits(payments.database)
    await capturing

    [invoice] = await of_order(payments, order_id)
    assert invoice.buyer == HOME


async def test_a_bill_kept_while_its_user_is_being_forgotten_stays(payments: Payments) -> None:
    """The other way round: the claim on the payment is first."""
    await payments.captured()
    order_id = await payments.authorized()
    await leave_bill(payments, order_id)
    begun = text("update payments set pending = 'capture' where order_id = cast(:id as uuid)").bindparams(id=order_id)

    async with payments.database.transaction() as tx:
        await tx.execute(begun)
        forgetting = asyncio.create_task(forget(payments))
        await somebody_waits(payments.database)
    await forgetting

    assert await kept_bills(payments.database) == 1


async def test_hearing_it_again_or_of_somebody_unknown_touches_nobody_else(payments: Payments) -> None:
    await payments.captured()
    order_id = await payments.authorized()
    await leave_bill(payments, order_id)

    for somebody in (str(uuid4()), ""):
        await forget(payments, deleted(somebody))
    others = await kept_bills(payments.database)
    event = deleted(payments.user_id)
    for _ in range(2):
        await forget(payments, event)

    assert others == 1
    assert await kept_bills(payments.database) == 0
