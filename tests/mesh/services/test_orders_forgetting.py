"""The right to be forgotten, in orders: the cart goes at once, an address as soon as nobody needs it any more."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import pytest
from shop.orders.v1 import orders_pb2 as pb
from sqlalchemy import text

from services.orders import forgetting, projections
from services.orders.events import Delivered, Returned, Shipped
from tests.mesh.services.calls import outcome
from tests.mesh.services.forgetting import deleted, hear, somebody_waits
from tests.mesh.services.orders_parts import HOME, Shop, order_request, until
from tests.mesh.services.orders_peers import MUG, POT, Fault

if TYPE_CHECKING:
    from collections.abc import Iterable

    from services.orders.events import Event

PERSONAL = ("Ada Lovelace", "12 St James's Square", "SW1Y 4JH", "London")


async def forget(shop: Shop, user_id: str | None = None) -> None:
    await hear(shop.database, forgetting.handlers(), deleted(user_id or shop.user_id))


async def happened(shop: Shop, order_id: str, *events: Event) -> None:
    for event in events:
        async with shop.database.transaction(independent=True) as tx:
            await shop.replica.journal.change(tx, UUID(order_id), event, now=datetime.now(UTC))


async def rebuilt(shop: Shop) -> None:
    async for _ in projections.rebuild(shop.database):
        pass


async def execute(shop: Shop, sql: str) -> None:
    async with shop.database.transaction(independent=True) as tx:
        await tx.execute(text(sql))


async def everything(shop: Shop) -> str:
    """Return all that is in the database, as text."""
    found = []
    for (table,) in await shop.rows("select tablename from pg_tables where schemaname = 'public'"):
        rows = await shop.rows(f"select * from {table}")
        found += [str([bytes(v) if isinstance(v, memoryview) else v for v in row]) for row in rows]
    return "\n".join(found).replace("\\'", "'")


async def personal(shop: Shop) -> list[str]:
    """Return what the database still knows of where somebody lives."""
    found = await everything(shop)
    return [each for each in PERSONAL if each in found]


async def order(shop: Shop, order_id: str) -> pb.Order:
    return (await shop.me.GetOrder(pb.GetOrderRequest(order_id=order_id))).order  # type: ignore[no-any-return]


async def states(shop: Shop, order_ids: Iterable[str]) -> dict[str, bool]:
    """Return the state of each order, and whether it says where to."""
    found = [await order(shop, order_id) for order_id in order_ids]
    return {pb.Order.State.Name(each.state).removeprefix("STATE_"): each.HasField("destination") for each in found}


async def bought(shop: Shop) -> str:
    """Buy mugs, by a request that may be repeated, and wait until nothing is left to do; return the order's id."""
    request = order_request((MUG, 1), request_id=str(uuid4()))
    order_id = str((await shop.me.PlaceOrder(request)).order.order_id)
    await shop.at_rest()
    return order_id


# What is forgotten at once.


async def test_orders_at_rest_forget_where_to(shop: Shop) -> None:
    delivered, returned, cancelled = [await bought(shop) for _ in range(3)]
    await happened(shop, delivered, Shipped(), Delivered())
    await happened(shop, returned, Shipped(), Returned())
    await shop.me.CancelOrder(pb.CancelOrderRequest(order_id=cancelled, request_id="off"))
    await shop.at_rest()
    assert await personal(shop) == [*PERSONAL]

    await forget(shop)

    assert await personal(shop) == []
    found = await states(shop, [delivered, returned, cancelled])
    assert found == {"DELIVERED": False, "RETURNED": False, "CANCELLED": False}


async def test_all_else_of_an_order_stays_as_it_is(shop: Shop) -> None:
    order_id = await bought(shop)
    await happened(shop, order_id, Shipped(), Delivered())
    before, history = await order(shop, order_id), await shop.history(order_id)

    await forget(shop)

    after = await order(shop, order_id)
    before.ClearField("destination")
    assert after == before
    assert await shop.history(order_id) == history
    assert (await shop.me.ListOrders(pb.ListOrdersRequest())).orders == [after]


async def test_the_cart_goes(shop: Shop) -> None:
    await shop.me.AddCartItem(pb.AddCartItemRequest(product_id=MUG, quantity=2, request_id="add"))

    await forget(shop)

    assert (await shop.scalar("select count(*) from carts"), await shop.scalar("select count(*) from cart_items")) == (
        0,
        0,
    )


