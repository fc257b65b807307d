"""`shop.orders.v1.OrdersService`."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final
from uuid import UUID, uuid4

from google.protobuf.timestamp_pb2 import Timestamp
from google.type.money_pb2 import Money as MoneyMessage
from shop.orders.v1 import orders_pb2 as pb
from shop.orders.v1 import orders_pb2_grpc as pb_grpc

from services import paging
from services.orders import store
from services.orders.domain import Action, Line, Money, Offer, Order, State, Wanted, place, require_distinct
from weft.call import caller
from weft.errors import ServiceError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from services.orders.peers import Buyers, Offers
    from weft.data import Database
    from weft.server import Context

__all__ = ["OrdersServicer"]

PAGE_SIZE: Final = 20
_STATES: Final = {State.CONFIRMED: pb.Order.STATE_CONFIRMED, State.CANCELLED: pb.Order.STATE_CANCELLED}


class OrdersServicer(pb_grpc.OrdersServiceServicer):
    """Translates; see the contract for what each method promises."""

    def __init__(self, database: Database, buyers: Buyers, offers: Offers) -> None:
        self._database = database
        self._buyers = buyers
        self._offers = offers

    async def PlaceOrder(self, request: pb.PlaceOrderRequest, context: Context) -> pb.PlaceOrderResponse:
        user_id = caller().subject
        lines = [Wanted(product_id=UUID(line.product_id), quantity=line.quantity) for line in request.lines]
        require_distinct(lines)
        offers = await self._ask(user_id, lines)
        order = place(lines, offers, order_id=uuid4(), user_id=user_id, now=datetime.now(UTC))
        async with self._database.transaction() as tx:
            await store.add_order(tx, order)
        return pb.PlaceOrderResponse(order=_message(order))

    async def GetOrder(self, request: pb.GetOrderRequest, context: Context) -> pb.GetOrderResponse:
        order = await store.get_order(self._database, request.order_id, caller().subject)
        return pb.GetOrderResponse(order=_message(order))

    async def ListOrders(self, request: pb.ListOrdersRequest, context: Context) -> pb.ListOrdersResponse:
        user_id = caller().subject
        size = request.page_size or PAGE_SIZE
        after = paging.decode(request.page_token, user_id, paging.time, UUID) if request.page_token else None
        orders = await store.list_page(self._database, user_id, size + 1, after)
        token = ""
        if len(orders) > size:
            last = orders[size - 1]
            token = paging.encode(user_id, last.create_time, last.order_id)
        return pb.ListOrdersResponse(orders=map(_message, orders[:size]), next_page_token=token)

    async def CancelOrder(self, request: pb.CancelOrderRequest, context: Context) -> pb.CancelOrderResponse:
        async with self._database.transaction() as tx:
            order = await store.lock_order(tx, UUID(request.order_id), caller().subject)
            order = order.apply(Action.CANCEL, now=datetime.now(UTC))
            await store.save_order(tx, order)
        return pb.CancelOrderResponse(order=_message(order))

    async def _ask(self, user_id: str, lines: Sequence[Wanted]) -> dict[UUID, Offer]:
        """Return what is on sale of *lines* for a user who may buy, asking both peers at once."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._buyers.require_active(user_id))
                offers = group.create_task(self._offers.find([line.product_id for line in lines]))
        except* ServiceError as errors:
            raise errors.exceptions[0] from None
        return offers.result()


def _message(order: Order) -> pb.Order:
    return pb.Order(
        order_id=str(order.order_id),
        user_id=order.user_id,
        state=_STATES[order.state],
        lines=map(_line, order.lines),
        total=_money(order.total),
        create_time=_timestamp(order.create_time),
        update_time=_timestamp(order.update_time),
    )


def _line(line: Line) -> pb.OrderLine:
    return pb.OrderLine(
        product_id=str(line.product_id),
        sku=line.sku,
        name=line.name,
        unit_price=_money(line.unit_price),
        quantity=line.quantity,
        total=_money(line.total),
    )


def _money(money: Money) -> MoneyMessage:
    return MoneyMessage(currency_code=money.currency, units=money.units, nanos=money.nanos)


def _timestamp(time: datetime) -> Timestamp:
    stamp = Timestamp()
    stamp.FromDatetime(time)
    return stamp
