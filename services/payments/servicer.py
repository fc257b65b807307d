"""`shop.payments.v1.PaymentsService`."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Protocol
from uuid import UUID, uuid4

from google.api.httpbody_pb2 import HttpBody
from shop.payments.v1 import payments_pb2 as pb
from shop.payments.v1 import payments_pb2_grpc as pb_grpc

from services import paging
from services.exporting import every
from services.payments import invoice_store, store
from services.payments.domain import Payment, Refund
from services.payments.invoices import Invoice, InvoiceNumber, year_of
from services.payments.messages import bill_of, invoice_message, money_of, payment_message
from services.payments.provider import Card
from services.payments.refusals import InvalidFields, InvoiceNotFound, PaymentNotFound, ProviderNotStripe
from weft.call import caller
from weft.errors import Violation

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from google.protobuf.message import Message

    from services.payments.cashier import Cashier
    from services.payments.printing import Printer
    from weft.data import Database
    from weft.server import Context

__all__ = ["PaymentsServicer", "Webhooks"]

PAGE_SIZE: Final = 50
INVOICES_PAGE_SIZE: Final = 20
_PAGES: Final = "payments"
_ADMIN: Final = "admin"
_YEAR: Final = paging.whole(0, 9999)
_ORDINAL: Final = paging.whole(1, 999_999_999)


class Webhooks(Protocol):
    """Reads what the provider sends by itself."""

    def reference_in(self, body: bytes, signature: str) -> str | None:
        """Return which payment *body* is about, if any. Raises SignatureInvalid."""


class PaymentsServicer(pb_grpc.PaymentsServiceServicer):
    """Translates; see the contract for what each method promises."""

    def __init__(
        self, database: Database, cashier: Cashier, printer: Printer, *, webhooks: Webhooks | None = None
    ) -> None:
        self._database = database
        self._cashier = cashier
        self._printer = printer
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
            UUID(request.order_id), request.user_id, money_of(request.amount), request.payment_method
        )
        return pb.AuthorizePaymentResponse(payment=payment_message(payment))

    async def CapturePayment(self, request: pb.CapturePaymentRequest, context: Context) -> pb.CapturePaymentResponse:
        payment = await self._cashier.capture(UUID(request.order_id), bill_of(request))
        return pb.CapturePaymentResponse(payment=payment_message(payment))

    async def VoidPayment(self, request: pb.VoidPaymentRequest, context: Context) -> pb.VoidPaymentResponse:
        await self._cashier.void(UUID(request.order_id))
        return pb.VoidPaymentResponse()

    async def RefundPayment(self, request: pb.RefundPaymentRequest, context: Context) -> pb.RefundPaymentResponse:
        payment = await self._cashier.refund(UUID(request.order_id))
        return pb.RefundPaymentResponse(payment=payment_message(payment))

    async def RefundPart(self, request: pb.RefundPartRequest, context: Context) -> pb.RefundPartResponse:
        order_id, amount = UUID(request.order_id), money_of(request.amount)
        payment = await self._find(order_id)
        if payment.amount.currency != amount.currency:
            raise InvalidFields(Violation("amount.currencyCode", f"must be {payment.amount.currency}"))
        request_id = request.request_id or str(uuid4())
        refund = Refund.asked_by(payment.payment_id, caller().subject, request_id, amount.minor)
        payment = await self._cashier.refund_part(order_id, refund)
        return pb.RefundPartResponse(payment=payment_message(payment))

    async def GetPayment(self, request: pb.GetPaymentRequest, context: Context) -> pb.GetPaymentResponse:
        payment, identity = await self._find(UUID(request.order_id)), caller()
        if identity.subject != payment.user_id and _ADMIN not in identity.roles:
            raise PaymentNotFound(payment.order_id)
        return pb.GetPaymentResponse(payment=payment_message(payment))

    async def ListPayments(self, request: pb.ListPaymentsRequest, context: Context) -> pb.ListPaymentsResponse:
        size = request.page_size or PAGE_SIZE
        after = paging.decode(request.page_token, _PAGES, paging.time, UUID) if request.page_token else None
        payments = await store.list_page(self._database, size + 1, after)
        token = ""
        if len(payments) > size:
            last = payments[size - 1]
            token = paging.encode(_PAGES, last.create_time, last.payment_id)
        return pb.ListPaymentsResponse(payments=map(payment_message, payments[:size]), next_page_token=token)

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

    async def GetInvoice(self, request: pb.GetInvoiceRequest, context: Context) -> pb.GetInvoiceResponse:
        return pb.GetInvoiceResponse(invoice=invoice_message(await self._find_invoice(request.invoice_number)))

    async def ListInvoices(self, request: pb.ListInvoicesRequest, context: Context) -> pb.ListInvoicesResponse:
        size, user_id = request.page_size or INVOICES_PAGE_SIZE, caller().subject
        scope, after = f"invoices of {user_id} {request.order_id}", None
        if request.page_token:
            after = InvoiceNumber(*paging.decode(request.page_token, scope, _YEAR, _ORDINAL))
        order_id = UUID(request.order_id) if request.order_id else None
        found = await invoice_store.list_of_user(self._database, user_id, size + 1, order_id=order_id, after=after)
        token = paging.encode(scope, *found[size - 1].number) if len(found) > size else ""
        return pb.ListInvoicesResponse(invoices=map(invoice_message, found[:size]), next_page_token=token)

    async def SearchInvoices(self, request: pb.SearchInvoicesRequest, context: Context) -> pb.SearchInvoicesResponse:
        size, scope = request.page_size or PAGE_SIZE, f"invoices of year {request.year}"
        year, after = request.year or year_of(datetime.now(UTC)), 0
        if request.page_token:  # which stays in the year it began in
            year, after = paging.decode(request.page_token, scope, _YEAR, _ORDINAL)
        found = await invoice_store.list_of_year(self._database, year, size + 1, after=after)
        token = paging.encode(scope, *found[size - 1].number) if len(found) > size else ""
        return pb.SearchInvoicesResponse(invoices=map(invoice_message, found[:size]), next_page_token=token)

    async def DownloadInvoice(self, request: pb.DownloadInvoiceRequest, context: Context) -> HttpBody:
        invoice = await self._find_invoice(request.invoice_number)
        data = await self._printer.print(invoice)
        name = f"{invoice.kind}-{invoice.number}.pdf".replace("_", "-")
        await context.send_initial_metadata((("content-disposition", f'attachment; filename="{name}"'),))
        return HttpBody(content_type="application/pdf", data=data)

    async def ExportUserData(
        self, request: pb.ExportUserDataRequest, context: Context
    ) -> AsyncIterator[pb.ExportUserDataResponse]:
        user_id = str(UUID(request.user_id))
        payments = partial(store.list_of_user, self._database, user_id)
        async for payment in every(payments, lambda last: (last.create_time, last.payment_id)):
            yield _exported(payment_message(payment))

        async def invoices(limit: int, after: tuple[Any, ...] | None) -> list[Invoice]:
            number = InvoiceNumber(*after) if after else None
            return await invoice_store.list_of_user(self._database, user_id, limit, order_id=None, after=number)

        async for invoice in every(invoices, lambda last: last.number):
            yield _exported(invoice_message(invoice))

    async def _find_invoice(self, number: str) -> Invoice:
        """Return what the caller may see. Raises InvoiceNotFound."""
        parsed, identity = InvoiceNumber.parse(number), caller()
        invoice = await invoice_store.find_invoice(self._database, parsed) if parsed else None
        if invoice is None or (identity.subject != invoice.user_id and _ADMIN not in identity.roles):
            raise InvoiceNotFound(number)
        return invoice

    async def _find(self, order_id: UUID) -> Payment:
        """Return what was asked for, and not the mere note that an order is off. Raises PaymentNotFound."""
        payment = await store.find_payment(self._database, order_id)
        if payment is None or payment.is_closed_door:
            raise PaymentNotFound(order_id)
        return payment


def _exported(message: Message) -> pb.ExportUserDataResponse:
    response = pb.ExportUserDataResponse()
    response.item.Pack(message)
    return response
