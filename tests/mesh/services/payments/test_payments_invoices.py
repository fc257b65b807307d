"""Invoices and credit notes: issued with what they are about, and read by those they are for."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import pytest
from google.type.money_pb2 import Money
from shop.payments.v1 import invoices_pb2, payments_pb2_grpc
from shop.payments.v1 import payments_pb2 as pb
from sqlalchemy import text

from services.payments.simulated import SimulatedProvider
from tests.mesh.services.calls import Calls, euros, outcome, refusal
from tests.mesh.services.payments.parts import Payments, Simulator
from tests.mesh.services.payments.requests import HOME, capture, line, part, refund, tax, void

if TYPE_CHECKING:
    from weft.data import Database

INVOICE = invoices_pb2.Invoice.KIND_INVOICE
CREDIT_NOTE = invoices_pb2.Invoice.KIND_CREDIT_NOTE


async def all_issued(payments: Payments) -> list[Any]:
    """Return everybody's invoices of this year, by number."""
    found: list[Any] = []
    token = ""
    while True:
        page = await payments.admin.SearchInvoices(pb.SearchInvoicesRequest(page_token=token, page_size=200))
        found += page.invoices
        token = page.next_page_token
        if not token:
            return found


async def of_order(payments: Payments, order_id: str) -> list[Any]:
    return [invoice for invoice in await all_issued(payments) if invoice.order_id == order_id]


async def kept_bills(database: Database) -> int:
    async with database.transaction() as tx:
        return int(await tx.scalar(text("select count(*) from bills")))


async def test_an_invoice_says_what_was_bought_for_the_money_that_was_taken(payments: Payments) -> None:
    order_id = await payments.authorized("35.90")
    mugs, pen = line("14.50", 2), line("1.00", sku="PEN", name="Füller «Жук»")
    request = capture(
        order_id, lines=[mugs, pen], shipping=euros("5.90"), taxes=[tax("19", "35.90", "5.73")], buyer=HOME
    )

    before = datetime.now(UTC)
    await payments.orders.CapturePayment(request)

    [invoice] = await all_issued(payments)
    assert invoice.invoice_number == f"{datetime.now(UTC).year}-000001"
    assert (invoice.kind, invoice.order_id, invoice.user_id) == (INVOICE, order_id, payments.user_id)
    assert list(invoice.lines) == [mugs, pen]
    assert (invoice.shipping, invoice.total) == (euros("5.90"), euros("35.90"))
    assert list(invoice.taxes) == list(request.taxes)
    assert (invoice.buyer, invoice.corrects) == (HOME, "")
    assert before <= invoice.issue_time.ToDatetime(UTC) <= datetime.now(UTC)
    assert await kept_bills(payments.database) == 0


async def test_a_capture_repeated_in_whatever_way_is_invoiced_once(payments: Payments) -> None:
    order_id = await payments.authorized()

    await asyncio.gather(*(payments.orders.CapturePayment(capture(order_id)) for _ in range(10)))
    await payments.orders.CapturePayment(capture(order_id, request_id="r"))
    await payments.orders.CapturePayment(capture(order_id, request_id="r"))
    await payments.settle()

    assert len(await all_issued(payments)) == 1


async def test_a_capture_that_is_settled_later_is_invoiced_as_the_request_said(
    payments: Payments, simulator: Simulator
) -> None:
    order_id = await payments.authorized("29")
    await simulator.faults(lose_ratio=1)

    error = await refusal(payments.orders.CapturePayment(capture(order_id, lines=[line("14.50", 2)])))
    unknown = await all_issued(payments)
    kept = await kept_bills(payments.database)
    await simulator.faults()
    await payments.settle()

    assert error.reason == "PAYMENT_UNCERTAIN"
    assert (unknown, kept) == ([], 1)
    [invoice] = await all_issued(payments)
    assert list(invoice.lines) == [line("14.50", 2)]
    assert (invoice.buyer, invoice.total) == (HOME, euros("29"))
    assert await kept_bills(payments.database) == 0


