"""What shoppers put into their carts, and what it would cost."""

from __future__ import annotations

import asyncio
from contextvars import Context
from datetime import timedelta
from random import Random
from typing import Any
from uuid import UUID, uuid4

import pytest
from google.type.money_pb2 import Money
from shop.orders.v1 import orders_pb2 as pb
from shop.orders.v1 import orders_pb2_grpc

from services.orders import cart_store
from services.orders.cart import KEPT
from services.orders.peers import Offers
from tests.mesh.services.calls import Calls, euros, outcome, refusal
from tests.mesh.services.orders_carts import add, cart_of, contents, put, quote, quoted, remove
from tests.mesh.services.orders_parts import Shop
from tests.mesh.services.orders_peers import MUG, POT, Fault
from tests.mesh.services.test_orders_requests import another, at_once, forget_answers
from tests.mesh.services.test_statements import explained, filled, plan

MANY_CARTS = (
    "insert into carts select 'user-' || n, null, now() - n * interval '1 hour' from generate_series(1, 10000) n",
    "insert into cart_items (user_id, product_id, quantity) select user_id, gen_random_uuid(), 1 from carts",
)
THINGS = [str(UUID(int=number)) for number in range(1000, 1130)]


def sell(shop: Shop, product_ids: list[str]) -> None:
    for number, product_id in enumerate(product_ids):
        shop.offered.sell(product_id, f"THING-{number}", 100 + number)


async def kept(shop: Shop) -> dict[str, int]:
    """Return what the shopper's cart holds, whatever is shown of it."""
    rows = await shop.rows(
        "select product_id, quantity from cart_items where user_id = :user order by position", user=shop.user_id
    )
    return {str(product_id): quantity for product_id, quantity in rows}


async def let_pass(shop: Shop, time: timedelta) -> None:
    """Let time pass for all carts."""
    await shop.rows(
        "update carts set update_time = update_time - make_interval(secs => :secs) returning 1",
        secs=time.total_seconds(),
    )


async def test_who_never_had_a_cart_has_an_empty_one(shop: Shop) -> None:
    cart = await cart_of(shop.me)

    assert cart == pb.Cart()
    assert shop.offered.asked == 0


async def test_what_is_put_in_is_shown_in_order_at_its_price(shop: Shop) -> None:
    first = (await shop.me.AddCartItem(add(MUG, 2))).cart
    second = (await shop.me.AddCartItem(add(POT))).cart

    third = (await shop.me.AddCartItem(add(MUG, 3))).cart

    assert (contents(first), first.subtotal) == ([("MUG", 2)], euros("29"))
    assert (contents(second), second.subtotal) == ([("MUG", 2), ("POT", 1)], euros("43.50"))
    assert (contents(third), third.subtotal) == ([("MUG", 5), ("POT", 1)], euros("87"))
    assert [(line.product_id, line.name, line.unit_price, line.total) for line in third.lines] == [
        (MUG, "Mug", euros("14.50"), euros("72.50")),
        (POT, "Pot", euros("14.50"), euros("14.50")),
    ]
    assert first.update_time.ToDatetime() < second.update_time.ToDatetime() < third.update_time.ToDatetime()
    assert await cart_of(shop.me) == third


async def test_a_quantity_is_set_and_what_is_set_to_nothing_is_out(shop: Shop) -> None:
    await shop.me.AddCartItem(add(MUG, 2))

    more = (await shop.me.PutCartItem(put(MUG, 7))).cart
    new = (await shop.me.PutCartItem(put(POT, 1))).cart
    less = (await shop.me.PutCartItem(put(MUG, 0))).cart
    again = (await shop.me.PutCartItem(put(MUG, 0))).cart

    assert [contents(cart) for cart in (more, new, less)] == [[("MUG", 7)], [("MUG", 7), ("POT", 1)], [("POT", 1)]]
    assert again == less


async def test_what_is_taken_out_twice_is_taken_out_once(shop: Shop) -> None:
    assert (await shop.me.RemoveCartItem(remove(MUG))).cart == pb.Cart()
    await shop.me.AddCartItem(add(MUG))
    await shop.me.AddCartItem(add(POT))

    once = (await shop.me.RemoveCartItem(remove(MUG))).cart
    twice = (await shop.me.RemoveCartItem(remove(MUG))).cart

    assert contents(once) == [("POT", 1)]
    assert twice == once


