from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from google.type.money_pb2 import Money as MoneyMessage
from shop.catalog.v1 import catalog_pb2
from shop.inventory.v1 import inventory_pb2
from shop.payments.v1 import payments_pb2
from shop.shipping.v1 import shipping_pb2
from shop.users.v1 import users_pb2

from services.orders.domain import Order, first
from services.orders.events import Address, Line, Placed, Tax
from services.orders.messages import address_message, money_message
from services.orders.money import Money
from services.orders.peers import Buyers, Inventory, Offers, Payments, Shipping
from services.orders.pricing import Offer
from services.orders.refusals import (
    DestinationNotServed,
    InsufficientStock,
    PeerUnavailable,
    UserDeactivated,
    UserNotFound,
)
from weft.client import PeerError
from weft.errors import Violation

NOW = datetime(2026, 3, 1, tzinfo=UTC)
HOME = Address(recipient="Ada", street_lines=("1 Street",), postal_code="1", city="London", country_code="GB")
MUG = UUID(int=7)


class Peer:
    """Stands for all peers: answers every call with *answer*, or raises it."""

    def __init__(self, answer: object) -> None:
        self.answer = answer
        self.requests: list[object] = []

    def stub(self, _stub_class: object, _peer: str) -> Any:
        return self

    def __getattr__(self, _method: str) -> Any:
        return self._answered

    async def _answered(self, request: object) -> object:
        self.requests.append(request)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def peers(answer: object) -> Any:
    return Peer(answer)


@pytest.mark.parametrize(
    ("code", "reason", "meaning"),
    [
        ("FAILED_PRECONDITION", "USER_DEACTIVATED", UserDeactivated),
        ("NOT_FOUND", "USER_NOT_FOUND", UserNotFound),
        ("UNAVAILABLE", "UNAVAILABLE", PeerUnavailable),
        ("RESOURCE_EXHAUSTED", "OVERLOADED", PeerUnavailable),
        ("DEADLINE_EXCEEDED", "DEADLINE_EXCEEDED", PeerError),
        ("UNAUTHENTICATED", "TOKEN_EXPIRED", PeerError),
        ("INTERNAL", "INTERNAL", PeerError),
    ],
)
async def test_a_refusal_of_users_means_something_here_or_stays_what_it_is(
    code: str, reason: str, meaning: type[Exception]
) -> None:
    with pytest.raises(meaning) as raised:
        await Buyers(peers(PeerError("users", code, "no", reason=reason))).require_active("ada")

    assert type(raised.value) is meaning


async def test_the_wait_that_a_peer_asks_for_is_passed_on() -> None:
    with pytest.raises(PeerUnavailable) as raised:
        await Offers(peers(PeerError("catalog", "RESOURCE_EXHAUSTED", "no", retry_after_s=7.5))).find([MUG])

    assert raised.value.retry_after_s == 7.5
    assert raised.value.metadata == {"peer": "catalog"}


async def test_a_user_who_may_buy_is_nothing_to_speak_of() -> None:
    peer = peers(users_pb2.GetMeResponse())

    await Buyers(peer).require_active("ada")

    assert peer.requests == [users_pb2.GetMeRequest()]


async def test_offers_are_the_catalogs_products_by_id() -> None:
    price = MoneyMessage(currency_code="EUR", units=14, nanos=500_000_000)
    product = catalog_pb2.Product(product_id=str(MUG), sku="MUG", name="Mug", price=price, category="kitchen")
    peer = peers(catalog_pb2.BatchGetProductsResponse(products=[product]))

    offers = await Offers(peer).find([MUG])

    assert offers == {MUG: Offer(sku="MUG", name="Mug", unit_price=Money("EUR", 14, 500_000_000), category="kitchen")}
    assert peer.requests == [catalog_pb2.BatchGetProductsRequest(product_ids=[str(MUG)])]


