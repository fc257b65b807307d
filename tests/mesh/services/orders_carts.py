"""Carts as shoppers handle them."""

from __future__ import annotations

from typing import Any

from google.type.money_pb2 import Money
from shop.orders.v1 import orders_pb2 as pb
from shop.shipping.v1 import shipping_pb2

from tests.mesh.services.calls import euros
from tests.mesh.services.orders_parts import HOME

__all__ = ["add", "at_home", "cart_of", "check_out", "contents", "put", "quote", "quoted", "remove"]


def add(product_id: str, quantity: int = 1, *, request_id: str = "") -> pb.AddCartItemRequest:
    return pb.AddCartItemRequest(product_id=product_id, quantity=quantity, request_id=request_id)


def put(product_id: str, quantity: int) -> pb.PutCartItemRequest:
    return pb.PutCartItemRequest(product_id=product_id, quantity=quantity)


def remove(product_id: str) -> pb.RemoveCartItemRequest:
    return pb.RemoveCartItemRequest(product_id=product_id)


async def cart_of(calls: Any) -> pb.Cart:
    cart: pb.Cart = (await calls.GetCart(pb.GetCartRequest())).cart
    return cart


def contents(cart: pb.Cart) -> list[tuple[str, int]]:
    """Return SKU and quantity of each line."""
    return [(line.sku, line.quantity) for line in cart.lines]


def at_home(country_code: str = "GB") -> shipping_pb2.Address:
    address = shipping_pb2.Address()
    address.CopyFrom(HOME)
    address.country_code = country_code
    return address


async def quoted(calls: Any, country_code: str = "GB") -> pb.QuoteCartResponse:
    response: pb.QuoteCartResponse = await calls.QuoteCart(quote(country_code))
    return response


def quote(country_code: str = "GB") -> pb.QuoteCartRequest:
    return pb.QuoteCartRequest(destination=shipping_pb2.Destination(country_code=country_code))


def check_out(
    *lines: tuple[str, int, str],
    total: str | Money,
    request_id: str = "",
    pay_with: str = "pm_test_accepted",
    country_code: str = "GB",
) -> pb.CheckOutCartRequest:
    """Return what a shopper sends who saw *lines*: product, quantity and price of one."""
    return pb.CheckOutCartRequest(
        expected_lines=[
            pb.ExpectedLine(product_id=product_id, quantity=quantity, unit_price=euros(price))
            for product_id, quantity, price in lines
        ],
        expected_total=euros(total) if isinstance(total, str) else total,
        payment_method=pay_with,
        destination=at_home(country_code),
        request_id=request_id,
    )
