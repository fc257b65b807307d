from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from shop.catalog.v1 import catalog_pb2
from shop.orders.v1 import orders_pb2 as pb
from shop.orders.v1 import orders_pb2_grpc
from shop.shipping.v1 import shipping_pb2
from shop.users.v1 import users_pb2
from sqlalchemy import text

from tests.mesh.services.calls import Calls, euros, outcome, refusal
from tests.mesh.services.orders_parts import HOME, Orders, order_request, replica

if TYPE_CHECKING:
    from tests.mesh.services.conftest import Catalog, Users
    from weft.data import Database


async def count(database: Database, table: str = "orders") -> int:
    async with database.transaction() as tx:
        return int(await tx.scalar(text(f"select count(*) from {table}")))


async def test_an_order_holds_what_was_bought_and_what_it_cost(orders: Orders) -> None:
    user_id = (await orders.users.given()).user.user_id
    mug = await orders.catalog.given("MUG", "14.99", name="Mug")
    pot = await orders.catalog.given("POT", "49.000000001", name="Pot")

    order = (await orders.as_user(user_id).PlaceOrder(order_request((pot.product_id, 999), (mug.product_id, 3)))).order

    assert (order.user_id, order.state, order.cancel_reason) == (user_id, pb.Order.STATE_CONFIRMED, "")
    assert order.destination == HOME
    assert [
        (line.product_id, line.sku, line.name, line.unit_price, line.quantity, line.total) for line in order.lines
    ] == [
        (pot.product_id, "POT", "Pot", euros("49.000000001"), 999, euros("48951.000000999")),
        (mug.product_id, "MUG", "Mug", euros("14.99"), 3, euros("44.97")),
    ]
    assert (order.shipping, order.total) == (euros("4.90"), euros("49000.870000999"))
    assert order.create_time.ToDatetime() < order.update_time.ToDatetime()
    assert (await orders.as_user(user_id).GetOrder(pb.GetOrderRequest(order_id=order.order_id))).order == order


async def test_an_order_keeps_its_price_when_the_product_changes_and_goes(orders: Orders) -> None:
    me = await orders.shopper()
    mug = await orders.catalog.given("MUG", "14.50")
    order = (await me.PlaceOrder(order_request((mug.product_id, 2)))).order
    change = catalog_pb2.ProductChange(price=euros("99"), name="Dearer")

    await orders.catalog.admin.UpdateProduct(
        catalog_pb2.UpdateProductRequest(product_id=mug.product_id, product=change)
    )
    await orders.catalog.admin.DeleteProduct(catalog_pb2.DeleteProductRequest(product_id=mug.product_id))

    assert (await me.GetOrder(pb.GetOrderRequest(order_id=order.order_id))).order == order
    assert order.total == euros("33.90")


async def test_every_line_whose_product_is_unknown_or_off_sale_is_named_and_nothing_is_bought(orders: Orders) -> None:
    me = await orders.shopper()
    mug, gone = await orders.catalog.given("MUG"), await orders.catalog.given("GONE")
    await orders.catalog.admin.DeleteProduct(catalog_pb2.DeleteProductRequest(product_id=gone.product_id))
    unknown = str(uuid4())

    error = await refusal(me.PlaceOrder(order_request((gone.product_id, 1), (mug.product_id, 1), (unknown, 1))))

    assert (error.code, error.reason) == ("NOT_FOUND", "PRODUCT_NOT_FOUND")
    assert [violation.field for violation in error.violations] == ["lines[0].productId", "lines[2].productId"]
    assert error.metadata == {"lines": "0,2", "product_ids": f"{gone.product_id},{unknown}"}
    assert await count(orders.database) == 0


async def test_every_line_that_repeats_a_product_is_named(orders: Orders) -> None:
    me = await orders.shopper()
    mug = await orders.catalog.given("MUG")

    error = await refusal(me.PlaceOrder(order_request((mug.product_id, 1), (mug.product_id.upper(), 2))))

    assert (error.code, error.reason) == ("INVALID_ARGUMENT", "DUPLICATE_PRODUCTS")
    assert [violation.field for violation in error.violations] == ["lines[1].productId"]
    assert await count(orders.database) == 0


@pytest.mark.parametrize("quantity", [0, -1, 1000])
async def test_a_quantity_is_between_1_and_999(orders: Orders, quantity: int) -> None:
    me = await orders.shopper()

    error = await refusal(me.PlaceOrder(order_request((str(uuid4()), quantity))))

    assert (error.code, error.reason) == ("INVALID_ARGUMENT", "INVALID_FIELDS")
    assert [violation.field for violation in error.violations] == ["lines[0].quantity"]


async def test_an_order_has_a_line(orders: Orders) -> None:
    request = order_request()

    error = await refusal((await orders.shopper()).PlaceOrder(request))

    assert [violation.field for violation in error.violations] == ["lines"]