@pytest.mark.parametrize("availability", catalog_pb2.Availability.values())
async def test_only_what_the_catalog_says_is_out_is_sold_out(availability: catalog_pb2.Availability.ValueType) -> None:
    product = catalog_pb2.Product(product_id=str(MUG), availability=availability)

    offers = await Offers(peers(catalog_pb2.BatchGetProductsResponse(products=[product]))).find([MUG])

    assert offers[MUG].is_sold_out == (availability == catalog_pb2.AVAILABILITY_OUT)


@pytest.mark.parametrize(
    ("code", "reason", "meaning"),
    [
        ("FAILED_PRECONDITION", "DESTINATION_NOT_SERVED", DestinationNotServed),
        ("UNAVAILABLE", "CARRIER_UNAVAILABLE", PeerUnavailable),
        ("RESOURCE_EXHAUSTED", "OVERLOADED", PeerUnavailable),
        ("DEADLINE_EXCEEDED", "DEADLINE_EXCEEDED", PeerError),
        ("INTERNAL", "INTERNAL", PeerError),
    ],
)
async def test_a_refusal_of_shipping_to_say_what_it_costs_means_something_here_or_stays_what_it_is(
    code: str, reason: str, meaning: type[Exception]
) -> None:
    with pytest.raises(meaning) as raised:
        await Shipping(peers(PeerError("shipping", code, "no", reason=reason))).quote("GB", 3)

    assert type(raised.value) is meaning


async def test_a_destination_that_is_not_served_is_named_as_our_own_callers_name_it() -> None:
    refusal = PeerError("shipping", "FAILED_PRECONDITION", "no", reason="DESTINATION_NOT_SERVED")

    with pytest.raises(DestinationNotServed) as raised:
        await Shipping(peers(refusal)).quote("GB", 3)

    assert (raised.value.code, raised.value.reason) == ("FAILED_PRECONDITION", "DESTINATION_NOT_SERVED")
    assert [each.field for each in raised.value.violations] == ["destination.countryCode"]


async def test_shipping_is_asked_what_it_costs_without_being_told_whose_it_is() -> None:
    rate = MoneyMessage(currency_code="EUR", units=4, nanos=900_000_000)
    peer = peers(shipping_pb2.QuoteShipmentResponse(rate=rate))

    assert await Shipping(peer).quote("GB", 3) == Money("EUR", 4, 900_000_000)

    there = shipping_pb2.Destination(country_code="GB")
    assert peer.requests == [shipping_pb2.QuoteShipmentRequest(destination=there, units=3)]


FREE = Money("EUR", 0, 0)


def order(*quantities: int, shipping: Money = FREE, taxes: tuple[Tax, ...] = ()) -> Order:
    """Return an order of product 0, 1, and so on."""
    lines = [
        Line(
            product_id=UUID(int=number), sku=f"SKU-{number}", name="Thing", unit_price=Money("EUR", 2, 0), quantity=each
        )
        for number, each in enumerate(quantities)
    ]
    placed = Placed(user_id="ada", lines=tuple(lines), destination=HOME, shipping=shipping, taxes=taxes)
    return first(UUID(int=9), placed, now=NOW)


async def test_money_is_taken_for_what_was_bought_by_whom_it_is_sent_to() -> None:
    peer = peers(payments_pb2.CapturePaymentResponse())

    await Payments(peer).capture(order(1, 3), HOME, "r")

    [request] = peer.requests
    assert (request.order_id, request.request_id) == (str(UUID(int=9)), "r")
    assert [(line.sku, line.name, line.quantity, line.total.units) for line in request.lines] == [
        ("SKU-0", "Thing", 1, 2),
        ("SKU-1", "Thing", 3, 6),
    ]
    assert request.buyer == address_message(HOME)
    assert not request.HasField("shipping")
    assert list(request.taxes) == []


