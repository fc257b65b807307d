"""Requests of the payments service, in as few words as tests need."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from shop.payments.v1 import invoices_pb2
from shop.payments.v1 import payments_pb2 as pb
from shop.shipping.v1 import shipping_pb2

from tests.mesh.services.calls import euros


def card(number: str, **fields: Any) -> pb.CreatePaymentMethodRequest:
    values: dict[str, Any] = {"card_number": number, "expiry_month": 12, "expiry_year": 2099, "security_code": "123"}
    return pb.CreatePaymentMethodRequest(**(values | fields))


HOME = shipping_pb2.Address(
    recipient="Ada Lovelace", street_lines=["12 St James's Square"], postal_code="SW1Y 4JH", city="London",
    country_code="GB",
)  # fmt: skip


def line(price: str = "14.50", quantity: int = 1, **fields: Any) -> invoices_pb2.InvoiceLine:
    total = euros(str(Decimal(price) * quantity))
    values: dict[str, Any] = {
        "sku": "MUG-BLUE",
        "name": "Stoneware mug, blue",
        "quantity": quantity,
        "unit_price": euros(price),
    }
    return invoices_pb2.InvoiceLine(**(values | {"total": total} | fields))


def tax(rate: str, gross: str, amount: str) -> invoices_pb2.InvoiceTax:
    return invoices_pb2.InvoiceTax(rate_percent=rate, gross=euros(gross), tax=euros(amount))


def capture(order_id: str, amount: str = "14.50", **fields: Any) -> pb.CapturePaymentRequest:
    """Return a capture of *amount* for one mug, unless *fields* say more."""
    values: dict[str, Any] = {"order_id": order_id, "lines": [line(amount)], "buyer": HOME}
    return pb.CapturePaymentRequest(**(values | fields))


def void(order_id: str, **fields: Any) -> pb.VoidPaymentRequest:
    return pb.VoidPaymentRequest(order_id=order_id, **fields)


def refund(order_id: str, **fields: Any) -> pb.RefundPaymentRequest:
    return pb.RefundPaymentRequest(order_id=order_id, **fields)


def part(order_id: str, amount: str, request_id: str = "") -> pb.RefundPartRequest:
    return pb.RefundPartRequest(order_id=order_id, amount=euros(amount), request_id=request_id)
