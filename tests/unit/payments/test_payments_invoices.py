"""What invoices say, how they are numbered, and how taxes are given back in parts."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.payments.invoices import Address, Bill, Invoice, InvoiceNumber, Kind, Line, Tax, credit, year_of
from services.payments.money import Money

NOW = datetime(2026, 11, 21, tzinfo=UTC)
ADA = Address(recipient="Ada", street_lines=("1 Loom Street",), postal_code="M1", city="Manchester", country_code="GB")


def invoice(total: int, *taxes: Tax) -> Invoice:
    """Return an invoice of *total* cents."""
    nanos = Money("EUR", total).in_nanos
    line = Line(sku="MUG", name="Mug", quantity=1, unit_price_nanos=nanos, total_nanos=nanos)
    return issued(Bill(currency="EUR", lines=(line,), taxes=taxes, buyer=ADA), total, 1)


def issued(bill: Bill, total: int, ordinal: int) -> Invoice:
    number = InvoiceNumber(2026, ordinal)
    return Invoice(
        number=number,
        kind=Kind.INVOICE if ordinal == 1 else Kind.CREDIT_NOTE,
        order_id=UUID(int=1),
        user_id="ada",
        issue_time=NOW,
        corrects=None if ordinal == 1 else InvoiceNumber(2026, 1),
        total=Money("EUR", total),
        seller=("Weft Shop",),
        bill=bill,
    )


def credited(original: Invoice, parts: list[int]) -> list[Invoice]:
    """Return the credit notes of *parts* given back one after another."""
    notes: list[Invoice] = []
    for part in parts:
        notes.append(issued(credit(original, notes, part), part, len(notes) + 2))
    return notes


@st.composite
def refunded(draw: st.DrawFn) -> tuple[Invoice, list[int]]:
    """An invoice with up to four rates, some of it perhaps without any, and a way to give all of it back."""
    grosses = draw(st.lists(st.integers(0, 10_000), max_size=4))
    taxes = [
        Tax(rate_percent=str(rate), gross_minor=gross, tax_minor=draw(st.integers(0, gross)))
        for rate, gross in enumerate(grosses)
    ]
    total = sum(grosses) + draw(st.integers(0 if sum(grosses) else 1, 10_000))
    parts: list[int] = []
    left = total
    while left and len(parts) < 12:
        parts.append(draw(st.integers(1, left)))
        left -= parts[-1]
    return invoice(total, *taxes), [*parts, left] if left else parts


@given(refunded())
def test_credit_notes_of_all_that_was_taken_sum_to_the_invoices_taxes_exactly(case: tuple[Invoice, list[int]]) -> None:
    original, parts = case

    notes = credited(original, parts)

    for tax in original.bill.taxes:
        back = [each for note in notes for each in note.bill.taxes if each.rate_percent == tax.rate_percent]
        assert sum(each.gross_minor for each in back) == tax.gross_minor
        assert sum(each.tax_minor for each in back) == tax.tax_minor


@given(refunded())
def test_no_credit_note_gives_back_a_tax_that_its_own_sum_does_not_contain(case: tuple[Invoice, list[int]]) -> None:
    original, parts = case
    is_all_taxed = sum(tax.gross_minor for tax in original.bill.taxes) == original.total.minor

    for note in credited(original, parts):
        grosses = [tax.gross_minor for tax in note.bill.taxes]
        assert sum(grosses) == note.total.minor if is_all_taxed else sum(grosses) <= note.total.minor
        assert all(0 <= tax.tax_minor <= tax.gross_minor for tax in note.bill.taxes)
        note.bill.require_fits(note.order_id, note.total)


@given(refunded())
def test_a_part_is_shared_out_in_proportion_to_the_cent(case: tuple[Invoice, list[int]]) -> None:
    original, (first, *_) = case

    bill = credit(original, [], first)

    shares = {tax.rate_percent: tax for tax in bill.taxes}
    for tax in original.bill.taxes:
        share = shares.get(tax.rate_percent) or Tax(rate_percent="", gross_minor=0, tax_minor=0)
        assert abs(share.gross_minor - tax.gross_minor * first / original.total.minor) < 1
        assert abs(share.tax_minor - tax.tax_minor * first / original.total.minor) <= 1.5


def test_a_half_given_back_takes_half_of_each_rate() -> None:
    original = invoice(
        1000,
        Tax(rate_percent="19", gross_minor=600, tax_minor=96),
        Tax(rate_percent="7", gross_minor=400, tax_minor=26),
    )

    bill = credit(original, [], 500)

    assert bill.taxes == (
        Tax(rate_percent="19", gross_minor=300, tax_minor=48),
        Tax(rate_percent="7", gross_minor=200, tax_minor=13),
    )
    [line] = bill.lines
    assert (line.sku, line.name, line.quantity) == ("", "Refund for invoice 2026-000001", 1)
    assert line.unit_price_nanos == line.total_nanos == 5 * 10**9
    assert (bill.shipping_nanos, bill.buyer) == (0, ADA)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("2026-000001", InvoiceNumber(2026, 1)),
        ("2026-1234567", InvoiceNumber(2026, 1_234_567)),
        ("2026-0000001", None),
        ("2026-1", None),
        ("٢٠٢٦-000001", None),
        ("2026-000001\n", None),
        ("", None),
    ],
)
def test_a_number_is_written_in_one_way_only(text: str, number: InvoiceNumber | None) -> None:
    assert InvoiceNumber.parse(text) == number
    assert number is None or str(number) == text


def test_the_year_is_that_of_the_moment_in_utc() -> None:
    assert year_of(datetime(2027, 1, 1, 1, tzinfo=timezone(timedelta(hours=2)))) == 2026
    assert year_of(datetime(2026, 12, 31, 23, tzinfo=timezone(timedelta(hours=-2)))) == 2027


@given(refunded())
def test_a_bill_survives_being_kept(case: tuple[Invoice, list[int]]) -> None:
    bill = case[0].bill

    assert Bill.from_json(json.loads(json.dumps(bill.to_json()))) == bill


def test_who_bought_it_shows_in_nothing_that_is_printed() -> None:
    printed = repr(invoice(1))

    assert "Loom" not in printed
    assert "Ada" not in printed
    assert "Manchester" not in printed
