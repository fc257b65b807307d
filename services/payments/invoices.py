"""Invoices and credit notes: what they say, how they are numbered, and how taxes are given back in parts."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self

from services.payments.money import Money
from services.payments.refusals import InvoiceDiffers
from weft.errors import Violation

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from uuid import UUID

__all__ = ["Address", "Bill", "Invoice", "InvoiceNumber", "Kind", "Line", "Tax", "credit", "year_of"]

_NUMBER: Final = re.compile(r"([0-9]{4})-([0-9]{6,9})")


class Kind(StrEnum):
    """Which way the money went."""

    INVOICE = "invoice"
    CREDIT_NOTE = "credit_note"


class InvoiceNumber(NamedTuple):
    """What an invoice is known by, for ever."""

    year: int
    """Of issue, in UTC."""
    ordinal: int
    """From 1 on in each year, without gaps; invoices and credit notes are counted together."""

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """Return the number that is written as *text*, or None if none is written so."""
        match = _NUMBER.fullmatch(text)
        number = cls(int(match[1]), int(match[2])) if match else None
        return number if str(number) == text else None

    def __str__(self) -> str:
        return f"{self.year:04d}-{self.ordinal:06d}"


def year_of(time: datetime) -> int:
    """Return in which year's numbers *time* falls."""
    return time.astimezone(UTC).year


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Who bought it: personal, so no `repr` tells it."""

    recipient: str = field(repr=False)
    street_lines: tuple[str, ...] = field(repr=False)
    postal_code: str = field(repr=False)
    city: str = field(repr=False)
    country_code: str
    """ISO 3166-1, two capital letters."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One product. Sums are in nano units of the currency: prices may be finer than what can be paid."""

    sku: str
    name: str
    quantity: int
    unit_price_nanos: int
    total_nanos: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Tax:
    """A tax that a total contains, in the currency's smallest unit."""

    rate_percent: str
    gross_minor: int
    """How much of the total has this rate, tax included."""
    tax_minor: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Bill:
    """What money is taken, or given back, for."""

    currency: str
    lines: tuple[Line, ...]
    shipping_nanos: int = 0
    taxes: tuple[Tax, ...] = ()
    buyer: Address

    def require_fits(self, order_id: UUID, amount: Money) -> None:
        """Return if this adds up to *amount*. Raises InvoiceDiffers."""
        violations = list(self._contradictions(amount))
        if violations:
            raise InvoiceDiffers(order_id, violations)

    def _contradictions(self, amount: Money) -> Iterator[Violation]:
        if self.currency != amount.currency:
            yield Violation("lines[0].unitPrice.currencyCode", f"must be {amount.currency}")
            return
        for index, line in enumerate(self.lines):
            if line.total_nanos != line.unit_price_nanos * line.quantity:
                yield Violation(f"lines[{index}].total", "must be unitPrice times quantity")
        if sum(line.total_nanos for line in self.lines) + self.shipping_nanos != amount.in_nanos:
            yield Violation("lines", f"must sum, with shipping, to {amount}")
        for index, tax in enumerate(self.taxes):
            if not 0 <= tax.tax_minor <= tax.gross_minor:
                yield Violation(f"taxes[{index}].tax", "must be at most gross")
        if len({tax.rate_percent for tax in self.taxes}) < len(self.taxes):
            yield Violation("taxes", "must have each rate once")
        if sum(tax.gross_minor for tax in self.taxes) > amount.minor:
            yield Violation("taxes", f"must sum to {amount} at most")

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        buyer = data["buyer"]
        return cls(
            currency=data["currency"],
            lines=tuple(Line(**line) for line in data["lines"]),
            shipping_nanos=data["shipping_nanos"],
            taxes=tuple(Tax(**tax) for tax in data["taxes"]),
            buyer=Address(**buyer | {"street_lines": tuple(buyer["street_lines"])}),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Invoice:
    """An invoice or a credit note, as it was issued."""

    number: InvoiceNumber
    kind: Kind
    order_id: UUID
    user_id: str
    issue_time: datetime
    """Never before that of the number before it."""
    corrects: InvoiceNumber | None
    """Of a credit note, the invoice that it takes back in part or whole."""
    total: Money
    seller: tuple[str, ...]
    """Name, then address and whatever else the law wants to see, as they were then."""
    bill: Bill


def credit(invoice: Invoice, notes: Sequence[Invoice], minor: int) -> Bill:
    """Return what a credit note of *minor* for *invoice* says, of which *notes* have given back something already.

    The sum is shared out among the rates, and what has none, in proportion to what is left of each, and so is each
    rate's tax. Nobody gets less than nothing, or more than is left, and whoever takes the last of it takes the rest:
    the credit notes of an invoice that is wholly given back sum to its taxes exactly, whatever was rounded on the way.

    Args:
        invoice: To be corrected.
        notes: All its credit notes so far.
        minor: How much to give back, in the currency's smallest unit; more than nothing and no more than is left.
    """
    taxes = [_left(tax, notes) for tax in invoice.bill.taxes]
    left = invoice.total.minor - sum(note.total.minor for note in notes)
    untaxed = left - sum(tax.gross_minor for tax in taxes)
    shares = _shared(minor, [*(tax.gross_minor for tax in taxes), untaxed])
    total = Money(invoice.total.currency, minor)
    line = Line(
        sku="",
        name=f"Refund for invoice {invoice.number}",
        quantity=1,
        unit_price_nanos=total.in_nanos,
        total_nanos=total.in_nanos,
    )
    return Bill(
        currency=total.currency,
        lines=(line,),
        taxes=tuple(
            Tax(
                rate_percent=tax.rate_percent,
                gross_minor=share,
                tax_minor=_rounded(tax.tax_minor * share, tax.gross_minor),
            )
            for tax, share in zip(taxes, shares, strict=False)  # the last share has no tax
            if share
        ),
        buyer=invoice.bill.buyer,
    )


def _left(tax: Tax, notes: Sequence[Invoice]) -> Tax:
    """Return what is left of *tax* after *notes*."""
    given_back = [each for note in notes for each in note.bill.taxes if each.rate_percent == tax.rate_percent]
    return Tax(
        rate_percent=tax.rate_percent,
        gross_minor=tax.gross_minor - sum(each.gross_minor for each in given_back),
        tax_minor=tax.tax_minor - sum(each.tax_minor for each in given_back),
    )


def _shared(sum_: int, weights: Sequence[int]) -> list[int]:
    """Return *sum_* shared out in proportion to *weights*, whose sum is no less; each share is at most its weight.

    Source: method of largest remainders (Hamilton's); of equal remainders the first wins.
    """
    whole = sum(weights)
    shares = [sum_ * weight // whole for weight in weights]
    by_remainder = sorted(range(len(weights)), key=lambda index: -(sum_ * weights[index] % whole))
    for index in by_remainder[: sum_ - sum(shares)]:
        shares[index] += 1
    return shares


def _rounded(dividend: int, divisor: int) -> int:
    """Return the quotient, neither number negative, rounded to the nearest whole number, halves up."""
    return (2 * dividend + divisor) // (2 * divisor)
