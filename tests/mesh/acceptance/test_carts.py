"""A cart from the first product to the order, by REST through the gateway."""

from __future__ import annotations

import asyncio
import os
from typing import Any

import aiohttp

from tests.mesh.acceptance.conftest import Mesh
from tests.mesh.acceptance.purchases import HOME, Answer, Person


def euros(units: int, cents: int) -> dict[str, Any]:
    return {"currencyCode": "EUR", "units": str(units), "nanos": cents * 10_000_000}


def check_out(quote: dict[str, Any]) -> dict[str, Any]:
    """Return what a shopper sends who saw *quote*."""
    return {
        "expectedLines": [
            {name: line[name] for name in ("productId", "quantity", "unitPrice")} for line in quote["cart"]["lines"]
        ],
        "expectedTotal": quote["total"],
        "paymentMethod": "pm_test_accepted",
        "destination": HOME,
    }


async def quoted(shopper: Person) -> dict[str, Any]:
    answer = await shopper.post("/v1/cart:quote", {"destination": {"countryCode": "DE"}})
    assert answer.status == 200, answer.body
    return answer.body


def differences(answer: Answer) -> dict[str, str]:
    return {
        each["field"]: each["description"]
        for detail in answer.body["details"]
        for each in detail.get("fieldViolations", ())
    }


async def test_a_cart_survives_a_log_out_and_is_bought_at_the_price_that_was_seen(mesh: Mesh) -> None:
    async with aiohttp.ClientSession() as session:
        admin = Person.administrator(session, mesh)
        mug, pot = [await admin.offer(units=10) for _ in range(2)]
        account = {"email": f"cart-{os.urandom(6).hex()}@example.com", "password": "correct horse"}
        async with session.post(
            f"http://{mesh.address}/v1/users", json=account | {"firstName": "Anna", "lastName": "Berg"}
        ) as registered:
            anna = Person(session, mesh, (await registered.json())["tokens"]["accessToken"])

        await anna.post("/v1/cart/items", {"productId": mug, "quantity": 1}, key="add-1")
        await anna.post("/v1/cart/items", {"productId": mug, "quantity": 1}, key="add-1")
        await anna.put(f"/v1/cart/items/{pot}", {"quantity": 3})
        await anna.put(f"/v1/cart/items/{pot}", {"quantity": 2})
        async with session.post(f"http://{mesh.address}/v1/users:login", json=account) as logged_in:
            anna = Person(session, mesh, (await logged_in.json())["tokens"]["accessToken"])

        cart = (await anna.get("/v1/cart")).body["cart"]
        assert [(line["productId"], line["quantity"]) for line in cart["lines"]] == [(mug, 1), (pot, 2)]
        assert cart["subtotal"] == euros(31, 50)
        quote = await quoted(anna)
        assert (quote["shipping"], quote["total"]) == (euros(6, 90), euros(38, 40))
        assert quote["taxes"] == [{"ratePercent": "19", "gross": euros(38, 40), "tax": euros(6, 13)}]

        dearer = {"price": euros(11, 0)}
        assert (await admin.patch(f"/v1/products/{pot}", dearer)).status == 200
        refused = await anna.post("/v1/cart:checkOut", check_out(quote), key="basket-1")
        assert (refused.status, refused.reason) == (400, "CART_CHANGED")
        assert differences(refused) == {
            "expectedLines[1].unitPrice": "is 11.00 EUR now",
            "expectedTotal": "is 39.40 EUR now",
        }
        assert (await anna.get("/v1/orders")).body.get("orders", []) == []

        quote = await quoted(anna)
        bought = await anna.post("/v1/cart:checkOut", check_out(quote), key="basket-1")
        order = bought.order
        assert (order["state"], order["total"], order["shipping"]) == ("STATE_CONFIRMED", euros(39, 40), euros(6, 90))
        assert order["taxes"] == [{"ratePercent": "19", "gross": euros(39, 40), "tax": euros(6, 29)}]
        assert (await anna.get("/v1/cart")).body["cart"].get("lines", []) == []
        assert (await anna.post("/v1/cart:checkOut", check_out(quote), key="basket-1")).order == order
        again = await anna.post("/v1/cart:checkOut", check_out(quote), key="basket-2")
        assert (again.status, again.reason) == (400, "CART_EMPTY")
        payment = await admin.get(f"/v1/orders/{order['orderId']}/payment")
        assert payment.body["payment"]["amount"] == order["total"]


async def test_a_cart_that_is_checked_out_ten_times_at_once_is_bought_once(mesh: Mesh) -> None:
    async with aiohttp.ClientSession() as session:
        admin, anna = Person.administrator(session, mesh), await Person.registered(session, mesh)
        mug = await admin.offer(units=100)
        await anna.put(f"/v1/cart/items/{mug}", {"quantity": 2})
        request = check_out(await quoted(anna))

        answers = await asyncio.gather(
            *(anna.post("/v1/cart:checkOut", request, key=f"basket-{number}") for number in range(10))
        )

        (order,) = (await anna.get("/v1/orders")).body["orders"]
        bought = [answer for answer in answers if answer.status == 200]
        assert [answer.order["orderId"] for answer in bought] == [order["orderId"]]
        reasons = {answer.reason for answer in answers if answer.status != 200}
        assert reasons <= {"CART_CHANGED", "CART_EMPTY"}
        assert (await anna.get("/v1/cart")).body["cart"].get("lines", []) == []


async def test_a_cart_is_kept_when_its_order_can_not_be_had(mesh: Mesh) -> None:
    async with aiohttp.ClientSession() as session:
        admin, anna = Person.administrator(session, mesh), await Person.registered(session, mesh)
        mug = await admin.offer(units=3)
        await anna.put(f"/v1/cart/items/{mug}", {"quantity": 2})
        request = check_out(await quoted(anna))

        declined = await anna.post("/v1/cart:checkOut", request | {"paymentMethod": "pm_test_declined"}, key="one")
        assert (declined.status, declined.reason) == (400, "PAYMENT_DECLINED")
        cart = (await anna.get("/v1/cart")).body["cart"]
        assert [line["quantity"] for line in cart["lines"]] == [2]

        emptied = await anna.delete(f"/v1/cart/items/{mug}")
        assert (emptied.status, emptied.body["cart"].get("lines", [])) == (200, [])
