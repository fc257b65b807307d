"""Every failure of every step of having an order, and where it leaves stock, money and parcel."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from google.type.money_pb2 import Money
from shop.orders.v1 import orders_pb2 as pb

from tests.mesh.services.calls import refusal
from tests.mesh.services.orders_parts import HOME, Shop, order_request, until
from tests.mesh.services.orders_peers import MUG, POT, Fault
from weft.saga import timeline

ONE_MUG = order_request((MUG, 1))


async def test_an_order_is_reserved_held_confirmed_sold_taken_and_sent(shop: Shop) -> None:
    order = (await shop.me.PlaceOrder(order_request((MUG, 2), (POT, 1)))).order
    await shop.at_rest()

    assert order.state == pb.Order.STATE_CONFIRMED
    assert shop.fulfilment.of(order.order_id) == ("sold", "captured", "created")
    assert shop.payments.amounts[order.order_id] == order.total
    parcel = shop.shipping.parcels[order.order_id]
    assert (parcel.user_id, parcel.destination, parcel.units) == (shop.user_id, HOME, 3)
    assert await shop.history(order.order_id) == ["placed", "confirmed"]
    assert await shop.published(order.order_id) == ["OrderPlaced", "OrderConfirmed"]
    assert await shop.sagas() == ["done"]
    shop.fulfilment.require_nothing_twice()


@pytest.mark.parametrize(
    ("method", "fault", "answer", "reason", "left"),
    [
        ("ReserveStock", Fault.REFUSED, "FAILED_PRECONDITION", "INSUFFICIENT_STOCK", (None, None)),
        ("ReserveStock", Fault.UNAVAILABLE, "UNAVAILABLE", "PEER_UNAVAILABLE", ("released", None)),
        ("ReserveStock", Fault.LOST, "UNAVAILABLE", "PEER_UNAVAILABLE", ("released", None)),
        ("AuthorizePayment", Fault.REFUSED, "FAILED_PRECONDITION", "PAYMENT_DECLINED", ("released", None)),
        ("AuthorizePayment", Fault.UNAVAILABLE, "UNAVAILABLE", "PEER_UNAVAILABLE", ("released", "voided")),
        ("AuthorizePayment", Fault.LOST, "UNAVAILABLE", "PEER_UNAVAILABLE", ("released", "voided")),
    ],
)
async def test_a_failure_before_an_order_is_certain_undoes_all_of_it(
    shop: Shop, method: str, fault: Fault, answer: str, reason: str, left: tuple[str | None, str | None]
) -> None:
    peer = shop.inventory if method == "ReserveStock" else shop.payments
    peer.fail(method, fault)

    error = await refusal(shop.me.PlaceOrder(ONE_MUG))

    order_id = await shop.only_id()
    assert (error.code, error.reason, error.metadata["order_id"]) == (answer, reason, order_id)
    assert await shop.standing(order_id) == ("cancelled", reason)
    assert shop.fulfilment.of(order_id) == (*left, None)
    assert await shop.published(order_id) == ["OrderPlaced", "OrderCancelled"]
    assert await shop.scalar("select count(*) from payment_methods") == 0
    shop.fulfilment.require_nothing_twice()


@pytest.mark.parametrize("method", ["ReserveStock", "AuthorizePayment"])
async def test_what_arrives_after_it_was_given_up_finds_the_door_closed(hasty_shop: Shop, method: str) -> None:
    shop = hasty_shop
    peer = shop.inventory if method == "ReserveStock" else shop.payments
    peer.fail(method, Fault.LATE)

    error = await refusal(shop.me.PlaceOrder(ONE_MUG))
    peer.arrive()

    order_id = await shop.only_id()
    assert (error.code, error.reason) == ("UNAVAILABLE", "PEER_UNAVAILABLE")
    assert await shop.standing(order_id) == ("cancelled", "PEER_UNAVAILABLE")
    assert shop.fulfilment.of(order_id) == ("released", None if method == "ReserveStock" else "voided", None)


@pytest.mark.parametrize("method", ["ReserveStock", "AuthorizePayment"])
@pytest.mark.parametrize("fault", [Fault.UNAVAILABLE, Fault.LOST])
async def test_trouble_that_passes_is_not_noticed(shop: Shop, method: str, fault: Fault) -> None:
    peer = shop.inventory if method == "ReserveStock" else shop.payments
    peer.fail(method, fault, times=2)

    order = (await shop.me.PlaceOrder(ONE_MUG)).order
    await shop.at_rest()

    assert order.state == pb.Order.STATE_CONFIRMED
    assert shop.fulfilment.of(order.order_id) == ("sold", "captured", "created")
    assert peer.count(method) == 3
    shop.fulfilment.require_nothing_twice()


async def test_each_line_that_can_not_be_had_is_named(shop: Shop) -> None:
    shop.inventory.short = {"POT"}

    error = await refusal(shop.me.PlaceOrder(order_request((MUG, 1), (POT, 3))))

    order_id = await shop.only_id()
    assert (error.code, error.reason) == ("FAILED_PRECONDITION", "INSUFFICIENT_STOCK")
    assert [violation.field for violation in error.violations] == ["lines[1].quantity"]
    assert error.metadata == {"lines": "1", "product_ids": POT, "order_id": order_id}


async def test_a_declined_payment_says_why(shop: Shop) -> None:
    error = await refusal(shop.me.PlaceOrder(order_request((MUG, 1), pay_with="pm_test_declined")))

    order_id = await shop.only_id()
    assert (error.code, error.reason) == ("FAILED_PRECONDITION", "PAYMENT_DECLINED")
    assert error.metadata == {"decline_code": "insufficient_funds", "order_id": order_id}


async def test_goods_that_will_not_be_held_for_long_enough_are_not_promised(shop: Shop) -> None:
    shop.inventory.hold = timedelta(seconds=1)

    error = await refusal(shop.me.PlaceOrder(ONE_MUG))

    order_id = await shop.only_id()
    assert (error.code, error.reason) == ("FAILED_PRECONDITION", "RESERVATION_EXPIRED")
    assert shop.fulfilment.of(order_id) == ("released", "voided", None)


STEPS_AFTER = [
    ("CommitStock", ("reserved", "authorized", None)),
    ("CapturePayment", ("sold", "authorized", None)),
    ("ScheduleShipment", ("sold", "captured", None)),
]


def peer_of(shop: Shop, method: str) -> Any:
    return {
        "ReserveStock": shop.inventory, "ReleaseStock": shop.inventory, "CommitStock": shop.inventory,
        "ScheduleShipment": shop.shipping, "CancelShipment": shop.shipping,
    }.get(method, shop.payments)  # fmt: skip


@pytest.mark.parametrize(("method", "left"), STEPS_AFTER)
async def test_what_fails_for_good_after_an_order_is_certain_waits_for_a_person(
    shop: Shop, method: str, left: tuple[str, str, None]
) -> None:
    peer_of(shop, method).fail(method, Fault.UNAVAILABLE)

    order = (await shop.me.PlaceOrder(ONE_MUG)).order
    await shop.at_rest()

    assert await shop.sagas() == ["stuck"]
    assert await shop.standing(order.order_id) == ("confirmed", "")
    assert shop.fulfilment.of(order.order_id) == left

    shop.fulfilment.heal()
    assert await timeline.resume(shop.database, UUID(order.order_id), who="a person")
    await until(lambda: _is(shop, ["done"]))

    assert shop.fulfilment.of(order.order_id) == ("sold", "captured", "created")
    shop.fulfilment.require_nothing_twice()


@pytest.mark.parametrize(("method", "left"), STEPS_AFTER[:2])
async def test_a_refusal_after_an_order_is_certain_waits_for_a_person(
    shop: Shop, method: str, left: tuple[str, str, None]
) -> None:
    peer_of(shop, method).fail(method, Fault.REFUSED)

    order = (await shop.me.PlaceOrder(ONE_MUG)).order
    await shop.at_rest()

    assert (order.state, await shop.sagas()) == (pb.Order.STATE_CONFIRMED, ["stuck"])
    assert shop.fulfilment.of(order.order_id) == left


@pytest.mark.parametrize(("method", "_left"), STEPS_AFTER)
@pytest.mark.parametrize("fault", [Fault.UNAVAILABLE, Fault.LOST])
async def test_trouble_that_passes_after_an_order_is_certain_is_waited_for(
    shop: Shop, method: str, _left: object, fault: Fault
) -> None:
    peer_of(shop, method).fail(method, fault, times=2)

    order = (await shop.me.PlaceOrder(ONE_MUG)).order
    await shop.at_rest()

    assert await shop.sagas() == ["done"]
    assert shop.fulfilment.of(order.order_id) == ("sold", "captured", "created")
    shop.fulfilment.require_nothing_twice()


@pytest.mark.parametrize(("method", "_left"), STEPS_AFTER)
async def test_a_step_that_is_too_slow_after_an_order_is_certain_is_done_once(
    hasty_shop: Shop, method: str, _left: object
) -> None:
    shop = hasty_shop
    peer = peer_of(shop, method)
    peer.fail(method, Fault.LATE, times=1)

    order = (await shop.me.PlaceOrder(ONE_MUG)).order
    await shop.at_rest()
    peer.arrive()

    assert await shop.sagas() == ["done"]
    assert shop.fulfilment.of(order.order_id) == ("sold", "captured", "created")
    shop.fulfilment.require_nothing_twice()


async def test_an_order_that_no_carrier_would_take_is_refused_and_nothing_is_written(shop: Shop) -> None:
    shop.shipping.fail("QuoteShipment", Fault.REFUSED)

    error = await refusal(shop.me.PlaceOrder(order_request((MUG, 2), (POT, 3), request_id="basket-1")))

    assert (error.code, error.reason) == ("FAILED_PRECONDITION", "DESTINATION_NOT_SERVED")
    assert [each.field for each in error.violations] == ["destination.countryCode"]
    (quoted,) = shop.shipping.quoted
    assert (quoted.destination.country_code, quoted.units) == (HOME.country_code, 5)
    assert await _is_untouched(shop)


@pytest.mark.parametrize("fault", [Fault.UNAVAILABLE, Fault.LOST])
async def test_an_order_is_not_placed_while_shipping_cannot_say_whether_it_goes_there(shop: Shop, fault: Fault) -> None:
    request = order_request((MUG, 1), request_id="basket-1")
    shop.shipping.fail("QuoteShipment", fault)

    error = await refusal(shop.me.PlaceOrder(request))

    assert (error.code, error.reason, error.metadata) == ("UNAVAILABLE", "PEER_UNAVAILABLE", {"peer": "shipping"})
    assert await _is_untouched(shop)
    shop.shipping.heal()
    assert (await shop.me.PlaceOrder(request)).order.state == pb.Order.STATE_CONFIRMED


async def test_a_request_that_was_refused_for_its_destination_may_be_repeated_with_another(shop: Shop) -> None:
    shop.shipping.fail("QuoteShipment", Fault.REFUSED, times=1)
    elsewhere = order_request((MUG, 1), request_id="basket-1")
    elsewhere.destination.country_code = "AQ"
    assert (await refusal(shop.me.PlaceOrder(elsewhere))).reason == "DESTINATION_NOT_SERVED"

    order = (await shop.me.PlaceOrder(order_request((MUG, 1), request_id="basket-1"))).order

    assert order.state == pb.Order.STATE_CONFIRMED


async def test_an_order_that_no_carrier_takes_any_more_is_called_off_by_itself(shop: Shop) -> None:
    shop.shipping.fail("ScheduleShipment", Fault.REFUSED)

    order = (await shop.me.PlaceOrder(ONE_MUG)).order
    await until(lambda: _stands(shop, order.order_id, "cancelled"))
    await shop.at_rest()

    assert order.state == pb.Order.STATE_CONFIRMED
    assert await shop.standing(order.order_id) == ("cancelled", "DESTINATION_NOT_SERVED")
    assert shop.fulfilment.of(order.order_id) == ("returned", "refunded", "cancelled")
    assert (await shop.sagas(), await shop.sagas("cancel_order")) == (["done"], ["done"])
    assert await shop.published(order.order_id) == ["OrderPlaced", "OrderConfirmed", "OrderCancelled"]


@pytest.mark.parametrize("method", ["ReleaseStock", "VoidPayment"])
@pytest.mark.parametrize("fault", [Fault.UNAVAILABLE, Fault.LOST])
async def test_trouble_while_undoing_passes(shop: Shop, method: str, fault: Fault) -> None:
    shop.payments.fail("AuthorizePayment", Fault.LOST)
    peer_of(shop, method).fail(method, fault, times=2)

    error = await refusal(shop.me.PlaceOrder(ONE_MUG))

    order_id = await shop.only_id()
    assert error.reason == "PEER_UNAVAILABLE"
    assert shop.fulfilment.of(order_id) == ("released", "voided", None)
    shop.fulfilment.require_nothing_twice()


@pytest.mark.parametrize(
    ("method", "fault", "left"),
    [
        ("ReleaseStock", Fault.UNAVAILABLE, ("reserved", "voided", None)),
        ("ReleaseStock", Fault.REFUSED, ("reserved", "voided", None)),
        ("VoidPayment", Fault.UNAVAILABLE, ("reserved", "authorized", None)),
        ("VoidPayment", Fault.REFUSED, ("reserved", "authorized", None)),
    ],
)
async def test_what_can_not_be_undone_waits_for_a_person_and_is_undone_then(
    shop: Shop, method: str, fault: Fault, left: tuple[str, str, None]
) -> None:
    shop.payments.fail("AuthorizePayment", Fault.LOST)
    peer_of(shop, method).fail(method, fault)

    order = (await shop.me.PlaceOrder(ONE_MUG)).order

    assert (order.state, await shop.sagas()) == (pb.Order.STATE_PENDING, ["stuck"])
    assert shop.fulfilment.of(order.order_id) == left

    shop.fulfilment.heal()
    assert await timeline.resume(shop.database, UUID(order.order_id), who="a person")
    await until(lambda: _is(shop, ["compensated"]))

    assert await shop.standing(order.order_id) == ("cancelled", "PEER_UNAVAILABLE")
    assert shop.fulfilment.of(order.order_id) == ("released", "voided", None)


async def test_when_time_runs_out_the_answer_is_pending_and_the_order_goes_on(shop: Shop) -> None:
    shop.payments.held.clear()
    request = order_request((MUG, 1), request_id="basket-1")

    pending = (await shop.me.PlaceOrder(request, timeout=1)).order
    shop.payments.held.set()
    confirmed = (await shop.me.PlaceOrder(request)).order

    assert pending.state == pb.Order.STATE_PENDING
    assert (confirmed.order_id, confirmed.state) == (pending.order_id, pb.Order.STATE_CONFIRMED)
    assert (await shop.me.PlaceOrder(request)).order == confirmed
    assert await shop.ids_of_all() == [pending.order_id]


async def test_a_caller_who_leaves_does_not_stop_their_order(shop: Shop) -> None:
    shop.payments.held.clear()
    call = asyncio.ensure_future(shop.me.PlaceOrder(ONE_MUG))
    await until(lambda: _counted(shop.payments, "AuthorizePayment"))

    call.cancel()
    shop.payments.held.set()
    await shop.at_rest()

    order_id = await shop.only_id()
    assert await shop.standing(order_id) == ("confirmed", "")
    assert shop.fulfilment.of(order_id) == ("sold", "captured", "created")


async def test_what_costs_nothing_is_had_without_a_payment(shop: Shop) -> None:
    shop.offered.sell(MUG, "MUG", 0)
    shop.shipping.rate.CopyFrom(Money(currency_code="EUR"))

    order = (await shop.me.PlaceOrder(ONE_MUG)).order
    await shop.at_rest()
    await shop.me.CancelOrder(pb.CancelOrderRequest(order_id=order.order_id))
    await shop.at_rest()

    assert shop.fulfilment.of(order.order_id) == ("returned", None, "cancelled")
    assert shop.payments.calls == []


async def test_personal_data_is_in_no_saga_event_or_log(shop: Shop, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    shop.payments.fail("CapturePayment", Fault.UNAVAILABLE, times=1)
    secrets = (HOME.recipient, HOME.street_lines[0], HOME.city, "pm_test_accepted", "pm_test_declined")

    await shop.me.PlaceOrder(ONE_MUG)
    await refusal(shop.me.PlaceOrder(order_request((MUG, 1), pay_with="pm_test_declined")))
    await shop.at_rest()

    tables = ("sagas", "saga_log", "outbox", "payment_methods", "placements", "request_answers")
    for table in tables:
        text = str(await shop.rows(f"select * from {table}"))
        assert [secret for secret in secrets if secret in text] == [], table
    assert [secret for secret in secrets if secret in caplog.text] == []


async def _is(shop: Shop, statuses: list[str]) -> bool:
    return await shop.sagas() == statuses


async def _is_untouched(shop: Shop) -> bool:
    """Tell whether nothing is written, and nobody was asked to do anything."""
    tables = ("orders", "order_events", "placements", "payment_methods", "sagas", "request_answers", "outbox")
    written = [table for table in tables if await shop.scalar(f"select count(*) from {table}")]
    return not (written or shop.inventory.calls or shop.payments.calls or shop.shipping.calls)


async def _stands(shop: Shop, order_id: str, state: str) -> bool:
    return (await shop.standing(order_id))[0] == state


async def _counted(peer: Any, method: str) -> bool:
    return bool(peer.count(method))
