"""Invoices to look at."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from uuid import UUID

from services.payments.invoices import Address, Bill, Invoice, InvoiceNumber, Kind, Line, Tax, credit
from services.payments.money import NANOS, Money

if TYPE_CHECKING:
    from collections.abc import Sequence

ADA = Address(
    recipient="Ada Lovelace",
    street_lines=("12 St James's Square", "Third floor"),
    postal_code="SW1Y 4JH",
    city="London",
    country_code="GB",
)


def bought(sku: str, name: str, quantity: int, price: str) -> Line:
    nanos = int(Decimal(price) * NANOS)
    return Line(sku=sku, name=name, quantity=quantity, unit_price_nanos=nanos, total_nanos=nanos * quantity)


def invoice(
    *lines: Line, shipping: str = "0", currency: str = "EUR", taxes: Sequence[Tax] = (), **buyer: Any
) -> Invoice:
    shipping_nanos = int(Decimal(shipping) * NANOS)
    total = sum(line.total_nanos for line in lines) + shipping_nanos
    return Invoice(
        number=InvoiceNumber(2026, 42),
        kind=Kind.INVOICE,
        order_id=UUID("0b0e6a0e-0f1c-4b4e-9d1a-3b8f6a1d2c3e"),
        user_id="ada",
        issue_time=datetime(2026, 11, 21, 23, 59, tzinfo=UTC),
        corrects=None,
        total=Money.of(currency, *divmod(total, NANOS)),
        seller=("Weft Shop Ltd", "1 Loom Street", "VAT GB 1"),
        bill=Bill(
            currency=currency,
            lines=lines,
            shipping_nanos=shipping_nanos,
            taxes=tuple(taxes),
            buyer=replace(ADA, **buyer),
        ),
    )


def credit_note(amount: str) -> Invoice:
    original = invoice(bought("MUG", "Mug", 2, "14.50"))
    minor = int(Decimal(amount) * 100)
    return replace(
        original,
        number=InvoiceNumber(2026, 43),
        kind=Kind.CREDIT_NOTE,
        corrects=original.number,
        total=Money("EUR", minor),
        bill=credit(original, [], minor),
    )


def longest() -> Invoice:
    """Return one with a hundred lines, in several scripts."""
    names = ("Stoneware mug, blue", "قهوة عربية", "Тетрадь в клетку", "हिन्दी कॉफी", "W" * 200)
    return invoice(
        *(bought(f"SKU-{number}", names[number % len(names)], 1 + number, "14.50") for number in range(100)),
        shipping="5.90",
        taxes=[Tax(rate_percent="19", gross_minor=10_000, tax_minor=1597)],
    )