async def test_what_is_put_into_a_cart_afterwards_goes_too(shop: Shop) -> None:
    somebody = str(uuid4())
    await forget(shop)
    await shop.me.AddCartItem(pb.AddCartItemRequest(product_id=MUG, quantity=2))
    await shop.as_user(somebody).AddCartItem(pb.AddCartItemRequest(product_id=MUG, quantity=2))

    assert await shop.replica.carts.forget(limit=10) == 1

    assert [row.user_id for row in await shop.rows("select user_id from carts")] == [somebody]


async def test_nobody_elses_is_touched(shop: Shop) -> None:
    somebody = str(uuid4())
    theirs = (await shop.as_user(somebody).PlaceOrder(order_request((MUG, 1), request_id="theirs"))).order.order_id
    await shop.at_rest()
    await happened(shop, theirs, Shipped(), Delivered())
    await shop.as_user(somebody).AddCartItem(pb.AddCartItemRequest(product_id=POT, quantity=1))

    await forget(shop)

    cart = (await shop.as_user(somebody).GetCart(pb.GetCartRequest())).cart
    assert [line.product_id for line in cart.lines] == [POT]
    bought_by_them = (await shop.as_user(somebody).GetOrder(pb.GetOrderRequest(order_id=theirs))).order
    assert bought_by_them.destination == HOME
    again = await shop.as_user(somebody).PlaceOrder(order_request((MUG, 1), request_id="theirs"))
    assert again.order.order_id == theirs


async def test_the_event_may_come_twice_and_about_somebody_unknown(shop: Shop) -> None:
    order_id = await bought(shop)
    await happened(shop, order_id, Shipped(), Delivered())

    for _ in range(3):
        await forget(shop)
    await forget(shop, str(uuid4()))

    assert await personal(shop) == []
    assert await shop.scalar("select count(*) from forgotten_users") == 2


async def test_answers_that_are_stored_are_forgotten_and_requests_may_be_repeated_all_the_same(shop: Shop) -> None:
    request = order_request((MUG, 1), request_id="basket")
    order_id = (await shop.me.PlaceOrder(request)).order.order_id
    await shop.at_rest()
    await happened(shop, order_id, Shipped(), Delivered())
    await forget(shop)
    assert await shop.scalar("select count(*) from request_answers") == 0

    again = (await shop.me.PlaceOrder(request)).order

    assert (again.order_id, again.HasField("destination")) == (order_id, False)
    assert await personal(shop) == []


# What is forgotten later.


@pytest.mark.parametrize(
    "end", [[Shipped(), Delivered()], [Shipped(), Returned()], [Delivered()]], ids=["delivered", "returned", "at once"]
)
async def test_an_order_on_its_way_keeps_the_address_until_it_rests(shop: Shop, end: list[Event]) -> None:
    order_id = await bought(shop)
    await forget(shop)
    for event in end[:-1]:
        await happened(shop, order_id, event)
    assert (await order(shop, order_id)).destination == HOME

    await happened(shop, order_id, end[-1])

    assert await personal(shop) == []
    assert not (await order(shop, order_id)).HasField("destination")


async def test_an_order_that_is_called_off_loses_the_address_when_all_is_undone(shop: Shop) -> None:
    order_id = await bought(shop)
    await forget(shop)

    await shop.me.CancelOrder(pb.CancelOrderRequest(order_id=order_id, request_id="off"))
    await shop.at_rest()

    assert await personal(shop) == []
    assert shop.fulfilment.of(order_id) == ("returned", "refunded", "cancelled")


async def test_an_order_that_is_placed_meanwhile_is_delivered_and_then_forgotten(shop: Shop) -> None:
    shop.payments.held.clear()
    placing = asyncio.ensure_future(shop.me.PlaceOrder(order_request((MUG, 1), request_id="basket")))
    await until(lambda: _is_asked(shop, "AuthorizePayment"))

    await forget(shop)
    shop.payments.held.set()
    placed = (await placing).order
    await shop.at_rest()

    assert placed.destination == HOME
    assert shop.shipping.parcels[placed.order_id].destination == HOME
    assert shop.fulfilment.of(placed.order_id) == ("sold", "captured", "created")
    await happened(shop, placed.order_id, Shipped(), Delivered())
    assert await personal(shop) == []
    assert await shop.scalar("select count(*) from payment_methods") == 0


async def test_an_order_that_is_refused_after_its_user_left_leaves_nothing(shop: Shop) -> None:
    shop.payments.held.clear()
    shop.payments.fail("AuthorizePayment", Fault.REFUSED)
    placing = asyncio.ensure_future(outcome(shop.me.PlaceOrder(order_request((MUG, 1), request_id="basket"))))
    await until(lambda: _is_asked(shop, "AuthorizePayment"))

    await forget(shop)
    shop.payments.held.set()

    assert await placing == "PAYMENT_DECLINED"
    assert await personal(shop) == []
    assert await shop.scalar("select count(*) from payment_methods") == 0


