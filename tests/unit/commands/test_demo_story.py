"""How the story of `weft demo` is told."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from services.commands.demo.story import Bought, Reports, Returned, Story, as_json, money, tell


def euros(units: int, cents: int = 0) -> dict[str, Any]:
    return {"currencyCode": "EUR", "units": str(units), "nanos": cents * 10_000_000}


@pytest.fixture(name="story")
def _story() -> Story:
    bought = Bought(
        seen=euros(73, 90),
        differences=[{"field": "expectedTotal", "description": "is 75.90 EUR now"}],
        order={
            "orderId": "order-1",
            "lines": [{"quantity": 2, "sku": "POT", "total": euros(69), "name": "Moka pot"}],
            "shipping": euros(6, 90),
            "destination": {"city": "Berlin"},
            "total": euros(75, 90),
            "taxes": [{"ratePercent": "19", "gross": euros(75, 90), "tax": euros(12, 12)}],
            "createTime": "2026-11-21T10:00:00.250000Z",
        },
        timeline=[
            {"state": "STATE_CONFIRMED", "time": "2026-11-21T10:00:00.330Z"},
            {"state": "STATE_DELIVERED", "time": "2026-11-21T10:00:04.5Z"},
        ],
        payment={"paymentId": "payment-1", "amount": euros(75, 90)},
        shipment={"shipmentId": "shipment-1", "trackingNumber": "SIM1"},
        invoice={"invoiceNumber": "2026-000001"},
        files=["/demo/invoice.json", "/demo/invoice.pdf"],
    )
    returned = Returned(
        order={"orderId": "order-2", "state": "STATE_CANCELLED"},
        payment={"paymentId": "payment-2", "refunded": euros(39, 40)},
        credit_note={"invoiceNumber": "2026-000003", "total": euros(39, 40), "corrects": "2026-000002"},
    )
    reports = Reports(
        from_date="2026-11-21",
        to_date="2026-11-21",
        sales={
            "lines": [{"key": "POT", "units": "3", "revenue": euros(103, 50)}],
            "total": {"orders": "7", "revenue": euros(500), "refunded": euros(39, 40)},
        },
        best_sellers=[{"key": "CUP", "units": "9", "name": "Cup"}, {"key": "POT", "units": "3", "name": "Moka pot"}],
        conversion={"viewers": "4", "carts": "3", "buyers": "2"},
    )
    return Story(
        shopper={"userId": "user-1", "email": "mina@example.com", "preferences": {"language": "de"}},
        products=[{"productId": "product-1", "sku": "POT", "availability": "AVAILABILITY_LOW"}],
        search={"query": "moka", "totalSize": 1, "recorded": 4},
        stock=[{"sku": "POT", "sold": "2", "onHand": "5"}],
        bought=bought,
        returned=returned,
        notifications=[{"language": "de"}, {"language": "de"}, {"language": "en"}],
        mails=[
            {"to": "mina@example.com", "subject": "Willkommen"},
            {"to": "mina@example.com", "subject": "Ihre Bestellung"},
            {"to": "admin@example.com", "subject": "POT is running low"},
        ],
        mail_folder="/mesh/mail",
        reports=reports,
    )


def test_a_story_is_told_in_chapters(story: Story) -> None:
    assert tell(story) == [
        (
            "Bought: order order-1",
            [
                ("2 x POT", "69.00 EUR  Moka pot"),
                ("shipping", " 6.90 EUR  to Berlin"),
                ("total", "75.90 EUR  with 12.12 EUR of 19 % tax"),
                ("changed meanwhile", "73.90 EUR was the first quote"),
                ("", "expectedTotal is 75.90 EUR now"),
                ("invoice 2026-000001", "/demo/invoice.json"),
                ("", "/demo/invoice.pdf"),
            ],
        ),
        (
            "What each service did",
            [
                ("users", "user-1  mina@example.com, reads de"),
                ("catalog", "product-1  POT, few are left"),
                ("orders", "confirmed after 0.08 s, delivered after 4.25 s"),
                ("inventory", "POT: 2 sold, 5 on hand"),
                ("payments", "payment-1  took 75.90 EUR"),
                ("", "payment-2  gave 39.40 EUR back"),
                ("shipping", "shipment-1  parcel SIM1"),
                ("notifications", "3 sent, 2 in de, 1 in en"),
                ("analytics", "4 things recorded that the shopper did"),
            ],
        ),
        (
            "Given back: order order-2",
            [
                ("why", "called off by the shopper"),
                ("credit note 2026-000003", "39.40 EUR, corrects 2026-000002"),
            ],
        ),
        (
            "Mails in /mesh/mail",
            [
                ("mina@example.com", "Willkommen"),
                ("", "Ihre Bestellung"),
                ("admin@example.com", "POT is running low"),
            ],
        ),
        (
            "The owner's reports of 2026-11-21",
            [
                ("sales", "7 orders, 500.00 EUR; 39.40 EUR given back"),
                ("of these", "3 x POT, 103.50 EUR"),
                ("best sellers", "9 x CUP  Cup"),
                ("", "3 x POT  Moka pot"),
                ("conversion", "4 looked, 3 filled a cart, 2 bought"),
            ],
        ),
    ]


def test_a_parcel_that_had_left_is_told_as_such(story: Story) -> None:
    late = replace(story.returned, order={"orderId": "order-2", "state": "STATE_SHIPPED"})

    chapters = dict(tell(replace(story, returned=late)))

    why = "the parcel had left when the shopper called it off, so the owner refunded it"
    assert chapters["Given back: order order-2"][0] == ("why", why)


def test_mails_that_go_elsewhere_are_not_missed(story: Story) -> None:
    chapters = dict(tell(replace(story, mails=[])))

    assert chapters["Mails"] == [("elsewhere", "none of them is in /mesh/mail")]


def test_a_story_that_lasts_past_midnight_has_both_days(story: Story) -> None:
    reports = replace(story.reports, to_date="2026-11-22")

    assert tell(replace(story, reports=reports))[-1][0] == "The owner's reports of 2026-11-21 to 2026-11-22"


def test_as_json_it_is_named_as_in_rest_and_says_what_rest_said(story: Story) -> None:
    told = as_json(story)

    assert told["returned"]["creditNote"] == story.returned.credit_note
    assert told["reports"]["bestSellers"] == story.reports.best_sellers
    assert (told["mailFolder"], told["bought"]["order"]) == ("/mesh/mail", story.bought.order)


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (euros(0, 5), "0.05 EUR"),
        (euros(1234), "1234.00 EUR"),
        ({"currencyCode": "JPY", "units": "900", "nanos": 0}, "900 JPY"),
        ({"currencyCode": "EUR", "units": "-1", "nanos": -500_000_000}, "-1.50 EUR"),
    ],
)
def test_money_has_the_decimals_of_its_currency(said: dict[str, Any], words: str) -> None:
    assert money(said) == words
