"""Carts that become orders: all of what was seen, once, or nothing."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import pytest
from google.type.money_pb2 import Money
from shop.orders.v1 import events_pb2
from shop.orders.v1 import orders_pb2 as pb

from tests.mesh.saga.harness import Fault as Death
from tests.mesh.services.calls import euros, outcome, refusal
from tests.mesh.services.orders_carts import add, at_home, cart_of, check_out, contents, put, quoted, remove
from tests.mesh.services.orders_parts import HOME, Shop, order_request, until
from tests.mesh.services.orders_peers import MUG, POT, Fault
from tests.mesh.services.test_orders_requests import another, at_once, bury, doomed, forget_answers, unanswered

if TYPE_CHECKING:
    from collections.abc import Callable

TWO_MUGS = (MUG, 2, "14.50")
A_POT = (POT, 1, "14.50")
BOTH = "48.40"
"""What two mugs and a pot cost, sent."""


async def filled(shop: Shop) -> None:
    """Put two mugs and a pot in."""
    await shop.me.PutCartItem(put(MUG, 2))
    await shop.me.PutCartItem(put(POT, 1))


def both(request_id: str = "", **more: Any) -> pb.CheckOutCartRequest:
    return check_out(TWO_MUGS, A_POT, total=BOTH, request_id=request_id, **more)


async def is_untouched(shop: Shop) -> bool:
    """Tell whether no order was begun, and nobody was asked to do anything."""
    tables = ("orders", "order_events", "placements", "payment_methods", "sagas", "outbox")
    written = [table for table in tables if await shop.scalar(f"select count(*) from {table}")]
    return not (written or shop.inventory.calls or shop.payments.calls or shop.shipping.calls)


async def held(shop: Shop) -> list[tuple[str, int]]:
    return contents(await cart_of(shop.me))


async def changed(call: Any) -> list[str]:
    """Return what CART_CHANGED says is another now."""
    error = await refusal(call)
    assert (error.code, error.reason) == ("FAILED_PRECONDITION", "CART_CHANGED")
    return [f"{violation.field} {violation.description}" for violation in error.violations]


async def test_what_is_in_the_cart_becomes_an_order_and_leaves_the_cart(shop: Shop) -> None:
    await filled(shop)

    order = (await shop.me.CheckOutCart(both())).order
    await shop.at_rest()

    assert (order.state, order.destination) == (pb.Order.STATE_CONFIRMED, HOME)
    assert [(line.sku, line.quantity, line.total) for line in order.lines] == [
        ("MUG", 2, euros("29")),
        ("POT", 1, euros("14.50")),
    ]
    assert (order.shipping, order.total) == (euros("4.90"), euros(BOTH))
    cart = await cart_of(shop.me)
    assert (contents(cart), cart.HasField("update_time")) == ([], True)
    assert shop.fulfilment.of(order.order_id) == ("sold", "captured", "created")
    assert shop.payments.methods[order.order_id] == "pm_test_accepted"
    assert await shop.published(order.order_id) == ["OrderPlaced", "OrderConfirmed"]
    assert (await shop.me.GetOrder(pb.GetOrderRequest(order_id=order.order_id))).order.total == order.total


async def test_what_is_paid_billed_and_announced_is_what_was_quoted(shop: Shop) -> None:
    shop.offered.sell(POT, "POT", 1070, category="books")
    await filled(shop)
    quote = await quoted(shop.me, "DE")
    seen = [(line.product_id, line.quantity, line.unit_price) for line in quote.cart.lines]
    request = pb.CheckOutCartRequest(
        expected_lines=[
            pb.ExpectedLine(product_id=product_id, quantity=quantity, unit_price=unit_price)
            for product_id, quantity, unit_price in seen
        ],
        expected_total=quote.total,
        payment_method="pm_test_accepted",
        destination=at_home("DE"),
    )

    order = (await shop.me.CheckOutCart(request)).order
    await shop.at_rest()

    assert (order.total, order.shipping, list(order.taxes)) == (quote.total, quote.shipping, list(quote.taxes))
    assert [(tax.rate_percent, tax.gross, tax.tax) for tax in order.taxes] == [
        ("19", euros("33.90"), euros("5.41")),
        ("7", euros("10.70"), euros("0.70")),
    ]
    assert shop.payments.amounts[order.order_id] == quote.total
    bill = shop.payments.bills[order.order_id]
    assert [(line.sku, line.total) for line in bill.lines] == [("MUG", euros("29")), ("POT", euros("10.70"))]
    assert bill.shipping == quote.shipping
    assert [(tax.rate_percent, tax.gross, tax.tax) for tax in bill.taxes] == [
        (tax.rate_percent, tax.gross, tax.tax) for tax in order.taxes
    ]
    told = await shop.rows("select type, data from outbox where subject = :id order by sequence", id=order.order_id)
    kinds = {each.DESCRIPTOR.full_name: each for each in (events_pb2.OrderPlaced, events_pb2.OrderConfirmed)}
    assert [kinds[kind].FromString(data).total for kind, data in told] == [quote.total, quote.total]
    confirmed = events_pb2.OrderConfirmed.FromString(told[-1].data)
    assert [line.name for line in confirmed.lines] == [line.name for line in order.lines]
    assert confirmed.shipping == quote.shipping


async def test_an_order_placed_without_the_cart_leaves_it_alone(shop: Shop) -> None:
    await filled(shop)

    await shop.me.PlaceOrder(order_request((MUG, 2)))
    await shop.at_rest()

    assert await held(shop) == [("MUG", 2), ("POT", 1)]


async def test_a_price_that_has_changed_is_told_with_what_it_is_now(shop: Shop) -> None:
    await filled(shop)
    shop.offered.sell(POT, "POT", 1500)

    assert await changed(shop.me.CheckOutCart(both())) == [
        "expectedLines[1].unitPrice is 15.00 EUR now",
        "expectedTotal is 48.90 EUR now",
    ]
    assert await is_untouched(shop)
    assert await held(shop) == [("MUG", 2), ("POT", 1)]
    again = check_out(TWO_MUGS, (POT, 1, "15.00"), total="48.90")
    assert (await shop.me.CheckOutCart(again)).order.state == pb.Order.STATE_CONFIRMED


async def test_what_is_sold_out_is_not_tried(shop: Shop) -> None:
    await filled(shop)
    shop.offered.sell_out(MUG)

    assert await changed(shop.me.CheckOutCart(both())) == [
        "expectedLines[0].quantity is more than there is: it is sold out"
    ]
    assert await is_untouched(shop)


async def test_a_product_that_was_withdrawn_is_told_and_the_rest_can_be_had(shop: Shop) -> None:
    await filled(shop)
    shop.offered.withdraw(MUG)

    assert await changed(shop.me.CheckOutCart(both())) == ["expectedLines[0].productId is off sale"]
    assert await is_untouched(shop)

    order = (await shop.me.CheckOutCart(check_out(A_POT, total="19.40"))).order

    assert order.state == pb.Order.STATE_CONFIRMED
    cart = await cart_of(shop.me)
    assert (contents(cart), list(cart.unavailable_product_ids)) == ([], [MUG])


async def test_a_cart_that_was_changed_elsewhere_is_told_as_what_it_is(shop: Shop) -> None:
    shop.offered.sell(str(UUID(int=3)), "PEN")
    await shop.me.AddCartItem(add(MUG, 3))
    await shop.me.AddCartItem(add(str(UUID(int=3))))

    assert await changed(shop.me.CheckOutCart(both())) == [
        "expectedLines[0].quantity is 3 in the cart",
        "expectedLines[1].productId is not in the cart",
        f"expectedLines lacks product {UUID(int=3)}, which is in the cart",
    ]
    assert await is_untouched(shop)


async def test_what_sending_costs_may_have_changed_too(shop: Shop) -> None:
    await filled(shop)
    shop.shipping.rate.CopyFrom(euros("9.90"))

    assert await changed(shop.me.CheckOutCart(both())) == ["expectedTotal is 53.40 EUR now"]
    assert await is_untouched(shop)


async def test_prices_in_another_currency_are_other_prices_or_have_no_sum(shop: Shop) -> None:
    await filled(shop)
    shop.offered.sell(POT, "POT", currency="USD")

    assert await outcome(shop.me.CheckOutCart(both())) == "CURRENCIES_DIFFER"

    shop.offered.sell(MUG, "MUG", currency="USD")
    shop.shipping.rate.CopyFrom(Money(currency_code="USD", units=4, nanos=900_000_000))
    assert await changed(shop.me.CheckOutCart(both())) == [
        "expectedLines[0].unitPrice is 14.50 USD now",
        "expectedLines[1].unitPrice is 14.50 USD now",
        "expectedTotal is 48.40 USD now",
    ]
    assert await is_untouched(shop)


async def test_an_empty_cart_is_not_checked_out(shop: Shop) -> None:
    error = await refusal(shop.me.CheckOutCart(both()))
    await shop.me.AddCartItem(add(MUG))
    await shop.me.RemoveCartItem(remove(MUG))

    assert (error.code, error.reason) == ("FAILED_PRECONDITION", "CART_EMPTY")
    assert await outcome(shop.me.CheckOutCart(both())) == "CART_EMPTY"
    assert await is_untouched(shop)


async def test_a_product_was_seen_once(shop: Shop) -> None:
    await filled(shop)

    error = await refusal(shop.me.CheckOutCart(check_out(TWO_MUGS, A_POT, TWO_MUGS, total=BOTH)))

    assert (error.code, error.reason) == ("INVALID_ARGUMENT", "DUPLICATE_PRODUCTS")
    assert [violation.field for violation in error.violations] == ["expectedLines[2].productId"]


async def test_where_no_carrier_goes_nothing_is_sent(shop: Shop) -> None:
    await filled(shop)
    shop.shipping.fail("QuoteShipment", Fault.REFUSED, times=1)

    assert await outcome(shop.me.CheckOutCart(both(country_code="AQ"))) == "DESTINATION_NOT_SERVED"
    assert await is_untouched(shop)
    assert await held(shop) == [("MUG", 2), ("POT", 1)]


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda shop: shop.inventory.short.add("MUG"), "INSUFFICIENT_STOCK"),
        (lambda shop: shop.payments.fail("AuthorizePayment", Fault.REFUSED), "PAYMENT_DECLINED"),
        (lambda shop: shop.payments.fail("AuthorizePayment", Fault.UNAVAILABLE), "PEER_UNAVAILABLE"),
    ],
)
async def test_an_order_that_can_not_be_had_takes_nothing_out_of_the_cart(
    shop: Shop, spoil: Callable[[Shop], None], reason: str
) -> None:
    await filled(shop)
    before = await cart_of(shop.me)
    spoil(shop)

    error = await refusal(shop.me.CheckOutCart(both("basket-1")))
    await shop.at_rest()

    assert error.reason == reason
    assert await shop.standing(error.metadata["order_id"]) == ("cancelled", reason)
    assert await cart_of(shop.me) == before
    shop.inventory.short = set()
    shop.fulfilment.heal()
    assert (await shop.me.CheckOutCart(both("basket-1"))).order.state == pb.Order.STATE_CONFIRMED
    assert await held(shop) == []


async def test_what_is_short_is_named_as_the_shopper_wrote_it(shop: Shop) -> None:
    await filled(shop)
    shop.inventory.short = {"POT"}

    error = await refusal(shop.me.CheckOutCart(both()))

    assert [violation.field for violation in error.violations] == ["expectedLines[1].quantity"]
    assert error.metadata["product_ids"] == POT


async def test_while_an_order_is_pending_nothing_else_buys_the_cart(shop: Shop) -> None:
    await filled(shop)
    shop.payments.held.clear()
    pending = asyncio.ensure_future(shop.me.CheckOutCart(both("one")))
    await until(lambda: _counted(shop, "AuthorizePayment"))
    order_id = await shop.only_id()

    error = await refusal(shop.me.CheckOutCart(both("two")))
    during = await held(shop)
    shop.payments.held.set()
    order = (await pending).order

    assert (error.reason, error.metadata) == ("CART_CHANGED", {"order_id": order_id})
    assert [violation.field for violation in error.violations] == ["expectedLines"]
    assert during == [("MUG", 2), ("POT", 1)]
    assert (order.order_id, order.state) == (order_id, pb.Order.STATE_CONFIRMED)
    assert await held(shop) == []
    assert await shop.ids_of_all() == [order_id]


async def test_what_is_changed_while_an_order_is_pending_is_kept(shop: Shop) -> None:
    pen = str(UUID(int=3))
    shop.offered.sell(pen, "PEN")
    await filled(shop)
    shop.payments.held.clear()
    pending = asyncio.ensure_future(shop.me.CheckOutCart(both()))
    await until(lambda: _counted(shop, "AuthorizePayment"))

    await shop.me.AddCartItem(add(MUG, 3))
    await shop.me.RemoveCartItem(remove(POT))
    await shop.me.AddCartItem(add(pen))
    shop.payments.held.set()
    await pending

    assert await held(shop) == [("MUG", 3), ("PEN", 1)]
    assert (await shop.me.CheckOutCart(check_out((MUG, 3, "14.50"), (pen, 1, "14.50"), total="62.90"))).order


async def test_an_order_that_is_called_off_while_it_is_pending_takes_nothing_out(shop: Shop) -> None:
    await filled(shop)
    shop.payments.held.clear()
    pending = asyncio.ensure_future(outcome(shop.me.CheckOutCart(both("one"))))
    await until(lambda: _counted(shop, "AuthorizePayment"))
    cancelled = asyncio.ensure_future(shop.me.CancelOrder(pb.CancelOrderRequest(order_id=await shop.only_id())))
    await until(lambda: _stands(shop, "cancelling"))

    # It can't become certain any more, however long it takes to undo it.
    other = asyncio.ensure_future(shop.me.CheckOutCart(both("two")))
    await until(lambda: _placed(shop, 2))
    shop.payments.held.set()

    assert await pending == "CANCELLED_BY_USER"
    await cancelled
    assert (await other).order.state == pb.Order.STATE_CONFIRMED
    await shop.at_rest()
    assert await held(shop) == []
    shop.fulfilment.require_nothing_twice()


async def test_twenty_check_outs_at_once_with_keys_of_their_own_are_one_order(shop: Shop) -> None:
    await filled(shop)

    async with another(shop) as other:
        callers = [each.as_user(shop.user_id) for each in (shop.replica, other)]
        answers = await at_once(*(lambda n=n: callers[n % 2].CheckOutCart(both(f"basket-{n}")) for n in range(20)))
        await shop.at_rest()

    (order,) = [answer.order for answer in answers if not isinstance(answer, str)]
    assert order.state == pb.Order.STATE_CONFIRMED
    assert {answer for answer in answers if isinstance(answer, str)} <= {"CART_CHANGED", "CART_EMPTY"}
    assert await shop.ids_of_all() == [order.order_id]
    assert await held(shop) == []
    shop.fulfilment.require_nothing_twice()


async def test_twenty_copies_of_a_check_out_at_once_are_one_order_and_one_answer(shop: Shop) -> None:
    await filled(shop)

    async with another(shop) as other:
        callers = [each.as_user(shop.user_id) for each in (shop.replica, other)]
        answers = await at_once(*(lambda n=n: callers[n % 2].CheckOutCart(both("basket-1")) for n in range(20)))
        await shop.at_rest()

    assert answers == [answers[0]] * 20
    assert await shop.ids_of_all() == [answers[0].order.order_id]
    assert await held(shop) == []


async def test_a_repeat_whose_answer_is_forgotten_still_finds_its_order(shop: Shop) -> None:
    await filled(shop)
    first = (await shop.me.CheckOutCart(both("basket-1"))).order
    await shop.at_rest()
    await forget_answers(shop)
    await filled(shop)

    second = (await shop.me.CheckOutCart(both("basket-1"))).order

    assert second == first
    assert await held(shop) == [("MUG", 2), ("POT", 1)]


async def test_a_check_out_and_an_order_share_their_request_ids(shop: Shop) -> None:
    await filled(shop)
    await shop.me.PlaceOrder(order_request((MUG, 2), (POT, 1), request_id="basket-1"))

    error = await refusal(shop.me.CheckOutCart(both("basket-1")))

    assert (error.code, error.reason) == ("INVALID_ARGUMENT", "REQUEST_ID_REUSED")
    assert await held(shop) == [("MUG", 2), ("POT", 1)]


async def test_a_cart_is_changed_while_it_is_checked_out_or_bought_as_seen(shop: Shop) -> None:
    """Whichever is first: what is bought is what was seen, and nothing is lost."""
    for _ in range(10):
        await shop.me.PutCartItem(put(MUG, 2))
        await shop.me.RemoveCartItem(remove(POT))
        request = check_out(TWO_MUGS, total="33.90")

        answer, added = await at_once(
            lambda request=request: shop.me.CheckOutCart(request), lambda: shop.me.AddCartItem(add(MUG))
        )

        if answer == "CART_CHANGED":
            assert await held(shop) == [("MUG", 3)]
        else:
            assert [line.quantity for line in answer.order.lines] == [2]
            assert await held(shop) == [("MUG", 1)]
        assert added.cart.lines[0].quantity in (1, 3)
        await shop.at_rest()


@pytest.mark.parametrize("number", range(1, 6))
@pytest.mark.parametrize("death", [Death.DEATH_BEFORE, Death.DEATH_AFTER])
async def test_the_cart_and_the_order_agree_whenever_a_replica_dies(shop: Shop, number: int, death: Death) -> None:
    await filled(shop)

    async with doomed(shop, {number: death}) as dying:
        async with unanswered(dying.as_user(shop.user_id).CheckOutCart(both("basket-1"))):
            async with asyncio.timeout(10):
                await dying.mortal.died.wait()
            certain = (await shop.standing(await shop.only_id()))[0] == "confirmed"
            assert (await held(shop) == []) == certain
            await bury(shop, dying)
        order = (await shop.me.CheckOutCart(both("basket-1"))).order
        await shop.at_rest()

    assert await shop.ids_of_all() == [order.order_id]
    assert order.state == pb.Order.STATE_CONFIRMED
    assert await held(shop) == []
    shop.fulfilment.require_nothing_twice()


async def test_carts_of_others_are_not_bought(shop: Shop) -> None:
    await filled(shop)

    assert await outcome(shop.as_user(str(uuid4())).CheckOutCart(both())) == "CART_EMPTY"
    assert await held(shop) == [("MUG", 2), ("POT", 1)]


async def test_what_is_paid_with_is_in_no_table_once_the_order_is_certain(shop: Shop) -> None:
    await filled(shop)
    await shop.me.CheckOutCart(both("basket-1"))
    await shop.at_rest()

    for table in ("carts", "cart_items", "sagas", "saga_log", "outbox", "payment_methods", "placements"):
        text = str(await shop.rows(f"select * from {table}"))
        assert "pm_test_accepted" not in text
        assert HOME.recipient not in text


async def _counted(shop: Shop, method: str) -> bool:
    return shop.payments.count(method) > 0


async def _stands(shop: Shop, state: str) -> bool:
    return (await shop.standing(await shop.only_id()))[0] == state


async def _placed(shop: Shop, number: int) -> bool:
    return len(await shop.ids_of_all()) == number