async def test_what_is_put_in_again_comes_last(shop: Shop) -> None:
    await shop.me.AddCartItem(add(MUG))
    await shop.me.AddCartItem(add(POT))
    await shop.me.RemoveCartItem(remove(MUG))

    cart = (await shop.me.AddCartItem(add(MUG))).cart

    assert contents(cart) == [("POT", 1), ("MUG", 1)]
    assert await cart_of(shop.me) == cart


async def test_a_cart_that_was_emptied_still_says_when(shop: Shop) -> None:
    await shop.me.AddCartItem(add(MUG))

    emptied = (await shop.me.RemoveCartItem(remove(MUG))).cart

    assert emptied.HasField("update_time")
    assert not emptied.HasField("subtotal")
    assert await cart_of(shop.me) == emptied


async def test_a_cart_is_its_shoppers_however_they_log_in(shop: Shop) -> None:
    await shop.me.AddCartItem(add(MUG, 2))
    stub = orders_pb2_grpc.OrdersServiceStub(shop.server.channel)

    logged_in_again = shop.as_user(shop.user_id)
    somebody_else = shop.as_user(str(uuid4()))

    async with another(shop) as other:
        assert contents(await cart_of(other.as_user(shop.user_id))) == [("MUG", 2)]
    assert contents(await cart_of(logged_in_again)) == [("MUG", 2)]
    assert await cart_of(somebody_else) == pb.Cart()
    await somebody_else.RemoveCartItem(remove(MUG))
    assert contents(await cart_of(shop.me)) == [("MUG", 2)]
    for call in ("GetCart", "AddCartItem", "PutCartItem", "RemoveCartItem", "QuoteCart", "CheckOutCart"):
        request = getattr(pb, f"{call}Request")()
        assert (await refusal(getattr(Calls(stub), call)(request))).code == "UNAUTHENTICATED"


@pytest.mark.parametrize("change", [add(str(uuid4())), put(str(uuid4()), 1)], ids=["add", "put"])
async def test_what_is_not_on_sale_can_not_be_put_in(shop: Shop, change: Any) -> None:
    call = shop.me.AddCartItem if isinstance(change, pb.AddCartItemRequest) else shop.me.PutCartItem

    error = await refusal(call(change))

    assert (error.code, error.reason) == ("NOT_FOUND", "PRODUCT_NOT_FOUND")
    assert [violation.field for violation in error.violations] == ["productId"]
    assert error.metadata == {"product_ids": change.product_id}
    assert await shop.rows("select 1 from carts") == []


@pytest.mark.parametrize("quantity", [0, -1, 1000])
async def test_a_quantity_is_between_1_and_999(shop: Shop, quantity: int) -> None:
    error = await refusal(shop.me.AddCartItem(add(MUG, quantity)))

    assert (error.code, [violation.field for violation in error.violations]) == ("INVALID_ARGUMENT", ["quantity"])
    if quantity:
        assert (await refusal(shop.me.PutCartItem(put(MUG, quantity)))).code == "INVALID_ARGUMENT"


async def test_a_cart_holds_999_of_a_product_and_no_more(shop: Shop) -> None:
    await shop.me.AddCartItem(add(MUG, 998))

    error = await refusal(shop.me.AddCartItem(add(MUG, 2)))

    assert (error.code, error.reason) == ("FAILED_PRECONDITION", "CART_FULL")
    assert await kept(shop) == {MUG: 998}
    assert contents((await shop.me.AddCartItem(add(MUG))).cart) == [("MUG", 999)]


async def test_a_cart_holds_a_hundred_products_and_no_more(shop: Shop) -> None:
    sell(shop, THINGS)
    for product_id in THINGS[:100]:
        await shop.me.AddCartItem(add(product_id))

    reasons = {
        await outcome(shop.me.AddCartItem(add(THINGS[100]))),
        await outcome(shop.me.PutCartItem(put(THINGS[100], 1))),
    }

    assert reasons == {"CART_FULL"}
    assert list(await kept(shop)) == THINGS[:100]
    assert len((await shop.me.AddCartItem(add(THINGS[50]))).cart.lines) == 100
    await shop.me.RemoveCartItem(remove(THINGS[50]))
    assert len((await shop.me.AddCartItem(add(THINGS[100]))).cart.lines) == 100