async def test_what_was_said_first_counts_when_a_repeat_says_something_else(
    payments: Payments, simulator: Simulator
) -> None:
    order_id = await payments.authorized()
    await simulator.faults(lose_ratio=1)
    assert await outcome(payments.orders.CapturePayment(capture(order_id))) == "PAYMENT_UNCERTAIN"
    await simulator.faults()

    await payments.orders.CapturePayment(capture(order_id, lines=[line(name="Something else")]))

    [invoice] = await all_issued(payments)
    assert [each.name for each in invoice.lines] == ["Stoneware mug, blue"]


async def test_what_was_never_taken_is_neither_invoiced_nor_kept(payments: Payments, simulator: Simulator) -> None:
    order_id = await payments.authorized()
    async with SimulatedProvider.open(simulator.url) as provider:
        await provider.void("held for too long", order_id)

    assert await outcome(payments.orders.CapturePayment(capture(order_id))) == "PAYMENT_CLOSED"
    await payments.orders.VoidPayment(void(await payments.authorized()))

    assert await all_issued(payments) == []
    assert await kept_bills(payments.database) == 0


@pytest.mark.parametrize(
    ("field", "changes"),
    [
        ("lines", {"lines": [line("14.49")]}),
        ("lines", {"shipping": euros("0.01")}),
        ("lines[0].total", {"lines": [line("7.25", 2, total=euros("14.51"))]}),
        ("taxes[0].tax", {"taxes": [tax("19", "1", "1.01")]}),
        ("taxes", {"taxes": [tax("19", "14.51", "1")]}),
        ("taxes", {"taxes": [tax("19", "1", "0.1"), tax("19", "1", "0.1")]}),
        ("lines[0].unitPrice.currencyCode", {"lines": [
            line(unit_price=Money(currency_code="USD", units=14, nanos=500_000_000),
                 total=Money(currency_code="USD", units=14, nanos=500_000_000))]}),
    ],
)  # fmt: skip
async def test_money_is_not_taken_for_what_does_not_add_up(
    payments: Payments, simulator: Simulator, field: str, changes: dict[str, Any]
) -> None:
    order_id = await payments.authorized()

    error = await refusal(payments.orders.CapturePayment(capture(order_id, **changes)))

    assert (error.code, error.reason) == ("INVALID_ARGUMENT", "INVOICE_DIFFERS")
    assert field in {violation.field for violation in error.violations}
    assert await simulator.money(order_id) == (1450, 0, 0, 0)
    assert await kept_bills(payments.database) == 0


@pytest.mark.parametrize(
    ("field", "changes"),
    [
        ("lines", {"lines": []}),
        ("buyer", {"buyer": None}),
        ("shipping.currencyCode", {"shipping": Money(currency_code="USD", units=0)}),
        ("taxes[0].gross.nanos", {"taxes": [tax("19", "0.001", "0")]}),
    ],
)
async def test_what_cannot_be_a_bill_is_refused(payments: Payments, field: str, changes: dict[str, Any]) -> None:
    order_id = await payments.authorized()

    error = await refusal(payments.orders.CapturePayment(capture(order_id, **changes)))

    assert (error.code, [violation.field for violation in error.violations]) == ("INVALID_ARGUMENT", [field])


async def test_prices_finer_than_a_cent_are_exact_on_the_invoice(payments: Payments) -> None:
    order_id = await payments.authorized("0.03")

    await payments.orders.CapturePayment(capture(order_id, lines=[line("0.005", 3), line("0.015")]))

    [invoice] = await all_issued(payments)
    assert [each.total for each in invoice.lines] == [euros("0.015"), euros("0.015")]


