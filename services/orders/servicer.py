"""`shop.orders.v1.OrdersService`."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from copy import deepcopy
from functools import partial
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from shop.orders.v1 import orders_pb2 as pb
from shop.orders.v1 import orders_pb2_grpc as pb_grpc

from services import paging
from services.exporting import every
from services.orders import queries
from services.orders.cart import Seen
from services.orders.domain import State
from services.orders.messages import (
    STATES,
    address_of,
    cart_message,
    money_message,
    money_of,
    order_message,
    tax_message,
    time_of,
)
from services.orders.ordering import Purchase
from services.orders.pricing import Wanted
from services.orders.queries import Search
from weft.call import caller, current_call

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from google.protobuf.message import Message

    from services.orders.carts import Carts
    from services.orders.domain import Order
    from services.orders.ordering import Ordering
    from weft.data import Database
    from weft.server import Context

__all__ = ["OrdersServicer"]

PAGE_SIZE: Final = 20
SEARCH_PAGE_SIZE: Final = 50
MARGIN_S: Final = 0.2
"""Of a call's time, for reading what has become of the order and answering."""
_STATE_OF: Final = {number: state for state, number in STATES.items()}
_UNDER_WAY: Final = {State.PENDING, State.CANCELLING}


class OrdersServicer(pb_grpc.OrdersServiceServicer):
    """Translates; see the contract for what each method promises."""

    def __init__(self, database: Database, ordering: Ordering, carts: Carts) -> None:
        self._database, self._ordering, self._carts = database, ordering, carts

    async def PlaceOrder(self, request: pb.PlaceOrderRequest, context: Context) -> pb.PlaceOrderResponse:
        order = await self._ordering.place(_purchase(request), until=_until())
        return pb.PlaceOrderResponse(order=_answer(order))

    async def GetOrder(self, request: pb.GetOrderRequest, context: Context) -> pb.GetOrderResponse:
        order = await queries.get_order(self._database, request.order_id, caller().subject)
        return pb.GetOrderResponse(order=order_message(order))

    async def ListOrders(self, request: pb.ListOrdersRequest, context: Context) -> pb.ListOrdersResponse:
        search = Search(user_id=caller().subject)
        orders, token = await self._page(search, request.page_size or PAGE_SIZE, request.page_token)
        return pb.ListOrdersResponse(orders=map(order_message, orders), next_page_token=token)

    async def SearchOrders(self, request: pb.SearchOrdersRequest, context: Context) -> pb.SearchOrdersResponse:
        search = Search(
            user_id=request.user_id or None,
            state=_STATE_OF.get(request.state),
            from_time=time_of(request.create_time_from) if request.HasField("create_time_from") else None,
            to_time=time_of(request.create_time_to) if request.HasField("create_time_to") else None,
        )
        orders, token = await self._page(search, request.page_size or SEARCH_PAGE_SIZE, request.page_token)
        return pb.SearchOrdersResponse(orders=map(order_message, orders), next_page_token=token)

    async def WatchOrder(self, request: pb.WatchOrderRequest, context: Context) -> AsyncIterator[pb.WatchOrderResponse]:
        async with aclosing(self._ordering.watch(UUID(request.order_id), caller().subject)) as orders:
            async for order in orders:
                yield pb.WatchOrderResponse(order=order_message(order))

    async def CancelOrder(self, request: pb.CancelOrderRequest, context: Context) -> pb.CancelOrderResponse:
        order = await self._ordering.cancel(UUID(request.order_id), caller().subject, until=_until())
        return pb.CancelOrderResponse(order=_answer(order))

    async def GetCart(self, request: pb.GetCartRequest, context: Context) -> pb.GetCartResponse:
        return pb.GetCartResponse(cart=cart_message(await self._carts.get(caller().subject)))

    async def AddCartItem(self, request: pb.AddCartItemRequest, context: Context) -> pb.AddCartItemResponse:
        cart = await self._carts.add(caller().subject, UUID(request.product_id), request.quantity)
        return pb.AddCartItemResponse(cart=cart_message(cart))

    async def PutCartItem(self, request: pb.PutCartItemRequest, context: Context) -> pb.PutCartItemResponse:
        user_id, product_id = caller().subject, UUID(request.product_id)
        if request.quantity:
            cart = await self._carts.put(user_id, product_id, request.quantity)
        else:
            cart = await self._carts.remove(user_id, product_id)
        return pb.PutCartItemResponse(cart=cart_message(cart))

    async def RemoveCartItem(self, request: pb.RemoveCartItemRequest, context: Context) -> pb.RemoveCartItemResponse:
        cart = await self._carts.remove(caller().subject, UUID(request.product_id))
        return pb.RemoveCartItemResponse(cart=cart_message(cart))

    async def QuoteCart(self, request: pb.QuoteCartRequest, context: Context) -> pb.QuoteCartResponse:
        quote = await self._carts.quote(caller().subject, request.destination.country_code)
        return pb.QuoteCartResponse(
            cart=cart_message(quote.cart),
            shipping=money_message(quote.terms.shipping),
            taxes=map(tax_message, quote.terms.taxes),
            total=money_message(quote.terms.total),
        )

    async def CheckOutCart(self, request: pb.CheckOutCartRequest, context: Context) -> pb.CheckOutCartResponse:
        order = await self._ordering.place(_checked_out(request), until=_until())
        return pb.CheckOutCartResponse(order=_answer(order))

    async def ExportUserData(
        self, request: pb.ExportUserDataRequest, context: Context
    ) -> AsyncIterator[pb.ExportUserDataResponse]:
        user_id = str(UUID(request.user_id))
        cart = await self._carts.get(user_id)
        if cart.update_time:  # else there never was one
            yield _exported(cart_message(cart))
        page = partial(queries.list_page, self._database, Search(user_id=user_id))
        async for order in every(page, lambda last: (last.create_time, last.order_id)):
            yield _exported(order_message(order))

    async def _page(self, search: Search, size: int, token: str) -> tuple[list[Order], str]:
        """Return a page of *search*, and the token of the next one."""
        scope = repr(search)
        after = paging.decode(token, scope, paging.time, UUID) if token else None
        found = await queries.list_page(self._database, search, size + 1, after)
        if len(found) <= size:
            return found, ""
        last = found[size - 1]
        return found[:size], paging.encode(scope, last.create_time, last.order_id)


