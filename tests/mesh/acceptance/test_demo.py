"""`weft demo`, whose story must be true."""

from __future__ import annotations

import json
import stat
from decimal import Decimal
from email import message_from_bytes
from email.policy import default
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.mesh.acceptance.conftest import Mesh
from tests.mesh.acceptance.purchases import Person


def amount(money: dict[str, Any]) -> Decimal:
    assert money["currencyCode"] == "EUR"
    return int(money["units"]) + Decimal(money["nanos"]) / 10**9


@pytest.fixture(scope="module", name="story")
def _story(mesh: Mesh) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(mesh.weft("demo", "--json"))
    return told


def test_what_was_bought_adds_up(story: dict[str, Any]) -> None:
    bought = story["bought"]
    order, invoice = bought["order"], bought["invoice"]

    lines = sum(amount(line["unitPrice"]) * line["quantity"] for line in order["lines"])
    assert sum(amount(line["total"]) for line in order["lines"]) == lines
    assert lines + amount(order["shipping"]) == amount(order["total"])
    assert sum(amount(tax["gross"]) for tax in order["taxes"]) == amount(order["total"])
    assert [tax["ratePercent"] for tax in order["taxes"]] == ["19", "7"]
    assert amount(bought["payment"]["amount"]) == amount(invoice["total"]) == amount(order["total"])
    assert (bought["payment"]["state"], bought["shipment"]["state"]) == ("STATE_CAPTURED", "STATE_DELIVERED")
    assert [each["state"] for each in bought["timeline"]][-1] == order["state"] == "STATE_DELIVERED"


def test_a_price_changed_before_the_shopper_paid(story: dict[str, Any]) -> None:
    bought = story["bought"]

    dearer = amount(bought["order"]["total"]) - amount(bought["seen"])
    assert dearer == Decimal("1.50")
    assert [each["field"] for each in bought["differences"]] == ["expectedLines[1].unitPrice", "expectedTotal"]


def test_a_second_order_was_given_back(story: dict[str, Any]) -> None:
    returned = story["returned"]

    assert returned["order"]["state"] == "STATE_CANCELLED"
    assert returned["payment"]["state"] == "STATE_REFUNDED"
    assert returned["creditNote"]["kind"] == "KIND_CREDIT_NOTE"
    assert amount(returned["creditNote"]["total"]) == amount(returned["payment"]["refunded"])
    assert amount(returned["payment"]["refunded"]) == amount(returned["order"]["total"])


def test_the_invoice_is_saved_for_its_owner(story: dict[str, Any]) -> None:
    as_json, as_pdf = (Path(each) for each in story["bought"]["files"])

    assert json.loads(as_json.read_text()) == story["bought"]["invoice"]
    assert as_pdf.read_bytes().startswith(b"%PDF")
    assert stat.S_IMODE(as_pdf.parent.stat().st_mode) == 0o700
    assert stat.S_IMODE(as_pdf.stat().st_mode) == 0o600


def test_the_shopper_was_written_to_in_german_and_the_owner_about_the_shelves(story: dict[str, Any]) -> None:
    shopper, order = story["shopper"]["email"], story["bought"]["order"]["orderId"][:8]

    # The welcome may be on its way before the shopper has said what they read.
    welcome = {each["notificationId"] for each in story["notifications"] if each["template"] == "welcome"}
    mails = [mail for mail in story["mails"] if mail["to"] == shopper and mail["notificationId"] not in welcome]
    assert len(mails) == 5
    assert [mail["subject"].split()[-1] for mail in mails if order in mail["subject"]] == [
        "bestätigt",
        "unterwegs",
        "angekommen",
    ]
    assert "Wir haben 39,40 EUR erstattet" in {mail["subject"] for mail in mails}
    assert {mail["language"] for mail in mails} == {"de"}
    for mail in mails:
        text = message_from_bytes(Path(mail["file"]).read_bytes(), policy=default).get_body(("plain",))
        assert text is not None
        assert text.get_content().lstrip().startswith("Hallo Mina,")
    low = [mail["subject"] for mail in story["mails"] if mail["to"] == "admin@example.com"]
    assert sorted(low) == sorted(f"{product['sku']} is running low" for product in story["products"])
    assert len(story["mails"]) == len(story["notifications"]) == 8


def test_the_reports_know_of_the_sale(story: dict[str, Any]) -> None:
    reports = story["reports"]

    pot, book = (product["sku"] for product in story["products"])
    assert {line["key"]: line["units"] for line in reports["sales"]["lines"]} == {pot: "3", book: "1"}
    assert amount(reports["sales"]["total"]["revenue"]) >= amount(story["bought"]["order"]["total"])
    assert all(int(reports["conversion"][who]) > 0 for who in ("viewers", "carts", "buyers"))


async def test_every_id_of_the_story_can_be_looked_up(mesh: Mesh, story: dict[str, Any]) -> None:
    bought, returned = story["bought"], story["returned"]
    order_id = bought["order"]["orderId"]
    async with aiohttp.ClientSession() as session:
        owner = Person.administrator(session, mesh)
        shopper = Person(session, mesh, mesh.token(story["shopper"]["userId"]))

        for path, said in (
            (f"/v1/orders/{order_id}", {"order": bought["order"]}),
            (f"/v1/orders/{order_id}/payment", {"payment": bought["payment"]}),
            (f"/v1/orders/{order_id}/shipment", {"shipment": bought["shipment"]}),
            (f"/v1/invoices/{bought['invoice']['invoiceNumber']}", {"invoice": bought["invoice"]}),
            (f"/v1/invoices/{returned['creditNote']['invoiceNumber']}", {"invoice": returned["creditNote"]}),
            (f"/v1/orders/{returned['order']['orderId']}", {"order": returned["order"]}),
            *((f"/v1/products/{each['productId']}", {"product": each}) for each in story["products"]),
        ):
            answer = await shopper.get(path)
            assert (answer.status, answer.body) == (200, said)
        for stock in story["stock"]:
            assert (await owner.get(f"/v1/stock/{stock['sku']}")).body == {"stock": stock}
        account = await owner.get(f"/v1/users/{story['shopper']['userId']}")
        assert account.body["user"]["email"] == story["shopper"]["email"]


def test_it_plays_again_on_the_same_mesh_and_is_told_in_words(mesh: Mesh, story: dict[str, Any]) -> None:
    told = mesh.weft("demo")

    assert "reports read" in told
    assert "Bought: order " in told
    assert "95.40 EUR  with 12.12 EUR of 19 % tax and 1.28 EUR of 7 % tax" in told
    assert story["bought"]["order"]["orderId"] not in told
    assert "\r" not in told
    assert "\x1b" not in told