async def test_what_is_put_in_at_once_is_all_in(shop: Shop) -> None:
    async with another(shop) as other:
        callers = [each.as_user(shop.user_id) for each in (shop.replica, other)]
        answers = await at_once(*(lambda me=callers[n % 2]: me.AddCartItem(add(MUG)) for n in range(40)))

    assert sorted(answer.cart.lines[0].quantity for answer in answers) == list(range(1, 41))
    assert await kept(shop) == {MUG: 40}


async def test_a_hundred_and_thirty_products_at_once_are_a_hundred(shop: Shop) -> None:
    sell(shop, THINGS)

    answers = await at_once(*(lambda product_id=each: shop.me.AddCartItem(add(product_id)) for each in THINGS))

    assert answers.count("CART_FULL") == 30
    full = [answer.cart for answer in answers if answer != "CART_FULL"]
    assert sorted(len(cart.lines) for cart in full) == list(range(1, 101))
    assert len(await kept(shop)) == 100


@pytest.mark.parametrize("seed", range(3))
async def test_changes_at_once_are_as_if_one_came_after_another(shop: Shop, seed: int) -> None:
    random = Random(seed)
    await shop.me.PutCartItem(put(MUG, 500))
    adds = [random.randint(1, 9) for _ in range(20)]
    calls: list[Any] = [lambda n=each: shop.me.AddCartItem(add(MUG, n)) for each in adds]
    calls += [lambda: shop.me.PutCartItem(put(POT, 3)), lambda: shop.me.RemoveCartItem(remove(POT))] * 5
    random.shuffle(calls)

    answers = await at_once(*calls)

    assert not [answer for answer in answers if isinstance(answer, str)]
    held = await kept(shop)
    assert held.pop(MUG) == 500 + sum(adds)
    assert held in ({}, {POT: 3})
    totals = [line.quantity for answer in answers for line in answer.cart.lines if line.product_id == MUG]
    assert max(totals) == 500 + sum(adds)


async def test_a_repeated_request_puts_in_once(shop: Shop) -> None:
    request = add(MUG, 2, request_id="r-1")

    answers = await at_once(*(lambda: shop.me.AddCartItem(request) for _ in range(10)))
    later = await shop.me.AddCartItem(request)
    reused = await refusal(shop.me.AddCartItem(add(MUG, 3, request_id="r-1")))

    assert answers == [answers[0]] * 10
    assert (later, reused.reason) == (answers[0], "REQUEST_ID_REUSED")
    assert await kept(shop) == {MUG: 2}
    await forget_answers(shop)
    await shop.me.AddCartItem(request)
    assert await kept(shop) == {MUG: 4}


async def test_a_cart_shows_the_prices_of_now(shop: Shop) -> None:
    await shop.me.AddCartItem(add(MUG, 2))
    shop.offered.sell(MUG, "MUG", 1999, name="Mug, dearer")

    (line,) = (await cart_of(shop.me)).lines

    assert (line.name, line.unit_price, line.total) == ("Mug, dearer", euros("19.99"), euros("39.98"))


async def test_what_went_off_sale_is_told_and_can_be_taken_out(shop: Shop) -> None:
    await shop.me.AddCartItem(add(MUG, 2))
    await shop.me.AddCartItem(add(POT))
    shop.offered.withdraw(MUG)

    cart = await cart_of(shop.me)
    refused = await outcome(shop.me.PutCartItem(put(MUG, 1)))
    without = (await shop.me.PutCartItem(put(MUG, 0))).cart

    assert (contents(cart), cart.subtotal, list(cart.unavailable_product_ids)) == ([("POT", 1)], euros("14.50"), [MUG])
    assert refused == "PRODUCT_NOT_FOUND"
    assert (contents(without), list(without.unavailable_product_ids)) == ([("POT", 1)], [])


async def test_what_comes_back_on_sale_is_in_again(shop: Shop) -> None:
    await shop.me.AddCartItem(add(MUG, 2))
    shop.offered.withdraw(MUG)
    assert contents(await cart_of(shop.me)) == []

    shop.offered.sell(MUG, "MUG")

    assert contents(await cart_of(shop.me)) == [("MUG", 2)]