def _purchase(request: pb.PlaceOrderRequest) -> Purchase:
    return _bought(request, request.lines, None)


def _checked_out(request: pb.CheckOutCartRequest) -> Purchase:
    prices = tuple(money_of(line.unit_price) for line in request.expected_lines)
    seen = Seen(unit_prices=prices, total=money_of(request.expected_total))
    return _bought(request, request.expected_lines, seen)


def _bought(
    request: pb.PlaceOrderRequest | pb.CheckOutCartRequest,
    lines: Iterable[pb.PlaceOrderLine | pb.ExpectedLine],
    seen: Seen | None,
) -> Purchase:
    anonymous = deepcopy(request)
    anonymous.request_id = ""
    return Purchase(
        user_id=caller().subject,
        lines=tuple(Wanted(product_id=UUID(line.product_id), quantity=line.quantity) for line in lines),
        seen=seen,
        destination=address_of(request.destination),
        payment_method=request.payment_method,
        request_id=request.request_id,
        fingerprint=sha256(anonymous.SerializeToString(deterministic=True)).digest(),
    )


def _exported(message: Message) -> pb.ExportUserDataResponse:
    response = pb.ExportUserDataResponse()
    response.item.Pack(message)
    return response


def _until() -> float:
    """Return the instant by which an answer must be on its way, by the event loop's clock."""
    call = current_call.get()
    now_s = asyncio.get_running_loop().time()
    remaining_s: Any = call.remaining_s() if call else None
    assert remaining_s is not None, "the contract gives each of these methods a time"
    return now_s + max(0.0, float(remaining_s) - MARGIN_S)


def _answer(order: Order) -> pb.Order:
    """Return the order for the caller; while it is under way the answer is not final, and a repeat asks anew."""
    if order.state in _UNDER_WAY and (call := current_call.get()):
        call.keep_answer = False
    return order_message(order)
