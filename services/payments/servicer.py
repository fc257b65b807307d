"""`shop.payments.v1.PaymentsService`."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Final, Protocol
from uuid import UUID, uuid4

from google.protobuf.timestamp_pb2 import Timestamp
from shop.payments.v1 import payments_pb2 as pb
from shop.payments.v1 import payments_pb2_grpc as pb_grpc

from services import paging
from services.payments import store
from services.payments.announcements import message_of
from services.payments.domain import Payment, Refund, State
from services.payments.money import Money, NotPayable
from services.payments.provider import Card
from services.payments.refusals import InvalidFields, PaymentNotFound, ProviderNotStripe
from weft.call import caller
from weft.errors import Violation

if TYPE_CHECKING:
    from google.type.money_pb2 import Money as MoneyMessage

    from services.payments.cashier import Cashier
    from weft.data import Database
    from weft.server import Context

__all__ = ["PaymentsServicer", "Webhooks"]

PAGE_SIZE: Final = 50
_PAGES: Final = "payments"
_ADMIN: Final = "admin"
_STATES: Final = {state: pb.Payment.State.Value(f"STATE_{state.name}") for state in State}


class Webhooks(Protocol):
    """Reads what the provider sends by itself."""

    def reference_in(self, body: bytes, signature: str) -> str | None:
        """Return which payment *body* is about, if any. Raises SignatureInvalid."""


class PaymentsServicer(pb_grpc.PaymentsServiceServicer):
    """Translates; see the contract for what each method promises."""

    def __init__(self, database: Database, cashier: Cashier, *, webhooks: Webhooks | None = None) -> None:
        self._database = database
        self._cashier = cashier
        self._webhooks = webhooks

    async def CreatePaymentMethod(
        self, request: pb.CreatePaymentMethodRequest, context: Context
    ) -> pb.CreatePaymentMethodResponse:
        card = Card(
            number=request.card_number,
            expiry_month=request.expiry_month,
            expiry_year=request.expiry_year,
            security_code=request.security_code,
        )
        return pb.CreatePaymentMethodResponse(payment_method=await self._cashier.create_payment_method(card))

    async def AuthorizePayment(
        self, request: pb.AuthorizePaymentRequest, context: Context
    ) -> pb.AuthorizePaymentResponse:
        payment = await self._cashier.authorize(
            UUID(request.order_id), request.user_id, _money(request.amount), request.payment_method
        )
        return pb.AuthorizePaymentResponse(payment=_message(payment))

    async def CapturePayment(self, request: pb.CapturePaymentRequest, context: Context) -> pb.CapturePaymentResponse:
        payment = await self._cashier.capture(UUID(request.order_id))
        return pb.CapturePaymentResponse(payment=_message(payment))

    async def VoidPayment(self, request: pb.VoidPaymentRequest, context: Context) -> pb.VoidPaymentResponse:
        await self._cashier.void(UUID(request.order_id))
        return pb.VoidPaymentResponse()

    async def RefundPayment(self, request: pb.RefundPaymentRequest, context: Context) -> pb.RefundPaymentResponse:
        payment = await self._cashier.refund(UUID(request.order_id))
        return pb.RefundPaymentResponse(payment=_message(payment))

    async def RefundPart(self, request: pb.RefundPartRequest, context: Context) -> pb.RefundPartResponse:
        order_id, amount = UUID(request.order_id), _money(request.amount)
        payment = await self._find(order_id)
        if payment.amount.currency != amount.currency:
            raise InvalidFields(Violation("amount.currencyCode", f"must be {payment.amount.currency}"))
        request_id = request.request_id or str(uuid4())
        refund = Refund.asked_by(payment.payment_id, caller().subject, request_id, amount.minor)
        payment = await self._cashier.refund_part(order_id, refund)
        return pb.RefundPartResponse(payment=_message(payment))

    async def GetPayment(self, request: pb.GetPaymentRequest, context: Context) -> pb.GetPaymentResponse:
        payment, identity = await self._find(UUID(request.order_id)), caller()
        if identity.subject != payment.user_id and _ADMIN not in identity.roles:
            raise PaymentNotFound(payment.order_id)
        return pb.GetPaymentResponse(payment=_message(payment))

    async def ListPayments(self, request: pb.ListPaymentsRequest, context: Context) -> pb.ListPaymentsResponse:
        size = request.page_size or PAGE_SIZE
        after = paging.decode(request.page_token, _PAGES, paging.time, UUID) if request.page_token else None
        payments = await store.list_page(self._database, size + 1, after)
        token = ""
        if len(payments) > size:
            last = payments[size - 1]
            token = paging.encode(_PAGES, last.create_time, last.payment_id)
        return pb.ListPaymentsResponse(payments=map(_message, payments[:size]), next_page_token=token)

    async def HandleStripeWebhook(
        self, request: pb.HandleStripeWebhookRequest, context: Context
    ) -> pb.HandleStripeWebhookResponse:
        if self._webhooks is None:
            raise ProviderNotStripe
        signature = dict(context.invocation_metadata() or ()).get("stripe-signature", "")
        reference = self._webhooks.reference_in(request.event.data, str(signature))
        if reference:
            async with self._database.transaction() as tx:
                await store.nudge(tx, reference)
        return pb.HandleStripeWebhookResponse()

    async def _find(self, order_id: UUID) -> Payment:
        """Return what was asked for, and not the mere note that an order is off. Raises PaymentNotFound."""
        payment = await store.find_payment(self._database, order_id)
        if payment is None or payment.is_closed_door:
            raise PaymentNotFound(order_id)
        return payment


def _message(payment: Payment) -> pb.Payment:
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


def _money(amount: MoneyMessage) -> Money:
    """Raises InvalidFields where no provider could move exactly that."""
    try:
        return Money.of(amount.currency_code, amount.units, amount.nanos)
    except NotPayable:
        violation = Violation("amount.nanos", "must be a whole number of the currency's smallest unit")
        raise InvalidFields(violation) from None


def _timestamp(time: datetime) -> Timestamp:
    stamp = Timestamp()
    stamp.FromDatetime(time)
    return stamp