async def test_what_is_sold_out_is_told(shop: Shop) -> None:
    await shop.me.AddCartItem(add(MUG))
    await shop.me.AddCartItem(add(POT))
    shop.offered.sell_out(POT)

    cart = await cart_of(shop.me)

    assert contents(cart) == [("MUG", 1), ("POT", 1)]
    assert list(cart.sold_out_product_ids) == [POT]


async def test_a_cart_in_two_currencies_is_shown_and_has_no_sum(shop: Shop) -> None:
    await shop.me.AddCartItem(add(MUG))
    await shop.me.AddCartItem(add(POT))
    shop.offered.sell(POT, "POT", currency="USD")

    cart = await cart_of(shop.me)

    assert [line.unit_price.currency_code for line in cart.lines] == ["EUR", "USD"]
    assert not cart.HasField("subtotal")
    assert (await refusal(shop.me.QuoteCart(quote()))).reason == "CURRENCIES_DIFFER"


async def test_while_catalog_is_away_only_taking_out_goes_on(shop: Shop) -> None:
    await shop.me.AddCartItem(add(MUG))
    await shop.me.AddCartItem(add(POT))
    shop.offered.is_away = True

    calls = [shop.me.GetCart(pb.GetCartRequest()), shop.me.AddCartItem(add(MUG)), shop.me.PutCartItem(put(MUG, 9))]
    errors = [await refusal(call) for call in [*calls, shop.me.QuoteCart(quote()), shop.me.RemoveCartItem(remove(MUG))]]

    assert {(error.code, error.reason) for error in errors} == {("UNAVAILABLE", "PEER_UNAVAILABLE")}
    assert await kept(shop) == {POT: 1}