async def test_money_is_taken_for_shipping_too_and_with_its_taxes() -> None:
    peer = peers(payments_pb2.CapturePaymentResponse())
    shipping, tax = Money("EUR", 4, 900_000_000), Money("EUR", 1, 100_000_000)
    taxes = (Tax(rate_percent="19", gross=Money("EUR", 6, 900_000_000), tax=tax),)

    await Payments(peer).capture(order(1, shipping=shipping, taxes=taxes), HOME, "r")

    [request] = peer.requests
    assert request.shipping == money_message(shipping)
    assert [(each.rate_percent, each.gross.units, each.tax) for each in request.taxes] == [
        ("19", 6, money_message(tax))
    ]


CALLS: list[Callable[[Any], Awaitable[Any]]] = [
    lambda peer: Inventory(peer).reserve(order(1), "r"),
    lambda peer: Inventory(peer).release(MUG, "r"),
    lambda peer: Inventory(peer).commit(MUG, "r"),
    lambda peer: Payments(peer).authorize(order(1), "pm_1", "r"),
    lambda peer: Payments(peer).capture(order(1), HOME, "r"),
    lambda peer: Payments(peer).void(MUG, "r"),
    lambda peer: Payments(peer).refund(MUG, "r"),
    lambda peer: Shipping(peer).schedule(order(1), HOME, "r"),
    lambda peer: Shipping(peer).cancel(MUG, "r"),
]


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(
    "code",
    ["UNAVAILABLE", "DEADLINE_EXCEEDED", "ABORTED", "RESOURCE_EXHAUSTED", "INTERNAL", "UNKNOWN", "CANCELLED"],
)
async def test_what_may_have_been_done_is_in_doubt_whoever_was_asked(
    call: Callable[[Any], Awaitable[Any]], code: str
) -> None:
    with pytest.raises(PeerUnavailable) as raised:
        await call(peers(PeerError("peer", code, "no", reason="WHATEVER", retry_after_s=3.0)))

    assert (raised.value.code, raised.value.reason) == ("UNAVAILABLE", "PEER_UNAVAILABLE")
    assert (raised.value.metadata, raised.value.retry_after_s) == ({"peer": "peer"}, 3.0)


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("code", ["FAILED_PRECONDITION", "NOT_FOUND", "INVALID_ARGUMENT", "PERMISSION_DENIED"])
async def test_a_refusal_stays_what_it_is(call: Callable[[Any], Awaitable[Any]], code: str) -> None:
    refusal = PeerError("peer", code, "no", reason="SOME_REASON")

    with pytest.raises(PeerError) as raised:
        await call(peers(refusal))

    assert raised.value is refusal


async def test_goods_that_are_short_are_named_by_our_lines_and_products() -> None:
    fields = ["lines[2].quantity", "lines[0].quantity", "lines[7].quantity", "sku"]
    refusal = PeerError(
        "inventory", "FAILED_PRECONDITION", "too few", reason="INSUFFICIENT_STOCK",
        violations=[Violation(each, "only 0 on hand") for each in fields],
    )  # fmt: skip

    with pytest.raises(InsufficientStock) as raised:
        await Inventory(peers(refusal)).reserve(order(1, 1, 1), "r")

    assert raised.value.metadata == {"lines": "0,2", "product_ids": f"{UUID(int=0)},{UUID(int=2)}"}


async def test_a_reservation_says_until_when_it_holds() -> None:
    response = inventory_pb2.ReserveStockResponse()
    response.expire_time.FromDatetime(NOW)

    assert await Inventory(peers(response)).reserve(order(1), "r") == NOW
    assert await Inventory(peers(inventory_pb2.ReserveStockResponse())).reserve(order(1), "r") is None


async def test_a_parcel_is_known_by_its_order_and_knows_how_much_it_holds() -> None:
    peer = peers(None)

    await Shipping(peer).schedule(order(2, 3), HOME, "r")

    (request,) = peer.requests
    assert (request.order_id, request.user_id, request.units, request.request_id) == (str(UUID(int=9)), "ada", 5, "r")
    assert (request.destination.city, request.destination.street_lines) == ("London", ["1 Street"])
