"""Inventory, payments and shipping as orders knows them: small, real servers that fail on cue.

Each keeps its promise by order id: a repeat does nothing twice, and what was undone can't be done any more, also where
it never was done.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any
from uuid import UUID

from google.type.money_pb2 import Money
from shop.catalog.v1 import catalog_pb2
from shop.inventory.v1 import inventory_pb2
from shop.payments.v1 import payments_pb2
from shop.shipping.v1 import shipping_pb2
from shop.users.v1 import users_pb2

from weft.errors import FailedPrecondition, NotFound, Unavailable, Violation

__all__ = ["MUG", "POT", "Catalog", "Fault", "Inventory", "Payments", "Peer", "Shipping", "Users"]


MUG, POT = str(UUID(int=1)), str(UUID(int=2))
"""What the catalog sells, at 14.50 each."""


class Fault(StrEnum):
    """What becomes of a call."""

    REFUSED = "refused"
    UNAVAILABLE = "unavailable"
    """Nothing is done."""
    LOST = "answer lost"
    """It is done, and the caller hears of trouble."""
    LATE = "late"
    """The caller's time is up; it is done when `arrive` says so."""


class Peer:
    """What the three have in common."""

    def __init__(self) -> None:
        self.faults: dict[str, tuple[Fault, int]] = {}
        """Method -> what becomes of its next so many calls."""
        self.calls: list[tuple[str, str, str]] = []
        """Method, order and request id of each call that came, in order."""
        self.state: dict[str, str] = {}
        """Order -> where its units, its money or its parcel are."""
        self.effects: Counter[tuple[str, str]] = Counter()
        """Order and what was done for it -> how often."""
        self._late: list[Callable[[], object]] = []
        self.held = asyncio.Event()
        """Calls wait for this; it is set unless a test holds them up."""
        self.held.set()

    def fail(self, method: str, fault: Fault, times: int = 1_000_000) -> None:
        self.faults[method] = fault, times

    def heal(self) -> None:
        self.faults.clear()

    def arrive(self) -> None:
        """Let everything arrive now that is late."""
        while self._late:
            effect = self._late.pop()
            try:
                effect()
            except FailedPrecondition:
                continue

    def count(self, method: str) -> int:
        return sum(called == method for called, _, _ in self.calls)

    async def _meet(self, method: str, request: Any, effect: Callable[[], None], refusal: str) -> None:
        self.calls.append((method, request.order_id, request.request_id))
        await self.held.wait()
        await self._suffer(method, request, effect, refusal)

    async def _suffer(self, method: str, request: Any, effect: Callable[[], None], refusal: str) -> None:
        """Have *effect*, unless the method is to fail."""
        fault, times = self.faults.get(method, (None, 0))
        if fault is not None:
            self.faults[method] = fault, times - 1
            if times <= 1:
                del self.faults[method]
        match fault:
            case None:
                effect()
            case Fault.REFUSED:
                raise self._refusal(refusal, request)
            case Fault.UNAVAILABLE:
                raise Unavailable("no", reason="DATABASE_UNAVAILABLE")
            case Fault.LOST:
                effect()
                raise Unavailable("it was done, but who knows that", reason="DATABASE_UNAVAILABLE")
            case Fault.LATE:
                self._late.append(effect)
                await asyncio.sleep(60)  # until the caller has given up

    def _refusal(self, reason: str, _request: Any) -> FailedPrecondition:
        return FailedPrecondition("no", reason=reason)

    def _move(self, order_id: str, moves: dict[str | None, str], closed: dict[str, str]) -> None:
        """Do for an order what *moves* says of where it is; it stays where neither says anything."""
        where = self.state.get(order_id)
        if where in closed:
            raise FailedPrecondition("the door is closed", reason=closed[where])
        if where in moves:
            self.state[order_id] = moves[where]
            self.effects[order_id, moves[where]] += 1


class Users:
    """Everybody may buy."""

    async def GetMe(self, request: Any, context: Any) -> Any:
        return users_pb2.GetMeResponse()