async def test_the_event_may_come_before_what_it_is_about(shop: Shop) -> None:
    await forget(shop)

    order_id = await bought(shop)
    await happened(shop, order_id, Shipped(), Delivered())

    assert await personal(shop) == []


async def test_who_watches_an_order_sees_it_come_to_rest(shop: Shop) -> None:
    order_id = await bought(shop)
    seen: list[pb.Order] = []

    async def watch() -> None:
        async for response in shop.me.WatchOrder(pb.WatchOrderRequest(order_id=order_id)):
            seen.append(response.order)  # noqa: PERF401  # one by one, for who looks meanwhile

    watching = asyncio.ensure_future(watch())
    await until(lambda: _has(seen, 1))
    await forget(shop)
    await happened(shop, order_id, Shipped(), Delivered())
    await watching

    assert [each.HasField("destination") for each in seen][:1] == [True]
    assert (seen[-1].state, seen[-1].HasField("destination")) == (pb.Order.STATE_DELIVERED, False)


async def test_a_placement_that_is_repeated_after_the_address_went_is_done(shop: Shop) -> None:
    """As by a replica that was taken for dead: its next steps find nothing left to do."""
    order_id = await bought(shop)
    await forget(shop)
    await happened(shop, order_id, Shipped(), Delivered())
    calls = [*shop.payments.calls], [*shop.shipping.calls]

    await execute(
        shop, "update sagas set status = 'running', step = 'capture_payment', lease_holder = null, due_time = now()"
    )
    await shop.at_rest()

    assert await shop.sagas() == ["done"]
    assert ([*shop.payments.calls], [*shop.shipping.calls]) == calls


# At the same time.


@pytest.mark.parametrize("first", ["delivery", "event"])
async def test_of_a_delivery_and_the_event_at_once_either_sees_the_other(shop: Shop, first: str) -> None:
    order_id = await bought(shop)
    await happened(shop, order_id, Shipped())

    async def deliver(tx: Any) -> None:
        await shop.replica.journal.change(tx, UUID(order_id), Delivered(), now=datetime.now(UTC))

    async def leave(tx: Any) -> None:
        received = deleted(shop.user_id)
        await forgetting.handlers()[type(received.event)](tx, received)

    one, other = (deliver, leave) if first == "delivery" else (leave, deliver)

    async def second() -> None:
        async with shop.database.transaction(independent=True) as tx:
            await other(tx)

    async with shop.database.transaction(independent=True) as tx:
        await one(tx)
        waiting = asyncio.ensure_future(second())
        await somebody_waits(shop.database)
    await waiting

    assert await personal(shop) == []


async def test_many_orders_that_come_to_rest_while_their_user_leaves_all_forget(shop: Shop) -> None:
    order_ids = [await bought(shop) for _ in range(8)]

    await asyncio.gather(
        *(happened(shop, order_id, Delivered()) for order_id in order_ids), forget(shop), forget(shop), rebuilt(shop)
    )

    assert await personal(shop) == []
    assert await states(shop, order_ids) == {"DELIVERED": False}


# Made anew.


async def test_a_rebuild_gives_the_same(shop: Shop) -> None:
    at_rest, on_its_way = [await bought(shop) for _ in range(2)]
    await happened(shop, at_rest, Shipped(), Delivered())
    await forget(shop)
    before = [await order(shop, order_id) for order_id in (at_rest, on_its_way)]

    await execute(shop, "truncate orders cascade")
    await rebuilt(shop)

    assert [await order(shop, order_id) for order_id in (at_rest, on_its_way)] == before
    assert [each.HasField("destination") for each in before] == [False, True]


async def test_a_rebuild_forgets_what_the_event_did_not_find_in_the_read_models(shop: Shop) -> None:
    order_id = await bought(shop)
    await happened(shop, order_id, Shipped(), Delivered())
    await execute(shop, "delete from orders")
    await forget(shop)
    assert await personal(shop) == [*PERSONAL]

    await rebuilt(shop)

    assert await personal(shop) == []
    assert await states(shop, [order_id]) == {"DELIVERED": False}


async def _is_asked(shop: Shop, method: str) -> bool:
    return shop.payments.count(method) > 0


async def _has(seen: list[Any], count: int) -> bool:
    return len(seen) >= count
