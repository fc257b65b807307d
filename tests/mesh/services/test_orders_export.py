"""The right to be told, in orders: the cart and every order."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

from shop.orders.v1 import orders_pb2 as pb
from shop.orders.v1 import orders_pb2_grpc

from services.exporting import EXPORT_PAGE
from tests.mesh.services.calls import Calls, refusal
from tests.mesh.services.forgetting import exported
from tests.mesh.services.orders_parts import Shop
from tests.mesh.services.orders_peers import POT
from tests.mesh.services.test_orders_forgetting import bought, execute, forget, order

MANY_ORDERS = """
    insert into orders (order_id, user_id, state, currency, total_units, total_nanos, create_time, update_time,
                        cancel_reason, version)
    select gen_random_uuid(), '{user_id}', 'delivered', 'EUR', 1, 0, now() - n * interval '1 minute', now(), '', 1
    from generate_series(1, {count}) n
"""
MANY_LINES = "insert into order_lines select order_id, 0, gen_random_uuid(), 'SKU', 'Thing', 1, 0, 1 from orders"


def users_calls(shop: Shop) -> Calls:
    """Return calls as users makes them."""
    return Calls(orders_pb2_grpc.OrdersServiceStub(shop.server.channel), shop.server.service_token("users"))


async def held(shop: Shop, user_id: str | None = None) -> list[Any]:
    request = pb.ExportUserDataRequest(user_id=user_id or shop.user_id)
    return await exported(users_calls(shop), request, pb.Cart, pb.Order)


async def test_a_user_is_told_their_cart_and_every_order(shop: Shop) -> None:
    older, newer = await bought(shop), await bought(shop)
    await shop.me.AddCartItem(pb.AddCartItemRequest(product_id=POT, quantity=3))

    cart, *found = await held(shop)

    assert [(line.product_id, line.quantity) for line in cart.lines] == [(POT, 3)]
    assert [each.order_id for each in found] == [newer, older]
    assert found[0] == await order(shop, newer)


async def test_there_is_nothing_to_tell_of_somebody_unknown(shop: Shop) -> None:
    assert await held(shop, str(uuid4())) == []


async def test_of_somebody_who_is_forgotten_nothing_is_told_that_is_not_held(shop: Shop) -> None:
    order_id = await bought(shop)
    await shop.me.AddCartItem(pb.AddCartItemRequest(product_id=POT, quantity=3))
    await shop.me.CancelOrder(pb.CancelOrderRequest(order_id=order_id, request_id="off"))
    await shop.at_rest()

    await forget(shop)

    (found,) = await held(shop)
    assert (found.order_id, found.HasField("destination")) == (order_id, False)


async def test_more_than_a_page_is_told_once_and_in_order(shop: Shop) -> None:
    await execute(shop, MANY_ORDERS.format(user_id=shop.user_id, count=EXPORT_PAGE * 2 + 1))
    await execute(shop, MANY_LINES)

    found = await held(shop)

    assert [each.order_id for each in found] == (await shop.ids_of_all())[::-1]
    assert len(found) == EXPORT_PAGE * 2 + 1


async def test_only_users_may_ask(shop: Shop) -> None:
    request = pb.ExportUserDataRequest(user_id=shop.user_id)
    for token in (shop.server.service_token("payments"), shop.server.token(shop.user_id, ("admin",))):
        calls = Calls(orders_pb2_grpc.OrdersServiceStub(shop.server.channel), token)
        refused = await refusal(_first(calls.ExportUserData(request)))
        assert refused.code in ("PERMISSION_DENIED", "UNAUTHENTICATED")


async def test_a_cart_that_can_not_be_priced_is_not_left_out(shop: Shop) -> None:
    await shop.me.AddCartItem(pb.AddCartItemRequest(product_id=POT, quantity=3))
    shop.offered.is_away = True

    refused = await refusal(_first(users_calls(shop).ExportUserData(pb.ExportUserDataRequest(user_id=shop.user_id))))

    assert (refused.code, refused.reason) == ("UNAVAILABLE", "PEER_UNAVAILABLE")


async def _first(stream: Any) -> Any:
    return await anext(aiter(stream))
