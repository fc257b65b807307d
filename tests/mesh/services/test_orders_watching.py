"""Orders that are followed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest
from grpc import aio
from shop.orders.v1 import orders_pb2 as pb
from shop.orders.v1 import orders_pb2_grpc
from sqlalchemy import text

from services.orders.events import Delivered, Returned, Shipped
from services.orders.watching import Changes
from tests.mesh.services.calls import refusal
from tests.mesh.services.orders_parts import Shop, order_request, replica, until
from tests.mesh.services.orders_peers import MUG, Fault
from weft.client import PeerError
from weft.data import Database


class Following:
    """One who follows an order."""

    def __init__(self, call: Any) -> None:
        self._call = call
        self.states: list[str] = []
        self.orders: list[Any] = []
        self.ended: PeerError | None = None
        self.task = asyncio.create_task(self._follow())

    async def _follow(self) -> None:
        try:
            async for response in self._call:
                self.orders.append(response.order)
                self.states.append(pb.Order.State.Name(response.order.state).removeprefix("STATE_"))
        except aio.AioRpcError as error:
            self.ended = PeerError.from_rpc_error("orders", error)

    async def saw(self, *states: str) -> None:
        """Wait until exactly these states were seen."""

        async def seen() -> bool:
            return self.states == list(states)

        try:
            await until(seen)
        except TimeoutError:
            raise AssertionError(self.states) from None


@asynccontextmanager
async def following(shop: Shop, order_id: str, *, server: Any = None) -> AsyncIterator[Following]:
    server = server or shop.server
    stub = orders_pb2_grpc.OrdersServiceStub(server.channel)
    call = stub.WatchOrder(pb.WatchOrderRequest(order_id=order_id), metadata=server.token(shop.user_id))
    follower = Following(call)
    try:
        yield follower
    finally:
        call.cancel()
        follower.task.cancel()
        await asyncio.wait([follower.task])


async def happened(shop: Shop, order_id: str, event: Any) -> None:
    async with shop.database.transaction(independent=True) as tx:
        await shop.replica.journal.change(tx, UUID(order_id), event, now=datetime.now(UTC))


async def test_an_order_is_followed_from_where_it_is_until_it_is_delivered(shop: Shop) -> None:
    shop.payments.held.clear()
    placing = asyncio.ensure_future(shop.me.PlaceOrder(order_request((MUG, 1))))
    await until(lambda: _is_there(shop))
    order_id = await shop.only_id()

    async with following(shop, order_id) as follower:
        await follower.saw("PENDING")
        shop.payments.held.set()
        await placing
        await follower.saw("PENDING", "CONFIRMED")
        await happened(shop, order_id, Shipped())
        await follower.saw("PENDING", "CONFIRMED", "SHIPPED")
        await happened(shop, order_id, Delivered())
        await asyncio.wait_for(follower.task, 10)

    assert follower.states == ["PENDING", "CONFIRMED", "SHIPPED", "DELIVERED"]
    assert follower.ended is None
    assert (await shop.me.GetOrder(pb.GetOrderRequest(order_id=order_id))).order == follower.orders[-1]


async def test_following_ends_at_once_where_nothing_is_under_way(shop: Shop) -> None:
    order_id = await shop.bought()
    await happened(shop, order_id, Returned())

    async with following(shop, order_id) as follower:
        await asyncio.wait_for(follower.task, 10)

    assert (follower.states, follower.ended) == (["RETURNED"], None)


async def test_what_another_replica_does_is_seen_too(shop: Shop) -> None:
    order_id = await shop.bought()

    async with replica(shop.database, shop.targets) as other, following(shop, order_id, server=other.server) as there:
        await there.saw("CONFIRMED")
        await shop.me.CancelOrder(pb.CancelOrderRequest(order_id=order_id))
        await asyncio.wait_for(there.task, 10)

    assert (there.states[0], there.states[-1]) == ("CONFIRMED", "CANCELLED")


async def test_many_may_follow_one_order(shop: Shop) -> None:
    order_id = await shop.bought()

    async with following(shop, order_id) as one, following(shop, order_id) as other:
        await one.saw("CONFIRMED")
        await other.saw("CONFIRMED")
        await happened(shop, order_id, Shipped())
        await one.saw("CONFIRMED", "SHIPPED")
        await other.saw("CONFIRMED", "SHIPPED")
        assert await _listeners(shop) == 1


async def test_the_orders_of_others_can_not_be_followed(shop: Shop) -> None:
    order_id = await shop.bought()

    for user_id, watched in ((str(uuid4()), order_id), (shop.user_id, str(uuid4()))):
        call = shop.as_user(user_id, "user", "admin").WatchOrder(pb.WatchOrderRequest(order_id=watched))
        error = await refusal(call.read())
        assert (error.code, error.reason) == ("NOT_FOUND", "ORDER_NOT_FOUND")


async def test_what_is_missed_while_the_database_does_not_listen_is_seen_afterwards(shop: Shop) -> None:
    order_id = await shop.bought()

    async with following(shop, order_id) as follower:
        await follower.saw("CONFIRMED")
        async with shop.database.transaction() as tx:
            await tx.execute(text("select pg_terminate_backend(pid) from pg_stat_activity where query ilike 'listen%'"))
        await happened(shop, order_id, Shipped())
        await follower.saw("CONFIRMED", "SHIPPED")


async def test_a_server_that_drains_waits_for_nobody_who_follows(shop: Shop) -> None:
    order_id = await shop.bought()

    async with following(shop, order_id) as follower:
        await follower.saw("CONFIRMED")
        shop.server.drain()
        await asyncio.wait_for(follower.task, 10)

    assert follower.ended
    assert (follower.ended.code, follower.ended.reason) == ("UNAVAILABLE", "SERVER_DRAINING")


async def test_who_leaves_is_forgotten(shop: Shop) -> None:
    order_id = await shop.bought()
    changes = shop.replica.changes
    async with following(shop, order_id) as follower:
        await follower.saw("CONFIRMED")
        assert changes.watched == {order_id}

    async def nobody() -> bool:
        return changes.watched == set()

    await until(nobody)


async def test_a_slow_follower_has_the_newest_state_and_no_backlog(shop: Shop) -> None:
    order_id = await shop.bought()
    changes = Changes(shop.database)
    listening = asyncio.create_task(changes.run())

    with changes.watching(UUID(order_id)) as watcher:
        await watcher.changed()  # may have changed before anybody listened
        for event in (Shipped(), Delivered(), Returned()):
            await happened(shop, order_id, event)
        await watcher.changed()
        await watcher.changed(timeout_s=0.1)
        told_in_vain = asyncio.create_task(watcher.changed())
        await asyncio.sleep(0)
        assert not told_in_vain.done()
        told_in_vain.cancel()
    listening.cancel()
    await asyncio.wait([listening])


@pytest.mark.parametrize("method", ["CancelShipment"])
async def test_a_cancellation_that_is_refused_is_seen_as_such(shop: Shop, method: str) -> None:
    order_id = await shop.bought()
    shop.shipping.fail(method, Fault.REFUSED)
    shop.shipping.held.clear()

    async with following(shop, order_id) as follower:
        await follower.saw("CONFIRMED")
        cancelling = asyncio.ensure_future(refusal(shop.me.CancelOrder(pb.CancelOrderRequest(order_id=order_id))))
        await follower.saw("CONFIRMED", "CANCELLING")
        shop.shipping.held.set()
        await cancelling
        await follower.saw("CONFIRMED", "CANCELLING", "CONFIRMED")


async def _is_there(shop: Shop) -> bool:
    return bool(await shop.ids_of_all())


async def _listeners(shop: Shop) -> int:
    database: Database = shop.database
    async with database.transaction(independent=True) as tx:
        return int(
            await tx.scalar(
                text(
                    "select count(*) from pg_stat_activity where query ilike 'listen%' and datname = current_database()"
                )
            )
        )
