"""An order is never half done, as shoppers see it through the front door."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Awaitable, Callable
from uuid import uuid4

import aiohttp

from tests.mesh.acceptance.conftest import Mesh
from tests.mesh.acceptance.purchases import HOME, Answer, Person


async def later(condition: Callable[[], Awaitable[bool]], what: str) -> None:
    try:
        async with asyncio.timeout(30):
            while not await condition():
                await asyncio.sleep(0.1)
    except TimeoutError:
        raise AssertionError(f"waited in vain until {what}") from None


async def settled(person: Person, order_id: str, state: str) -> Answer:
    """Return the payment of an order once it is in *state*."""

    async def is_there() -> bool:
        payment = await person.get(f"/v1/orders/{order_id}/payment")
        return payment.status == 200 and payment.body["payment"]["state"] == state

    await later(is_there, f"the payment of {order_id} is {state}")
    return await person.get(f"/v1/orders/{order_id}/payment")


async def test_a_hundred_buyers_for_the_last_ten_units(mesh: Mesh) -> None:
    async with aiohttp.ClientSession() as session:
        admin = Person.administrator(session, mesh)
        buyers = [await Person.registered(session, mesh) for _ in range(100)]  # hashing passwords takes its time
        product_id = await admin.offer(units=10)
        product = (await admin.get(f"/v1/products/{product_id}")).body["product"]

        answers = await asyncio.gather(*(buyer.place(product_id) for buyer in buyers))

        confirmed = [answer for answer in answers if answer.status == 200]
        refused = [answer for answer in answers if answer.status != 200]
        assert [answer.order["state"] for answer in confirmed] == ["STATE_CONFIRMED"] * 10
        assert Counter((answer.status, answer.reason) for answer in refused) == {(400, "INSUFFICIENT_STOCK"): 90}
        for answer in confirmed:
            payment = await settled(admin, answer.order["orderId"], "STATE_CAPTURED")
            assert payment.body["payment"]["amount"] == answer.order["total"]

        async def all_sold() -> bool:
            stock = (await admin.get(f"/v1/stock/{product['sku']}")).body["stock"]
            return (stock["onHand"], stock["reserved"], stock["sold"]) == ("0", "0", "10")

        await later(all_sold, "ten units are sold and none is held")
        changes = (await admin.get(f"/v1/stock/{product['sku']}/changes?pageSize=200")).body["changes"]
        assert sum(int(change["soldDelta"]) for change in changes) == 10
        assert sum(int(change["onHandDelta"]) for change in changes) == 0
        assert sum(int(change["reservedDelta"]) for change in changes) == 0


async def test_one_key_sent_fifty_times_at_once_is_one_order_and_one_charge(mesh: Mesh) -> None:
    key = str(uuid4())
    async with aiohttp.ClientSession() as session:
        admin, anna = Person.administrator(session, mesh), await Person.registered(session, mesh)
        product_id = await admin.offer(units=100)

        answers = await asyncio.gather(*(anna.place(product_id, key=key) for _ in range(50)))

        assert len({json.dumps(answer.order, sort_keys=True) for answer in answers}) == 1
        mine = (await anna.get("/v1/orders")).body["orders"]
        assert [order["orderId"] for order in mine] == [answers[0].order["orderId"]]
        payment = (await settled(anna, mine[0]["orderId"], "STATE_CAPTURED")).body["payment"]
        assert payment["amount"] == mine[0]["total"]

        other = await anna.place(product_id, quantity=2, key=key)
        assert (other.status, other.reason) == (400, "REQUEST_ID_REUSED")


async def test_a_refused_order_may_be_tried_again_with_its_key(mesh: Mesh) -> None:
    key = str(uuid4())
    async with aiohttp.ClientSession() as session:
        admin, anna = Person.administrator(session, mesh), await Person.registered(session, mesh)
        product_id = await admin.offer(units=1)
        product = (await admin.get(f"/v1/products/{product_id}")).body["product"]

        refused = await anna.place(product_id, quantity=2, key=key)
        assert (refused.status, refused.reason) == (400, "INSUFFICIENT_STOCK")

        await admin.post(f"/v1/stock/{product['sku']}:adjust", {"delta": 1, "reason": "found another one"})
        again = await anna.place(product_id, quantity=2, key=key)

        assert again.order["state"] == "STATE_CONFIRMED"
        assert (await anna.place(product_id, quantity=2, key=key)).order == again.order


async def test_a_declined_card_leaves_nothing_reserved(mesh: Mesh) -> None:
    async with aiohttp.ClientSession() as session:
        admin, anna = Person.administrator(session, mesh), await Person.registered(session, mesh)
        product_id = await admin.offer(units=5)
        sku = (await admin.get(f"/v1/products/{product_id}")).body["product"]["sku"]

        declined = await anna.place(product_id, quantity=3, pay_with="pm_test_declined")

        assert (declined.status, declined.reason) == (400, "PAYMENT_DECLINED")
        (order,) = (await anna.get("/v1/orders")).body["orders"]
        assert (order["state"], order["cancelReason"]) == ("STATE_CANCELLED", "PAYMENT_DECLINED")
        stock = (await admin.get(f"/v1/stock/{sku}")).body["stock"]
        assert (stock["onHand"], stock["reserved"]) == ("5", "0")


async def test_an_order_to_where_no_carrier_goes_is_refused_before_anything_is_done(mesh: Mesh) -> None:
    async with aiohttp.ClientSession() as session:
        admin, anna = Person.administrator(session, mesh), await Person.registered(session, mesh)
        product_id = await admin.offer(units=5)
        sku = (await admin.get(f"/v1/products/{product_id}")).body["product"]["sku"]
        order = {"lines": [{"productId": product_id, "quantity": 2}], "paymentMethod": "pm_test_accepted"}

        refused = await anna.post("/v1/orders", order | {"destination": HOME | {"countryCode": "AQ"}}, key="basket-1")

        assert (refused.status, refused.reason) == (400, "DESTINATION_NOT_SERVED")
        fields = [each["field"] for detail in refused.body["details"] for each in detail.get("fieldViolations", ())]
        assert fields == ["destination.countryCode"]
        assert (await anna.get("/v1/orders")).body.get("orders", []) == []
        changes = (await admin.get(f"/v1/stock/{sku}/changes")).body["changes"]
        assert [change["kind"] for change in changes] == ["KIND_ADJUSTED"]

        placed = await anna.post("/v1/orders", order | {"destination": HOME}, key="basket-1")
        assert placed.order["state"] == "STATE_CONFIRMED"


async def test_money_that_was_taken_without_an_answer_is_neither_lost_nor_taken_twice(mesh: Mesh) -> None:
    async with aiohttp.ClientSession() as session:
        admin, anna = Person.administrator(session, mesh), await Person.registered(session, mesh)
        product_id = await admin.offer(units=5)

        placed = await anna.place(product_id, pay_with="pm_test_answer_lost")

        assert placed.order["state"] in ("STATE_CONFIRMED", "STATE_PENDING")
        payment = await settled(anna, placed.order["orderId"], "STATE_CAPTURED")
        assert payment.body["payment"]["amount"] == placed.order["total"]


async def test_a_cancelled_order_gives_money_and_goods_back(mesh: Mesh) -> None:
    async with aiohttp.ClientSession() as session:
        admin, anna = Person.administrator(session, mesh), await Person.registered(session, mesh)
        product_id = await admin.offer(units=5)
        sku = (await admin.get(f"/v1/products/{product_id}")).body["product"]["sku"]
        order = (await anna.place(product_id, quantity=2)).order

        await anna.post(f"/v1/orders/{order['orderId']}:cancel", {})

        payment = await settled(anna, order["orderId"], "STATE_REFUNDED")
        assert payment.body["payment"]["refunded"] == order["total"]

        async def all_back() -> bool:
            stock = (await admin.get(f"/v1/stock/{sku}")).body["stock"]
            return (stock["onHand"], stock["reserved"], stock["sold"]) == ("5", "0", "0")

        await later(all_back, "the goods are back on the shelf")
        cancelled = (await anna.get(f"/v1/orders/{order['orderId']}")).order
        assert (cancelled["state"], cancelled["cancelReason"]) == ("STATE_CANCELLED", "CANCELLED_BY_USER")