async def test_an_order_has_a_payment_method_and_a_destination(orders: Orders) -> None:
    line = pb.PlaceOrderLine(product_id=str(uuid4()), quantity=1)
    address = shipping_pb2.Address(recipient="Ada", country_code="gb")

    nothing = await refusal((await orders.shopper()).PlaceOrder(pb.PlaceOrderRequest(lines=[line])))
    half = pb.PlaceOrderRequest(lines=[line], payment_method="pm_1", destination=address)
    incomplete = await refusal((await orders.shopper("bob@example.com")).PlaceOrder(half))

    assert [violation.field for violation in nothing.violations] == ["paymentMethod", "destination"]
    assert [violation.field for violation in incomplete.violations] == [
        "destination.streetLines",
        "destination.city",
        "destination.countryCode",
    ]


async def test_a_deactivated_user_buys_nothing(orders: Orders) -> None:
    user_id = (await orders.users.given()).user.user_id
    mug = await orders.catalog.given("MUG")
    await orders.users.as_admin().DeactivateUser(users_pb2.DeactivateUserRequest(user_id=user_id))

    error = await refusal(orders.as_user(user_id).PlaceOrder(order_request((mug.product_id, 1))))

    assert (error.code, error.reason) == ("FAILED_PRECONDITION", "USER_DEACTIVATED")
    assert await count(orders.database) == 0


async def test_somebody_without_an_account_buys_nothing(orders: Orders) -> None:
    mug = await orders.catalog.given("MUG")

    error = await refusal(orders.as_user(str(uuid4())).PlaceOrder(order_request((mug.product_id, 1))))

    assert (error.code, error.reason) == ("NOT_FOUND", "USER_NOT_FOUND")
    assert await count(orders.database) == 0


@pytest.mark.parametrize("missing", ["users", "catalog", "shipping"])
async def test_while_a_peer_is_away_nothing_is_bought_and_the_caller_may_try_again(
    orders: Orders,
    users: Users,
    catalog: Catalog,
    missing: str,
) -> None:
    user_id = (await users.given()).user.user_id
    mug = await catalog.given("MUG")
    targets = {**orders.targets, missing: "127.0.0.1:1"}

    async with replica(orders.database, targets) as lonely:
        error = await refusal(lonely.as_user(user_id).PlaceOrder(order_request((mug.product_id, 1))))

    assert (error.code, error.reason) == ("UNAVAILABLE", "PEER_UNAVAILABLE")
    assert error.metadata == {"peer": missing}
    assert error.retry_after_s
    assert await count(orders.database) == 0


async def test_a_repeated_request_buys_once(orders: Orders) -> None:
    me = await orders.shopper()
    mug = await orders.catalog.given("MUG")
    request = order_request((mug.product_id, 1), request_id="basket-1")

    first = await me.PlaceOrder(request)
    second = await me.PlaceOrder(request)

    assert first == second
    assert (await count(orders.database), await count(orders.database, "order_lines")) == (1, 1)


async def test_the_same_request_sent_ten_times_at_once_buys_once(orders: Orders) -> None:
    me = await orders.shopper()
    mug = await orders.catalog.given("MUG")
    start = asyncio.Event()

    async def buy() -> Any:
        await start.wait()
        return await me.PlaceOrder(order_request((mug.product_id, 1), request_id="basket-1"))

    tasks = [asyncio.create_task(buy()) for _ in range(10)]
    start.set()
    answers = await asyncio.gather(*tasks)

    assert answers == [answers[0]] * 10
    assert await count(orders.database) == 1


async def test_a_failed_request_may_succeed_when_repeated(orders: Orders) -> None:
    user_id = (await orders.users.given()).user.user_id
    mug = await orders.catalog.given("MUG")
    missing = str(uuid4())
    me = orders.as_user(user_id)
    assert (await refusal(me.PlaceOrder(order_request((missing, 1), request_id="basket-1")))).code == "NOT_FOUND"

    order = (await me.PlaceOrder(order_request((mug.product_id, 1), request_id="basket-1"))).order

    assert order.state == pb.Order.STATE_CONFIRMED


async def test_the_orders_of_others_do_not_exist(orders: Orders) -> None:
    ada, bob = await orders.shopper(), await orders.shopper("bob@example.com")
    mug = await orders.catalog.given("MUG")
    order = (await ada.PlaceOrder(order_request((mug.product_id, 1)))).order

    get, cancel = pb.GetOrderRequest(order_id=order.order_id), pb.CancelOrderRequest(order_id=order.order_id)
    errors = [await refusal(bob.GetOrder(get)), await refusal(bob.CancelOrder(cancel))]

    unknown = await refusal(bob.GetOrder(pb.GetOrderRequest(order_id=str(uuid4()))))
    for error in (*errors, unknown):
        assert (error.code, error.reason) == ("NOT_FOUND", "ORDER_NOT_FOUND")
    assert (await bob.ListOrders(pb.ListOrdersRequest())).orders == []
    assert (await ada.GetOrder(get)).order == order