async def test_what_somebody_puts_in_while_the_catalog_is_asked_is_shown_with_its_price(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = Offers.find
    met = False

    async def interrupted(offers: Offers, product_ids: Any) -> Any:
        nonlocal met
        found = await find(offers, product_ids)
        if not met:
            met = True
            await asyncio.create_task(outcome(shop.me.PutCartItem(put(POT, 2))), context=Context())
        return found

    monkeypatch.setattr(Offers, "find", interrupted)
    cart = (await shop.me.AddCartItem(add(MUG, request_id="r-1"))).cart

    assert contents(cart) == [("POT", 2), ("MUG", 1)]
    assert cart.subtotal == euros("43.50")


async def test_what_a_cart_would_cost_is_what_it_costs(shop: Shop) -> None:
    shop.offered.sell(POT, "POT", 1070, category="books")
    await shop.me.AddCartItem(add(MUG, 2))
    await shop.me.AddCartItem(add(POT))

    answer = await quoted(shop.me, "DE")

    assert answer.cart == await cart_of(shop.me)
    assert (answer.shipping, answer.total) == (euros("4.90"), euros("44.60"))
    assert [(tax.rate_percent, tax.gross, tax.tax) for tax in answer.taxes] == [
        ("19", euros("33.90"), euros("5.41")),
        ("7", euros("10.70"), euros("0.70")),
    ]
    assert shop.shipping.quoted[-1].destination.country_code == "DE"
    assert shop.shipping.quoted[-1].units == 3


async def test_where_the_table_has_no_rate_there_is_no_tax(shop: Shop) -> None:
    await shop.me.AddCartItem(add(MUG))

    answer = await quoted(shop.me, "NZ")

    assert [(tax.rate_percent, tax.gross, tax.tax) for tax in answer.taxes] == [("0", euros("19.40"), euros("0"))]


async def test_only_what_is_on_sale_is_quoted(shop: Shop) -> None:
    await shop.me.AddCartItem(add(MUG, 5))
    await shop.me.AddCartItem(add(POT, 2))
    shop.offered.withdraw(MUG)

    answer = await quoted(shop.me)

    assert answer.total == euros("33.90")
    assert shop.shipping.quoted[-1].units == 2


async def test_a_cart_with_nothing_on_sale_in_it_costs_nothing_to_speak_of(shop: Shop) -> None:
    never = await refusal(shop.me.QuoteCart(quote()))
    await shop.me.AddCartItem(add(MUG))
    shop.offered.withdraw(MUG)
    withdrawn = await refusal(shop.me.QuoteCart(quote()))

    assert (never.code, never.reason) == (withdrawn.code, withdrawn.reason) == ("FAILED_PRECONDITION", "CART_EMPTY")
    assert shop.shipping.quoted == []


async def test_where_no_carrier_goes_there_is_no_quote(shop: Shop) -> None:
    await shop.me.AddCartItem(add(MUG))
    shop.shipping.fail("QuoteShipment", Fault.REFUSED, times=1)

    error = await refusal(shop.me.QuoteCart(quote("AQ")))

    assert (error.code, error.reason) == ("FAILED_PRECONDITION", "DESTINATION_NOT_SERVED")
    assert [violation.field for violation in error.violations] == ["destination.countryCode"]


async def test_what_shipping_charges_in_another_currency_has_no_sum_with_the_rest(shop: Shop) -> None:
    await shop.me.AddCartItem(add(MUG))
    shop.shipping.rate.CopyFrom(Money(currency_code="USD", units=5))

    assert (await refusal(shop.me.QuoteCart(quote()))).reason == "CURRENCIES_DIFFER"


async def test_while_shipping_is_away_there_is_no_quote(shop: Shop) -> None:
    await shop.me.AddCartItem(add(MUG))
    shop.shipping.fail("QuoteShipment", Fault.UNAVAILABLE)

    error = await refusal(shop.me.QuoteCart(quote()))

    assert (error.code, error.reason, error.metadata) == ("UNAVAILABLE", "PEER_UNAVAILABLE", {"peer": "shipping"})


async def test_a_cart_is_forgotten_half_a_year_after_its_last_change(shop: Shop) -> None:
    others = [shop.as_user(str(uuid4())) for _ in range(3)]
    for other in others:
        await other.AddCartItem(add(MUG))
        await let_pass(shop, timedelta(hours=1))
    await shop.me.AddCartItem(add(MUG))
    await let_pass(shop, KEPT - timedelta(hours=1))

    assert await shop.replica.carts.forget(limit=10) == 3

    assert [contents(await cart_of(other)) for other in others] == [[], [], []]
    assert await kept(shop) == {MUG: 1}


async def test_whoever_changes_a_cart_keeps_it_for_another_half_year(shop: Shop) -> None:
    await shop.me.AddCartItem(add(MUG, 2))
    await let_pass(shop, KEPT + timedelta(days=1))
    await shop.me.PutCartItem(put(MUG, 3))

    assert await shop.replica.carts.forget(limit=10) == 0

    assert await kept(shop) == {MUG: 3}


async def test_carts_are_forgotten_in_batches_oldest_first_and_others_who_do_it_share_the_work(shop: Shop) -> None:
    for _ in range(12):
        await shop.as_user(str(uuid4())).AddCartItem(add(MUG))
        await let_pass(shop, timedelta(minutes=1))
    newest = await shop.scalar("select user_id from carts order by update_time desc limit 1")
    await let_pass(shop, KEPT)

    done = [await shop.replica.carts.forget(limit=3)]
    done += await asyncio.gather(*(shop.replica.carts.forget(limit=4) for _ in range(2)))

    assert done == [3, 4, 4]
    assert await shop.rows("select user_id from carts") == [(newest,)]
    assert await shop.scalar("select count(*) from cart_items") == 1


async def test_a_cart_that_is_in_use_is_not_forgotten_under_its_shoppers_hands(shop: Shop) -> None:
    await shop.me.AddCartItem(add(MUG))
    await let_pass(shop, KEPT + timedelta(days=1))

    async with shop.database.transaction(independent=True) as tx:
        await cart_store.lock_cart(tx, shop.user_id)
        # As another replica does: outside this transaction.
        assert await asyncio.create_task(shop.replica.carts.forget(limit=10), context=Context()) == 0

    assert await shop.replica.carts.forget(limit=10) == 1


async def test_carts_are_found_by_their_shopper_and_by_their_age(shop: Shop) -> None:
    database = await filled(shop.database, *MANY_CARTS)

    one = await plan(database, cart_store._PREPARED_CART, of_user="user-77")
    old = await explained(database, cart_store._delete_carts(KEPT, 50))

    assert "carts_pkey" in one
    assert "cart_items_pkey" in one
    assert "Index Scan using carts_by_update_time" in old
    assert "Seq Scan" not in one
    assert "Index Cond: (update_time" in old
