"""Copies of one request, on several replicas, some of which die."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from contextvars import Context
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from shop.orders.v1 import orders_pb2 as pb
from sqlalchemy import text

from services.orders import store
from tests.mesh.saga.harness import Fault as Death
from tests.mesh.saga.harness import MortalDatabase
from tests.mesh.services.calls import outcome, refusal
from tests.mesh.services.orders_parts import Replica, Shop, order_request, replica, until
from tests.mesh.services.orders_peers import MUG, POT, Fault

ANSWERS_KEPT = timedelta(days=1)
"""Of stored answers, as the contract says."""


@asynccontextmanager
async def another(shop: Shop, **options: Any) -> AsyncIterator[Replica]:
    async with replica(shop.database, shop.targets, **options) as other:
        yield other


async def at_once(*calls: Any) -> list[Any]:
    """Make all calls from one moment on; return what became of each."""
    start = asyncio.Event()

    async def call(make: Any) -> Any:
        await start.wait()
        return await outcome(make())

    tasks = [asyncio.create_task(call(each)) for each in calls]
    start.set()
    return await asyncio.gather(*tasks)


async def test_fifty_copies_of_a_request_on_two_replicas_are_one_order_and_one_charge(shop: Shop) -> None:
    request = order_request((MUG, 2), request_id="basket-1")

    async with another(shop) as other:
        callers = [each.as_user(shop.user_id) for each in (shop.replica, other)]
        answers = await at_once(*(lambda me=callers[number % 2]: me.PlaceOrder(request) for number in range(50)))
        await shop.at_rest()

    order_id = await shop.only_id()
    assert answers == [answers[0]] * 50
    assert (answers[0].order.order_id, answers[0].order.state) == (order_id, pb.Order.STATE_CONFIRMED)
    assert shop.fulfilment.of(order_id) == ("sold", "captured", "created")
    assert await shop.sagas() == ["done"]
    assert await shop.published(order_id) == ["OrderPlaced", "OrderConfirmed"]
    shop.fulfilment.require_nothing_twice()


async def test_fifty_copies_while_payments_is_slow_hold_no_connection(shop: Shop) -> None:
    shop.payments.held.clear()
    request = order_request((MUG, 1), request_id="basket-1")

    async with another(shop) as other:
        callers = [each.as_user(shop.user_id) for each in (shop.replica, other)]
        waiting = asyncio.ensure_future(
            at_once(*(lambda me=callers[number % 2]: me.PlaceOrder(request) for number in range(50)))
        )
        await until(lambda: _count(shop, "AuthorizePayment", 1))
        listed = [(await each.ListOrders(pb.ListOrdersRequest())).orders for each in callers]
        shop.payments.held.set()
        answers = await waiting

    assert [len(orders) for orders in listed] == [1, 1]
    assert answers == [answers[0]] * 50
    shop.fulfilment.require_nothing_twice()


async def test_different_requests_at_once_are_different_orders(shop: Shop) -> None:
    async with another(shop) as other:
        callers = [each.as_user(shop.user_id) for each in (shop.replica, other)]
        answers = await at_once(
            *(
                lambda number=number: callers[number % 2].PlaceOrder(order_request((MUG, 1), request_id=f"r-{number}"))
                for number in range(30)
            )
        )
        await shop.at_rest()

    ids = {answer.order.order_id for answer in answers}
    assert ids == set(await shop.ids_of_all())
    assert len(ids) == 30
    assert {shop.fulfilment.of(order_id) for order_id in ids} == {("sold", "captured", "created")}


async def test_a_request_id_is_its_users_own(shop: Shop) -> None:
    request = order_request((MUG, 1), request_id="basket-1")
    mine = (await shop.me.PlaceOrder(request)).order

    theirs = (await shop.as_user(str(uuid4())).PlaceOrder(request)).order

    assert theirs.order_id != mine.order_id


@pytest.mark.parametrize("moment", ["while it is placed", "when it is placed", "when its answer is forgotten"])
async def test_a_request_id_is_for_one_request_only(shop: Shop, moment: str) -> None:
    first = order_request((MUG, 1), request_id="basket-1")
    other = order_request((POT, 1), request_id="basket-1")
    if moment == "while it is placed":
        shop.payments.held.clear()
    call = asyncio.ensure_future(outcome(shop.me.PlaceOrder(first)))
    if moment == "while it is placed":
        await until(lambda: _count(shop, "AuthorizePayment", 1))
    else:
        await call
    if moment == "when its answer is forgotten":
        await forget_answers(shop)

    error = await refusal(shop.me.PlaceOrder(other))
    shop.payments.held.set()
    answer = await call

    assert (error.code, error.reason) == ("INVALID_ARGUMENT", "REQUEST_ID_REUSED")
    assert await shop.ids_of_all() == [answer.order.order_id]


async def test_a_repeat_whose_answer_is_forgotten_still_finds_its_order(shop: Shop) -> None:
    request = order_request((MUG, 1), request_id="basket-1")
    first = (await shop.me.PlaceOrder(request)).order
    await forget_answers(shop)

    second = (await shop.me.PlaceOrder(request)).order

    assert second == first


async def test_what_requests_have_placed_is_forgotten_when_their_answers_are(shop: Shop) -> None:
    old, young = order_request((MUG, 1), request_id="old"), order_request((MUG, 1), request_id="young")
    order = (await shop.me.PlaceOrder(old)).order
    await shop.at_rest()
    await let_pass(shop, ANSWERS_KEPT)
    await shop.me.PlaceOrder(young)

    assert [await shop.replica.ordering.forget(limit=10) for _ in range(2)] == [1, 0]

    assert await shop.rows("select request_id from placements") == [("young",)]
    assert (await shop.me.GetOrder(pb.GetOrderRequest(order_id=order.order_id))).order.order_id == order.order_id
    assert len(await shop.ids_of_all()) == 2


async def test_what_requests_have_placed_is_forgotten_in_batches_the_oldest_first(shop: Shop) -> None:
    for number in range(5):
        await shop.me.PlaceOrder(order_request((MUG, 1), request_id=f"r-{number}"))
        await let_pass(shop, timedelta(minutes=1))
    await let_pass(shop, ANSWERS_KEPT)

    assert await shop.replica.ordering.forget(limit=3) == 3

    assert await shop.rows("select request_id from placements order by request_id") == [("r-3",), ("r-4",)]


async def test_a_request_that_placed_another_order_when_it_was_repeated_is_as_young_as_that(shop: Shop) -> None:
    request = order_request((MUG, 1), request_id="basket-1")
    shop.inventory.short = {"MUG"}
    await refusal(shop.me.PlaceOrder(request))
    shop.inventory.short = set()
    await let_pass(shop, ANSWERS_KEPT)
    order = (await shop.me.PlaceOrder(request)).order
    await forget_answers(shop)

    assert await shop.replica.ordering.forget(limit=10) == 0

    assert (await shop.me.PlaceOrder(request)).order.order_id == order.order_id


async def test_a_request_that_is_forgotten_while_it_is_repeated_is_a_new_one(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = order_request((MUG, 1), request_id="basket-1")
    first = (await shop.me.PlaceOrder(request)).order
    await forget_answers(shop)
    await let_pass(shop, ANSWERS_KEPT)
    find, lock = store.find_placement, store.lock_placement
    looked: list[str] = []

    async def not_yet(*_arguments: Any) -> None:
        looked.append("there is none yet")

    async def not_any_more(*arguments: Any) -> Any:
        looked.append("there is none any more")
        # As another replica does: outside this call and its transaction.
        await asyncio.create_task(shop.replica.ordering.forget(limit=10), context=Context())
        return await lock(*arguments)

    monkeypatch.setattr(store, "find_placement", not_yet)
    monkeypatch.setattr(store, "lock_placement", not_any_more)
    second = (await shop.me.PlaceOrder(request)).order
    monkeypatch.setattr(store, "find_placement", find)

    assert looked == ["there is none yet", "there is none any more"]
    assert second.order_id != first.order_id
    assert (await shop.me.PlaceOrder(request)).order.order_id == second.order_id


async def test_a_repeat_joins_its_order_whatever_a_new_one_would_be_told(shop: Shop) -> None:
    request = order_request((MUG, 1), request_id="basket-1")
    first = (await shop.me.PlaceOrder(request)).order
    await forget_answers(shop)
    shop.shipping.fail("QuoteShipment", Fault.REFUSED)

    second = (await shop.me.PlaceOrder(request)).order

    assert second == first
    assert len(shop.shipping.quoted) == 1


async def test_a_request_that_failed_is_tried_again_as_another_order(shop: Shop) -> None:
    request = order_request((MUG, 1), request_id="basket-1")
    shop.inventory.short = {"MUG"}
    refused = await refusal(shop.me.PlaceOrder(request))
    shop.inventory.short = set()

    order = (await shop.me.PlaceOrder(request)).order
    await shop.at_rest()

    assert refused.reason == "INSUFFICIENT_STOCK"
    assert order.order_id != refused.metadata["order_id"]
    assert (await shop.me.PlaceOrder(request)).order == order
    assert await shop.standing(refused.metadata["order_id"]) == ("cancelled", "INSUFFICIENT_STOCK")
    assert shop.fulfilment.of(order.order_id) == ("sold", "captured", "created")


async def test_a_declined_request_may_be_repeated_with_another_card(shop: Shop) -> None:
    declined = order_request((MUG, 1), request_id="basket-1", pay_with="pm_test_declined")
    accepted = order_request((MUG, 1), request_id="basket-1")
    assert (await refusal(shop.me.PlaceOrder(declined))).reason == "PAYMENT_DECLINED"

    order = (await shop.me.PlaceOrder(accepted)).order

    assert order.state == pb.Order.STATE_CONFIRMED
    assert (await refusal(shop.me.PlaceOrder(declined))).reason == "REQUEST_ID_REUSED"


async def test_copies_of_a_request_that_fails_all_hear_why(shop: Shop) -> None:
    shop.payments.fail("AuthorizePayment", Fault.REFUSED)
    request = order_request((MUG, 1), request_id="basket-1")

    async with another(shop) as other:
        callers = [each.as_user(shop.user_id) for each in (shop.replica, other)]
        answers = await at_once(*(lambda me=callers[number % 2]: me.PlaceOrder(request) for number in range(6)))

    assert answers == ["PAYMENT_DECLINED"] * 6
    # A copy that comes when it has failed repeats a request that failed, so there may be several.
    for order_id in await shop.ids_of_all():
        assert await shop.standing(order_id) == ("cancelled", "PAYMENT_DECLINED")
        assert shop.fulfilment.of(order_id) == ("released", None, None)


@pytest.mark.parametrize("number", range(1, 6))
@pytest.mark.parametrize("death", [Death.DEATH_BEFORE, Death.DEATH_AFTER])
async def test_an_order_survives_its_replica_at_every_step(shop: Shop, number: int, death: Death) -> None:
    request = order_request((MUG, 1), request_id="basket-1")

    async with doomed(shop, {number: death}) as dying:
        async with unanswered(dying.as_user(shop.user_id).PlaceOrder(request)):
            await bury(shop, dying)
        order = (await shop.me.PlaceOrder(request)).order
        await shop.at_rest()

    assert await shop.ids_of_all() == [order.order_id]
    assert order.state == pb.Order.STATE_CONFIRMED
    assert shop.fulfilment.of(order.order_id) == ("sold", "captured", "created")
    assert await shop.history(order.order_id) == ["placed", "confirmed"]
    assert await shop.published(order.order_id) == ["OrderPlaced", "OrderConfirmed"]
    shop.fulfilment.require_nothing_twice()


@pytest.mark.parametrize("number", range(1, 4))
@pytest.mark.parametrize("death", [Death.DEATH_BEFORE, Death.DEATH_AFTER])
async def test_an_order_that_can_not_be_had_survives_its_replica_too(shop: Shop, number: int, death: Death) -> None:
    shop.payments.fail("AuthorizePayment", Fault.REFUSED)

    async with doomed(shop, {number: death}) as dying:
        async with unanswered(dying.as_user(shop.user_id).PlaceOrder(order_request((MUG, 1)))):
            await bury(shop, dying)
        await shop.at_rest()

    order_id = await shop.only_id()
    assert await shop.standing(order_id) == ("cancelled", "PAYMENT_DECLINED")
    units, money, parcel = shop.fulfilment.of(order_id)
    assert (units, parcel) == ("released", None)
    assert money in (None, "voided")
    shop.fulfilment.require_nothing_twice()


@pytest.mark.parametrize("number", range(1, 5))
@pytest.mark.parametrize("death", [Death.DEATH_BEFORE, Death.DEATH_AFTER])
async def test_an_order_that_is_called_off_survives_its_replica(shop: Shop, number: int, death: Death) -> None:
    order_id = await shop.bought()

    async with doomed(shop, {number: death}) as dying:
        async with unanswered(dying.as_user(shop.user_id).CancelOrder(pb.CancelOrderRequest(order_id=order_id))):
            await bury(shop, dying)
        await shop.at_rest()

    assert await shop.standing(order_id) == ("cancelled", "CANCELLED_BY_USER")
    assert shop.fulfilment.of(order_id) == ("returned", "refunded", "cancelled")
    assert await shop.published(order_id) == ["OrderPlaced", "OrderConfirmed", "OrderCancelled"]
    shop.fulfilment.require_nothing_twice()


@dataclass(frozen=True, kw_only=True)
class Doomed:
    """A replica whose sagas die."""

    replica: Replica
    mortal: MortalDatabase

    def as_user(self, user_id: str) -> Any:
        return self.replica.as_user(user_id)


@asynccontextmanager
async def doomed(shop: Shop, deaths: Mapping[int, Death]) -> AsyncIterator[Doomed]:
    """Run a replica that dies at one of its sagas' transactions, which are counted from 1."""
    loop = asyncio.get_running_loop()
    before = loop.get_exception_handler()
    loop.set_exception_handler(lambda _loop, _context: None)  # nobody asks what a dead process raised
    mortal = MortalDatabase(shop.database, deaths)
    try:
        async with another(shop, works=False, sagas_database=mortal.as_database()) as dying:
            yield Doomed(replica=dying, mortal=mortal)
    finally:
        loop.set_exception_handler(before)


async def bury(shop: Shop, dying: Doomed) -> None:
    """Wait for its death, and let the leases run out that it held: what only time does otherwise."""
    async with asyncio.timeout(10):
        await dying.mortal.died.wait()
    async with shop.database.transaction() as tx:
        held = text("update sagas set due_time = now() where lease_holder = :holder")
        await tx.execute(held.bindparams(holder=dying.replica.sagas.runner.holder))


@asynccontextmanager
async def unanswered(call: Any) -> AsyncIterator[None]:
    """Make a call that nobody lives to answer."""
    task = asyncio.ensure_future(outcome(call))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


async def let_pass(shop: Shop, time: timedelta) -> None:
    """Let time pass for all that requests have placed."""
    async with shop.database.transaction(independent=True) as tx:
        passed = text("update placements set create_time = create_time - cast(:time as interval)")
        await tx.execute(passed.bindparams(time=time))


async def forget_answers(shop: Shop) -> None:
    async with shop.database.transaction() as tx:
        await tx.execute(text("truncate request_answers, sagas cascade"))


async def _count(shop: Shop, method: str, number: int) -> bool:
    return shop.payments.count(method) >= number