async def test_orders_are_for_users_with_a_token(orders: Orders) -> None:
    anonymous = Calls(orders_pb2_grpc.OrdersServiceStub(orders.server.channel))

    for call in (
        anonymous.PlaceOrder(order_request((str(uuid4()), 1))),
        anonymous.GetOrder(pb.GetOrderRequest(order_id=str(uuid4()))),
        anonymous.ListOrders(pb.ListOrdersRequest()),
        anonymous.CancelOrder(pb.CancelOrderRequest(order_id=str(uuid4()))),
    ):
        assert (await refusal(call)).code == "UNAUTHENTICATED"


async def test_orders_are_listed_newest_first_while_more_are_placed(orders: Orders) -> None:
    ada, bob = await orders.shopper(), await orders.shopper("bob@example.com")
    mug, pot = await orders.catalog.given("MUG"), await orders.catalog.given("POT")
    request = order_request((mug.product_id, 1), (pot.product_id, 2))
    expected = [(await ada.PlaceOrder(request)).order for _ in range(7)][::-1]
    await bob.PlaceOrder(request)

    seen: list[pb.Order] = []
    token = ""
    while True:
        page = await ada.ListOrders(pb.ListOrdersRequest(page_size=2, page_token=token))
        seen += page.orders
        await ada.PlaceOrder(request)
        token = page.next_page_token
        if not token:
            break

    assert seen == expected


async def test_a_page_token_is_its_owners_only(orders: Orders) -> None:
    ada, bob = await orders.shopper(), await orders.shopper("bob@example.com")
    mug = await orders.catalog.given("MUG")
    for _ in range(2):
        await ada.PlaceOrder(order_request((mug.product_id, 1)))
    token = (await ada.ListOrders(pb.ListOrdersRequest(page_size=1))).next_page_token

    for user, each in ((bob, token), (ada, token[:-1]), (ada, "AAAA")):
        error = await refusal(user.ListOrders(pb.ListOrdersRequest(page_size=1, page_token=each)))
        assert (error.code, error.reason) == ("INVALID_ARGUMENT", "PAGE_TOKEN_INVALID")


async def test_cancelling_twice_changes_nothing(orders: Orders) -> None:
    me = await orders.shopper()
    mug = await orders.catalog.given("MUG")
    order = (await me.PlaceOrder(order_request((mug.product_id, 1)))).order
    request = pb.CancelOrderRequest(order_id=order.order_id)

    first, second = (await me.CancelOrder(request)).order, (await me.CancelOrder(request)).order

    assert (first.state, first.total, first.lines) == (pb.Order.STATE_CANCELLED, order.total, order.lines)
    assert first.update_time.ToDatetime() > order.update_time.ToDatetime()
    assert second == first
    assert (await me.GetOrder(pb.GetOrderRequest(order_id=order.order_id))).order == first


async def test_of_cancellations_at_once_all_answer_the_same(orders: Orders) -> None:
    me = await orders.shopper()
    mug = await orders.catalog.given("MUG")
    order = (await me.PlaceOrder(order_request((mug.product_id, 1)))).order
    start = asyncio.Event()

    async def cancel() -> Any:
        await start.wait()
        return await outcome(me.CancelOrder(pb.CancelOrderRequest(order_id=order.order_id)))

    tasks = [asyncio.create_task(cancel()) for _ in range(5)]
    start.set()
    answers = await asyncio.gather(*tasks)

    assert answers == [answers[0]] * 5


async def test_a_hundred_lines_are_bought_in_one_order(orders: Orders) -> None:
    me = await orders.shopper()
    products = [await orders.catalog.given(f"THING-{number}", str(number)) for number in range(100)]

    order = (await me.PlaceOrder(order_request(*((each.product_id, 1) for each in products)))).order

    assert [line.sku for line in order.lines] == [each.sku for each in products]
    assert order.total == euros(f"{sum(range(100)) + 4}.90")


async def test_a_statement_that_fails_buys_nothing_and_the_request_may_be_repeated(orders: Orders) -> None:
    me = await orders.shopper()
    mug = await orders.catalog.given("MUG")
    async with orders.database.transaction() as tx:
        await tx.execute(text("alter table order_lines add constraint nothing_sells check (quantity < 0) not valid"))
    try:
        error = await refusal(me.PlaceOrder(order_request((mug.product_id, 1), request_id="basket-1")))
    finally:
        async with orders.database.transaction() as tx:
            await tx.execute(text("alter table order_lines drop constraint nothing_sells"))

    assert error.code == "INTERNAL"
    assert await count(orders.database) == 0
    assert (await me.PlaceOrder(order_request((mug.product_id, 1), request_id="basket-1"))).order.order_id
