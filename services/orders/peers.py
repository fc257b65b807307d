"""What orders asks of other services, and what their refusals mean here."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final
from uuid import UUID

from shop.catalog.v1 import catalog_pb2, catalog_pb2_grpc
from shop.inventory.v1 import inventory_pb2, inventory_pb2_grpc
from shop.payments.v1 import invoices_pb2, payments_pb2, payments_pb2_grpc
from shop.shipping.v1 import shipping_pb2, shipping_pb2_grpc
from shop.users.v1 import users_pb2, users_pb2_grpc

from services.orders.messages import address_message, money_message, money_of
from services.orders.pricing import Offer
from services.orders.refusals import (
    DESTINATION_NOT_SERVED,
    DestinationNotServed,
    InsufficientStock,
    PeerUnavailable,
    UserDeactivated,
    UserNotFound,
)
from weft.client import PeerError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Sequence
    from typing import TypeVar

    from services.orders.domain import Order
    from services.orders.events import Address, Line, Tax
    from services.orders.money import Money
    from weft.client import Peers

    T = TypeVar("T")

__all__ = ["Buyers", "Inventory", "Offers", "Payments", "Shipping"]

RETRY_AFTER_S: Final = 1.0
_TROUBLE: Final = {"UNAVAILABLE", "RESOURCE_EXHAUSTED"}
"""Codes of a peer that did nothing; DEADLINE_EXCEEDED is not among them: then it's our caller's time that is up."""
_IN_DOUBT: Final = {*_TROUBLE, "DEADLINE_EXCEEDED", "ABORTED", "INTERNAL", "UNKNOWN", "CANCELLED"}
"""Codes that leave open whether it was done."""
_LINE: Final = re.compile(r"lines\[(\d+)\]")


class Buyers:
    """Users, as orders knows them."""

    def __init__(self, peers: Peers) -> None:
        self._users: users_pb2_grpc.UsersServiceAsyncStub = peers.stub(users_pb2_grpc.UsersServiceStub, "users")  # type: ignore[assignment]  # a stub made of an asynchronous channel

    async def require_active(self, user_id: str) -> None:
        """Return if the caller, whose id is *user_id*, may buy.

        Raises:
            UserDeactivated, UserNotFound: the account can't.
            PeerUnavailable: it can't be known at the moment.
        """
        try:
            await self._users.GetMe(users_pb2.GetMeRequest())
        except PeerError as error:
            if error.reason == "USER_DEACTIVATED":
                raise UserDeactivated(user_id) from error
            if error.reason == "USER_NOT_FOUND":
                raise UserNotFound(user_id) from error
            raise _understood(error) from error


class Offers:
    """The catalog, as orders knows it."""

    def __init__(self, peers: Peers) -> None:
        self._catalog: catalog_pb2_grpc.CatalogServiceAsyncStub = peers.stub(  # type: ignore[assignment]  # see Buyers
            catalog_pb2_grpc.CatalogServiceStub, "catalog"
        )

    async def find(self, product_ids: Sequence[UUID]) -> dict[UUID, Offer]:
        """Return what is on sale of *product_ids*, at its price of this moment. Raises PeerUnavailable."""
        try:
            response = await self._catalog.BatchGetProducts(
                catalog_pb2.BatchGetProductsRequest(product_ids=map(str, product_ids))
            )
        except PeerError as error:
            raise _understood(error) from error
        return {UUID(product.product_id): _offer(product) for product in response.products}


class Inventory:
    """Inventory, as orders knows it.

    Each method here and below that does something raises PeerUnavailable where it is open whether it was done, and the
    peer's own PeerError where it was refused; a repeat with the same *request_id* does nothing twice.
    """

    def __init__(self, peers: Peers) -> None:
        self._inventory: inventory_pb2_grpc.InventoryServiceAsyncStub = peers.stub(  # type: ignore[assignment]  # see Buyers
            inventory_pb2_grpc.InventoryServiceStub, "inventory"
        )

    async def reserve(self, order: Order, request_id: str) -> datetime | None:
        """Reserve what *order* is of; return until when that holds. Raises InsufficientStock too."""
        request = inventory_pb2.ReserveStockRequest(
            order_id=str(order.order_id),
            lines=[inventory_pb2.StockLine(sku=line.sku, quantity=line.quantity) for line in order.lines],
            request_id=request_id,
        )
        try:
            response = await _judged(self._inventory.ReserveStock(request))
        except PeerError as error:
            if error.reason == "INSUFFICIENT_STOCK":
                raise _insufficient(error, order) from error
            raise
        return response.expire_time.ToDatetime(UTC) if response.HasField("expire_time") else None

    async def release(self, order_id: UUID, request_id: str) -> None:
        request = inventory_pb2.ReleaseStockRequest(order_id=str(order_id), request_id=request_id)
        await _judged(self._inventory.ReleaseStock(request))

    async def commit(self, order_id: UUID, request_id: str) -> None:
        request = inventory_pb2.CommitStockRequest(order_id=str(order_id), request_id=request_id)
        await _judged(self._inventory.CommitStock(request))


class Payments:
    """Payments, as orders knows them."""

    def __init__(self, peers: Peers) -> None:
        self._payments: payments_pb2_grpc.PaymentsServiceAsyncStub = peers.stub(  # type: ignore[assignment]  # see Buyers
            payments_pb2_grpc.PaymentsServiceStub, "payments"
        )

    async def authorize(self, order: Order, payment_method: str, request_id: str) -> None:
        request = payments_pb2.AuthorizePaymentRequest(
            order_id=str(order.order_id),
            user_id=order.user_id,
            amount=money_message(order.total),
            payment_method=payment_method,
            request_id=request_id,
        )
        await _judged(self._payments.AuthorizePayment(request))

    async def capture(self, order: Order, buyer: Address, request_id: str) -> None:
        request = payments_pb2.CapturePaymentRequest(
            order_id=str(order.order_id),
            request_id=request_id,
            lines=map(_sold, order.lines),
            shipping=None if order.shipping.is_nothing else money_message(order.shipping),
            taxes=map(_taxed, order.taxes),
            buyer=address_message(buyer),
        )
        await _judged(self._payments.CapturePayment(request))

    async def void(self, order_id: UUID, request_id: str) -> None:
        request = payments_pb2.VoidPaymentRequest(order_id=str(order_id), request_id=request_id)
        await _judged(self._payments.VoidPayment(request))

    async def refund(self, order_id: UUID, request_id: str) -> None:
        request = payments_pb2.RefundPaymentRequest(order_id=str(order_id), request_id=request_id)
        await _judged(self._payments.RefundPayment(request))


class Shipping:
    """Shipping, as orders knows it."""

    def __init__(self, peers: Peers) -> None:
        self._shipping: shipping_pb2_grpc.ShippingServiceAsyncStub = peers.stub(  # type: ignore[assignment]  # see Buyers
            shipping_pb2_grpc.ShippingServiceStub, "shipping"
        )

    async def quote(self, country_code: str, units: int) -> Money:
        """Return what sending *units* to a country costs; nothing is booked.

        Raises:
            DestinationNotServed: no carrier goes there.
            PeerUnavailable: it can't be known at the moment.
        """
        request = shipping_pb2.QuoteShipmentRequest(
            destination=shipping_pb2.Destination(country_code=country_code), units=units
        )
        try:
            response = await self._shipping.QuoteShipment(request)
        except PeerError as error:
            if error.reason == DESTINATION_NOT_SERVED:
                raise DestinationNotServed from error
            raise _understood(error) from error
        return money_of(response.rate)

    async def schedule(self, order: Order, destination: Address, request_id: str) -> None:
        request = shipping_pb2.ScheduleShipmentRequest(
            order_id=str(order.order_id),
            user_id=order.user_id,
            destination=address_message(destination),
            units=order.unit_count,
            request_id=request_id,
        )
        await _judged(self._shipping.ScheduleShipment(request))

    async def cancel(self, order_id: UUID, request_id: str) -> None:
        request = shipping_pb2.CancelShipmentRequest(order_id=str(order_id), request_id=request_id)
        await _judged(self._shipping.CancelShipment(request))


async def _judged(call: Awaitable[T]) -> T:
    """Return what *call* returns. Raises PeerUnavailable for what is in doubt, PeerError for what was refused."""
    try:
        return await call
    except PeerError as error:
        if error.code in _IN_DOUBT:
            raise PeerUnavailable(error.peer, retry_after_s=error.retry_after_s) from error
        raise


def _insufficient(error: PeerError, order: Order) -> InsufficientStock:
    """Return the refusal with lines and products named as our own caller named them: inventory knows neither."""
    found = {int(match[1]) for each in error.violations if (match := _LINE.match(each.field))}
    short = {index: order.lines[index].product_id for index in sorted(found) if index < len(order.lines)}
    return InsufficientStock(error.message, short)


def _sold(line: Line) -> invoices_pb2.InvoiceLine:
    return invoices_pb2.InvoiceLine(
        sku=line.sku,
        name=line.name,
        quantity=line.quantity,
        unit_price=money_message(line.unit_price),
        total=money_message(line.total),
    )


def _taxed(tax: Tax) -> invoices_pb2.InvoiceTax:
    return invoices_pb2.InvoiceTax(
        rate_percent=tax.rate_percent, gross=money_message(tax.gross), tax=money_message(tax.tax)
    )


def _offer(product: catalog_pb2.Product) -> Offer:
    return Offer(
        sku=product.sku,
        name=product.name,
        unit_price=money_of(product.price),
        category=product.category,
        is_sold_out=product.availability == catalog_pb2.AVAILABILITY_OUT,
    )


def _understood(error: PeerError) -> PeerError | PeerUnavailable:
    """Return what to raise for *error*: itself, where it means nothing to our callers."""
    if error.code in _TROUBLE:
        return PeerUnavailable(error.peer, retry_after_s=error.retry_after_s or RETRY_AFTER_S)
    return error