class Catalog:
    """Sells a mug and a pot."""

    def __init__(self) -> None:
        self.products: dict[str, Any] = {}
        self.is_away = False
        self.asked = 0
        self.sell(MUG, "MUG")
        self.sell(POT, "POT")

    def sell(self, product_id: str, sku: str, cents: int = 1450, *, currency: str = "EUR", **fields: Any) -> None:
        """Have a product on sale, at this price from now on."""
        units, rest = divmod(cents, 100)
        price = Money(currency_code=currency, units=units, nanos=rest * 10_000_000)
        fields = {"name": sku.title(), "category": "kitchen", "price": price} | fields
        self.products[product_id] = catalog_pb2.Product(product_id=product_id, sku=sku, **fields)

    def sell_out(self, product_id: str) -> None:
        self.products[product_id].availability = catalog_pb2.AVAILABILITY_OUT

    def withdraw(self, product_id: str) -> None:
        del self.products[product_id]

    async def BatchGetProducts(self, request: Any, context: Any) -> Any:
        self.asked += 1
        if self.is_away:
            raise Unavailable("no", reason="DATABASE_UNAVAILABLE")
        found = [self.products[each] for each in request.product_ids if each in self.products]
        return catalog_pb2.BatchGetProductsResponse(products=found)


class Inventory(Peer):
    """Where units of an order are: reserved, sold, released, or returned."""

    def __init__(self) -> None:
        super().__init__()
        self.short: set[str] = set()
        """SKUs that can't be had."""
        self.hold = timedelta(minutes=15)

    async def ReserveStock(self, request: Any, context: Any) -> Any:
        short = [index for index, line in enumerate(request.lines) if line.sku in self.short]
        if short:
            self.calls.append(("ReserveStock", request.order_id, request.request_id))
            raise self._refusal("INSUFFICIENT_STOCK", request)
        closed = {"released": "RESERVATION_CLOSED", "returned": "RESERVATION_CLOSED"}
        await self._meet(
            "ReserveStock",
            request,
            lambda: self._move(request.order_id, {None: "reserved"}, closed),
            "INSUFFICIENT_STOCK",
        )
        response = inventory_pb2.ReserveStockResponse()
        response.expire_time.FromDatetime(datetime.now(UTC) + self.hold)
        return response

    async def ReleaseStock(self, request: Any, context: Any) -> Any:
        moves: dict[str | None, str] = {None: "released", "reserved": "released", "sold": "returned"}
        await self._meet("ReleaseStock", request, lambda: self._move(request.order_id, moves, {}), "BROKEN")
        return inventory_pb2.ReleaseStockResponse()

    async def CommitStock(self, request: Any, context: Any) -> Any:
        def commit() -> None:
            if request.order_id not in self.state:
                raise NotFound("nothing reserved", reason="RESERVATION_NOT_FOUND")
            closed = {"released": "RESERVATION_CLOSED", "returned": "RESERVATION_CLOSED"}
            self._move(request.order_id, {"reserved": "sold"}, closed)

        await self._meet("CommitStock", request, commit, "INSUFFICIENT_STOCK")
        return inventory_pb2.CommitStockResponse()

    def _refusal(self, reason: str, request: Any) -> FailedPrecondition:
        if reason != "INSUFFICIENT_STOCK" or not isinstance(request, inventory_pb2.ReserveStockRequest):
            return super()._refusal(reason, request)
        short = [index for index, line in enumerate(request.lines) if not self.short or line.sku in self.short]
        return FailedPrecondition(
            "too few units",
            reason=reason,
            violations=[Violation(f"lines[{index}].quantity", "only 0 on hand") for index in short],
            lines=",".join(map(str, short)),
            skus=",".join(request.lines[index].sku for index in short),
        )


