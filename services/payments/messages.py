"""Payments and invoices as the contract writes them."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Final

from google.protobuf.timestamp_pb2 import Timestamp
from google.type.money_pb2 import Money as MoneyMessage
from shop.payments.v1 import invoices_pb2
from shop.payments.v1 import payments_pb2 as pb
from shop.shipping.v1 import shipping_pb2

from services.payments.announcements import message_of
from services.payments.domain import State
from services.payments.invoices import Address, Bill, Kind, Line, Tax
from services.payments.money import NANOS, Money, NotPayable
from services.payments.refusals import InvalidFields
from weft.errors import Violation

if TYPE_CHECKING:
    from collections.abc import Iterator

    from services.payments.domain import Payment
    from services.payments.invoices import Invoice

__all__ = ["bill_of", "invoice_message", "money_of", "payment_message"]

_STATES: Final = {state: pb.Payment.State.Value(f"STATE_{state.name}") for state in State}
_KINDS: Final = {kind: invoices_pb2.Invoice.Kind.Value(f"KIND_{kind.name}") for kind in Kind}


def payment_message(payment: Payment) -> pb.Payment:
    return pb.Payment(
        payment_id=str(payment.payment_id),
        order_id=str(payment.order_id),
        user_id=payment.user_id,
        state=_STATES[payment.state],
        amount=message_of(payment.amount),
        refunded=message_of(Money(payment.amount.currency, payment.refunded_minor)),
        decline_code=payment.decline_code,
        create_time=_timestamp(payment.create_time),
        update_time=_timestamp(payment.update_time),
    )


def invoice_message(invoice: Invoice) -> invoices_pb2.Invoice:
    bill, currency = invoice.bill, invoice.bill.currency
    buyer = bill.buyer
    return invoices_pb2.Invoice(
        invoice_number=str(invoice.number),
        kind=_KINDS[invoice.kind],
        order_id=str(invoice.order_id),
        user_id=invoice.user_id,
        issue_time=_timestamp(invoice.issue_time),
        corrects=str(invoice.corrects) if invoice.corrects else "",
        lines=[
            invoices_pb2.InvoiceLine(
                sku=line.sku,
                name=line.name,
                quantity=line.quantity,
                unit_price=_sum(currency, line.unit_price_nanos),
                total=_sum(currency, line.total_nanos),
            )
            for line in bill.lines
        ],
        shipping=_sum(currency, bill.shipping_nanos),
        total=message_of(invoice.total),
        taxes=[
            invoices_pb2.InvoiceTax(
                rate_percent=tax.rate_percent,
                gross=message_of(Money(currency, tax.gross_minor)),
                tax=message_of(Money(currency, tax.tax_minor)),
            )
            for tax in bill.taxes
        ],
        buyer=shipping_pb2.Address(
            recipient=buyer.recipient,
            street_lines=buyer.street_lines,
            postal_code=buyer.postal_code,
            city=buyer.city,
            country_code=buyer.country_code,
        ),
    )


def bill_of(request: pb.CapturePaymentRequest) -> Bill:
    """Return what money is to be taken for. Raises InvalidFields."""
    currency = request.lines[0].unit_price.currency_code
    violations = [
        Violation(f"{path}.currencyCode", "must be the same everywhere")
        for path, money in _sums(request)
        if money.currency_code != currency
    ]
    if violations:
        raise InvalidFields(*violations)
    buyer = request.buyer
    return Bill(
        currency=currency,
        lines=tuple(
            Line(
                sku=line.sku,
                name=line.name,
                quantity=line.quantity,
                unit_price_nanos=_nanos(line.unit_price),
                total_nanos=_nanos(line.total),
            )
            for line in request.lines
        ),
        shipping_nanos=_nanos(request.shipping),
        taxes=tuple(
            Tax(
                rate_percent=tax.rate_percent,
                gross_minor=money_of(tax.gross, f"taxes[{index}].gross").minor,
                tax_minor=money_of(tax.tax, f"taxes[{index}].tax").minor,
            )
            for index, tax in enumerate(request.taxes)
        ),
        buyer=Address(
            recipient=buyer.recipient,
            street_lines=tuple(buyer.street_lines),
            postal_code=buyer.postal_code,
            city=buyer.city,
            country_code=buyer.country_code,
        ),
    )


def money_of(amount: MoneyMessage, path: str = "amount") -> Money:
    """Raises InvalidFields where no provider could move exactly that."""
    try:
        return Money.of(amount.currency_code, amount.units, amount.nanos)
    except NotPayable:
        violation = Violation(f"{path}.nanos", "must be a whole number of the currency's smallest unit")
        raise InvalidFields(violation) from None


def _sums(request: pb.CapturePaymentRequest) -> Iterator[tuple[str, MoneyMessage]]:
    """Yield all sums of money of *request*, each with the path to it."""
    for index, line in enumerate(request.lines):
        yield f"lines[{index}].unitPrice", line.unit_price
        yield f"lines[{index}].total", line.total
    if request.HasField("shipping"):
        yield "shipping", request.shipping
    for index, tax in enumerate(request.taxes):
        yield f"taxes[{index}].gross", tax.gross
        yield f"taxes[{index}].tax", tax.tax


def _sum(currency: str, nanos: int) -> MoneyMessage:
    units, rest = divmod(nanos, NANOS)
    return MoneyMessage(currency_code=currency, units=units, nanos=rest)


def _nanos(money: MoneyMessage) -> int:
    return int(money.units) * NANOS + int(money.nanos)


def _timestamp(time: datetime) -> Timestamp:
    stamp = Timestamp()
    stamp.FromDatetime(time)
    return stamp