async def test_parts_given_back_are_credited_and_sum_to_the_invoice_with_its_taxes(payments: Payments) -> None:
    order_id = await payments.authorized("10")
    taxes = [tax("19", "3.33", "0.53"), tax("7", "3.33", "0.22")]
    await payments.orders.CapturePayment(capture(order_id, lines=[line("10")], taxes=taxes))

    for number, amount in enumerate(["3.33", "0.01", "0.01", "1.11"]):
        await payments.admin.RefundPart(part(order_id, amount, f"r{number}"))
        await payments.admin.RefundPart(part(order_id, amount, f"r{number}"))
    await payments.orders.RefundPayment(refund(order_id))
    await payments.orders.RefundPayment(refund(order_id))

    invoice, *notes = await all_issued(payments)
    assert {(note.kind, note.corrects, note.order_id) for note in notes} == {
        (CREDIT_NOTE, invoice.invoice_number, order_id)
    }
    assert [note.total for note in notes] == [euros(each) for each in ("3.33", "0.01", "0.01", "1.11", "5.54")]
    assert {len(note.lines) for note in notes} == {1}
    assert notes[0].lines[0].name == f"Refund for invoice {invoice.invoice_number}"
    assert notes[0].buyer == HOME
    for rate, gross, cents in (("19", 333, 53), ("7", 333, 22)):
        given_back = [each for note in notes for each in note.taxes if each.rate_percent == rate]
        assert sum(each.gross.units * 100 + each.gross.nanos // 10**7 for each in given_back) == gross
        assert sum(each.tax.units * 100 + each.tax.nanos // 10**7 for each in given_back) == cents
    numbers = [int(each.invoice_number.rpartition("-")[2]) for each in (invoice, *notes)]
    assert numbers == list(range(1, 7))


async def test_a_refund_that_is_settled_later_is_credited_too(payments: Payments, simulator: Simulator) -> None:
    order_id = await payments.captured()
    await simulator.faults(lose_ratio=1)

    assert await outcome(payments.orders.RefundPayment(refund(order_id))) == "PAYMENT_UNCERTAIN"
    await simulator.faults()
    await payments.settle()

    assert [each.kind for each in await all_issued(payments)] == [INVOICE, CREDIT_NOTE]


async def test_a_payment_from_before_there_were_invoices_gets_one_only_when_it_is_said_what_was_bought(
    payments: Payments,
) -> None:
    order_id = await payments.captured()
    async with payments.database.transaction() as tx:
        await tx.execute(text("truncate invoices, invoice_numbers"))

    await payments.admin.RefundPart(part(order_id, "4.50", "r"))
    without = await all_issued(payments)
    await payments.orders.CapturePayment(capture(order_id))
    made_up = await all_issued(payments)
    await payments.orders.RefundPayment(refund(order_id))

    assert without == []
    assert [(each.kind, each.total) for each in made_up] == [(INVOICE, euros("14.50")), (CREDIT_NOTE, euros("4.50"))]
    assert [each.total for each in await all_issued(payments)] == [euros("14.50"), euros("4.50"), euros("10")]


@pytest.mark.parametrize("change", ["update invoices set user_id = 'x'", "delete from invoices"])
async def test_what_was_issued_stays_as_it_is(payments: Payments, change: str) -> None:
    await payments.captured()
    before = await all_issued(payments)

    with pytest.raises(Exception, match="invoices never change"):
        async with payments.database.transaction() as tx:
            await tx.execute(text(change))

    assert await all_issued(payments) == before


async def test_an_invoice_is_there_for_its_owner_and_for_administrators_only(payments: Payments) -> None:
    order_id = await payments.captured()
    [invoice] = await of_order(payments, order_id)
    stranger = Calls(
        payments_pb2_grpc.PaymentsServiceStub(payments.server.channel), payments.server.token(str(uuid4()))
    )
    wanted = pb.GetInvoiceRequest(invoice_number=invoice.invoice_number)
    download = pb.DownloadInvoiceRequest(invoice_number=invoice.invoice_number)

    mine, admins = await payments.owner.GetInvoice(wanted), await payments.admin.GetInvoice(wanted)
    errors = [await refusal(stranger.GetInvoice(wanted)), await refusal(stranger.DownloadInvoice(download))]

    assert mine.invoice == admins.invoice == invoice
    assert {(error.code, error.reason) for error in errors} == {("NOT_FOUND", "INVOICE_NOT_FOUND")}
    assert list((await stranger.ListInvoices(pb.ListInvoicesRequest(order_id=order_id))).invoices) == []
    assert (await refusal(payments.owner.SearchInvoices(pb.SearchInvoicesRequest()))).reason == "ROLE_MISSING"


@pytest.mark.parametrize("number", ["2026-000002", "1999-000001", "{year}-0000001", "{year}-999999999"])
async def test_there_is_no_other_invoice(payments: Payments, number: str) -> None:
    await payments.captured()
    wanted = pb.GetInvoiceRequest(invoice_number=number.format(year=datetime.now(UTC).year))

    error = await refusal(payments.admin.GetInvoice(wanted))

    assert (error.code, error.reason) == ("NOT_FOUND", "INVOICE_NOT_FOUND")


async def test_a_user_lists_their_own_newest_first_page_by_page(payments: Payments) -> None:
    order_ids = [await payments.captured() for _ in range(5)]
    await payments.orders.RefundPayment(refund(order_ids[0]))

    listed, token = [], ""
    while True:
        page = await payments.owner.ListInvoices(pb.ListInvoicesRequest(page_size=2, page_token=token))
        listed += [(invoice.order_id, invoice.kind) for invoice in page.invoices]
        token = page.next_page_token
        if not token:
            break
    of_first = (await payments.owner.ListInvoices(pb.ListInvoicesRequest(order_id=order_ids[0]))).invoices
    first = await payments.owner.ListInvoices(pb.ListInvoicesRequest(page_size=1, order_id=order_ids[0]))

    assert listed == [(order_ids[0], CREDIT_NOTE), *((order_id, INVOICE) for order_id in order_ids[::-1])]
    assert [invoice.kind for invoice in of_first] == [CREDIT_NOTE, INVOICE]
    assert list((await payments.admin.ListInvoices(pb.ListInvoicesRequest())).invoices) == []
    for wrong in (
        pb.ListInvoicesRequest(page_token="forged"),
        pb.ListInvoicesRequest(page_token=first.next_page_token),
        pb.ListInvoicesRequest(page_token=first.next_page_token, order_id=order_ids[1]),
    ):
        assert (await refusal(payments.owner.ListInvoices(wrong))).reason == "PAGE_TOKEN_INVALID"


async def test_an_administrator_reads_a_year_by_number(payments: Payments) -> None:
    order_ids = [await payments.captured() for _ in range(5)]
    year = datetime.now(UTC).year

    first = await payments.admin.SearchInvoices(pb.SearchInvoicesRequest(page_size=3))
    second = await payments.admin.SearchInvoices(
        pb.SearchInvoicesRequest(page_size=3, page_token=first.next_page_token)
    )
    named = await payments.admin.SearchInvoices(pb.SearchInvoicesRequest(year=year))
    other = await payments.admin.SearchInvoices(pb.SearchInvoicesRequest(year=year - 1))
    wrong = pb.SearchInvoicesRequest(year=year, page_token=first.next_page_token)

    assert [invoice.order_id for invoice in (*first.invoices, *second.invoices)] == order_ids
    assert second.next_page_token == ""
    assert list(named.invoices) == [*first.invoices, *second.invoices]
    assert list(other.invoices) == []
    assert (await refusal(payments.admin.SearchInvoices(wrong))).reason == "PAGE_TOKEN_INVALID"


async def test_the_longest_invoice_is_kept_whole(payments: Payments) -> None:
    lines = [line("1", 999, sku="S" * 64, name="\N{MUSICAL SYMBOL G CLEF}" * 200) for _ in range(100)]
    taxes = [tax(str(rate), "9990", "999.99") for rate in range(10)]
    order_id = await payments.authorized("99900")

    await payments.orders.CapturePayment(capture(order_id, lines=lines, taxes=taxes))

    [invoice] = await all_issued(payments)
    assert (list(invoice.lines), list(invoice.taxes)) == (lines, taxes)
    assert UUID(invoice.order_id) == UUID(order_id)