class Payments(Peer):
    """Where the money of an order is: authorized, captured, voided, or refunded."""

    def __init__(self) -> None:
        super().__init__()
        self.amounts: dict[str, Any] = {}
        self.bills: dict[str, Any] = {}
        """Order -> the request by which its money was taken."""
        self.methods: dict[str, str] = {}
        """What each order was to be paid with."""

    async def AuthorizePayment(self, request: Any, context: Any) -> Any:
        self.methods[request.order_id] = request.payment_method
        if request.payment_method == "pm_test_declined":
            self.calls.append(("AuthorizePayment", request.order_id, request.request_id))
            raise self._refusal("PAYMENT_DECLINED", request)

        def authorize() -> None:
            self._move(request.order_id, {None: "authorized"}, {"voided": "PAYMENT_CLOSED"})
            self.amounts[request.order_id] = request.amount

        await self._meet("AuthorizePayment", request, authorize, "PAYMENT_DECLINED")
        return payments_pb2.AuthorizePaymentResponse()

    async def CapturePayment(self, request: Any, context: Any) -> Any:
        def capture() -> None:
            if request.order_id not in self.state:
                raise NotFound("no payment", reason="PAYMENT_NOT_FOUND")
            self.bills[request.order_id] = request
            self._move(request.order_id, {"authorized": "captured"}, {"voided": "PAYMENT_CLOSED"})

        await self._meet("CapturePayment", request, capture, "PAYMENT_CLOSED")
        return payments_pb2.CapturePaymentResponse()

    async def VoidPayment(self, request: Any, context: Any) -> Any:
        moves: dict[str | None, str] = {None: "voided", "authorized": "voided"}
        closed = {"captured": "PAYMENT_CAPTURED", "refunded": "PAYMENT_CAPTURED"}
        await self._meet("VoidPayment", request, lambda: self._move(request.order_id, moves, closed), "BROKEN")
        return payments_pb2.VoidPaymentResponse()

    async def RefundPayment(self, request: Any, context: Any) -> Any:
        def refund() -> None:
            if request.order_id not in self.state:
                raise NotFound("no payment", reason="PAYMENT_NOT_FOUND")
            self._move(request.order_id, {"authorized": "voided", "captured": "refunded"}, {})

        await self._meet("RefundPayment", request, refund, "BROKEN")
        return payments_pb2.RefundPaymentResponse()

    def _refusal(self, reason: str, request: Any) -> FailedPrecondition:
        if reason == "PAYMENT_DECLINED":
            return FailedPrecondition("declined", reason=reason, decline_code="insufficient_funds")
        return super()._refusal(reason, request)


class Shipping(Peer):
    """Where the parcel of an order is: created, dispatched, or cancelled."""

    def __init__(self) -> None:
        super().__init__()
        self.parcels: dict[str, Any] = {}
        """Order -> the request that its parcel was booked with."""
        self.rate = Money(currency_code="EUR", units=4, nanos=900_000_000)
        """What every parcel costs."""
        self.quoted: list[Any] = []
        """What was asked before anything is done; nobody holds these calls up."""

    async def QuoteShipment(self, request: Any, context: Any) -> Any:
        self.quoted.append(request)
        await self._suffer("QuoteShipment", request, lambda: None, "DESTINATION_NOT_SERVED")
        return shipping_pb2.QuoteShipmentResponse(rate=self.rate)

    async def ScheduleShipment(self, request: Any, context: Any) -> Any:
        def schedule() -> None:
            self._move(request.order_id, {None: "created"}, {"cancelled": "SHIPMENT_CANCELLED"})
            self.parcels[request.order_id] = request

        await self._meet("ScheduleShipment", request, schedule, "DESTINATION_NOT_SERVED")
        return shipping_pb2.ScheduleShipmentResponse()

    async def CancelShipment(self, request: Any, context: Any) -> Any:
        moves: dict[str | None, str] = {None: "cancelled", "created": "cancelled"}
        closed = {"dispatched": "SHIPMENT_DISPATCHED"}
        await self._meet(
            "CancelShipment", request, lambda: self._move(request.order_id, moves, closed), "SHIPMENT_DISPATCHED"
        )
        return shipping_pb2.CancelShipmentResponse()
