"""Requests of the payments service, in as few words as tests need."""

from __future__ import annotations

from typing import Any

from shop.payments.v1 import payments_pb2 as pb

from tests.mesh.services.calls import euros


def card(number: str, **fields: Any) -> pb.CreatePaymentMethodRequest:
    values: dict[str, Any] = {"card_number": number, "expiry_month": 12, "expiry_year": 2099, "security_code": "123"}
    return pb.CreatePaymentMethodRequest(**(values | fields))


def capture(order_id: str, **fields: Any) -> pb.CapturePaymentRequest:
    return pb.CapturePaymentRequest(order_id=order_id, **fields)


def void(order_id: str, **fields: Any) -> pb.VoidPaymentRequest:
    return pb.VoidPaymentRequest(order_id=order_id, **fields)


def refund(order_id: str, **fields: Any) -> pb.RefundPaymentRequest:
    return pb.RefundPaymentRequest(order_id=order_id, **fields)


def part(order_id: str, amount: str, request_id: str = "") -> pb.RefundPartRequest:
    return pb.RefundPartRequest(order_id=order_id, amount=euros(amount), request_id=request_id)
