"""Sums that stay exact, clocks that are off, and names that would be formulas."""

from __future__ import annotations

import csv
from datetime import UTC, datetime, timedelta
from decimal import Decimal, Inexact
from io import StringIO
from uuid import uuid4

import pytest
from google.type.money_pb2 import Money
from hypothesis import given
from hypothesis import strategies as st
from shop.catalog.v1 import events_pb2 as catalog
from shop.orders.v1 import events_pb2 as orders
from shop.payments.v1 import events_pb2 as payments

from services.analytics.domain import (
    Behaviour,
    Captured,
    ForeignCurrency,
    Kind,
    Line,
    Offer,
    Refunded,
    Sale,
    from_nanos,
    in_nanos,
    noted_time,
)
from services.analytics.download import harmless, plain
from services.analytics.facts import fact_of, require_currency
from services.analytics.history import Recorded

NOW = datetime(2026, 3, 29, 12, tzinfo=UTC)
EUR, USD = Money(currency_code="EUR", units=1, nanos=5_000_000), Money(currency_code="USD", units=1)


def recorded(event: object, sequence: int = 1) -> Recorded:
    return Recorded(
        event_id=uuid4(),
        type=event.DESCRIPTOR.full_name,  # type: ignore[attr-defined]  # of any message
        source="test",
        subject="test",
        sequence=sequence,
        time=NOW,
        data=event.SerializeToString(),  # type: ignore[attr-defined]  # as above
    )


@given(st.integers(-(10**30), 10**30))
def test_sums_are_exact_however_large_or_small(nanos: int) -> None:
    assert in_nanos(from_nanos(nanos)) == nanos


def test_less_than_a_nano_unit_is_no_sum() -> None:
    with pytest.raises(Inexact):
        in_nanos(Decimal("0.0000000001"))


@pytest.mark.parametrize(
    ("amount", "currency", "text"),
    [
        ("14.5", "EUR", "14.50"),
        ("14", "EUR", "14.00"),
        ("0.005", "EUR", "0.005"),
        ("3", "JPY", "3"),
        ("1", "KWD", "1.000"),
    ],
)
def test_a_sum_has_the_places_of_its_currency_and_more_where_it_needs_them(
    amount: str, currency: str, text: str
) -> None:
    assert plain(Decimal(amount), currency) == text


@pytest.mark.parametrize("start", list("=+-@\t\r\n"))
def test_what_a_spreadsheet_would_run_is_text(start: str) -> None:
    assert harmless(f"{start}HYPERLINK(1)") == f"'{start}HYPERLINK(1)"


@given(st.text())
def test_any_other_name_is_itself(name: str) -> None:
    cell = StringIO()
    csv.writer(cell, lineterminator="\r\n").writerow([harmless(name)])

    [[read]] = csv.reader(StringIO(cell.getvalue(), newline="")) if name else [[""]]

    assert read.removeprefix("'") == name.removeprefix("'")
    assert not read.startswith(("=", "+", "-", "@"))


@pytest.mark.parametrize(
    ("told", "noted"),
    [
        (None, NOW),
        (NOW - timedelta(hours=23), NOW - timedelta(hours=23)),
        (NOW + timedelta(hours=23), NOW + timedelta(hours=23)),
        (NOW - timedelta(hours=25), NOW),
        (NOW + timedelta(days=900), NOW),
    ],
)
def test_a_clock_that_is_a_day_off_is_not_believed(told: datetime | None, noted: datetime) -> None:
    assert noted_time(told, NOW) == noted


def test_who_did_something_is_in_no_text_about_it() -> None:
    done = Behaviour(event_id=uuid4(), kind=Kind.SEARCHED, visitor_id="visitor-7", product_id=None, time=NOW)

    assert "visitor-7" not in repr(done)


def test_events_are_read_into_what_reports_need() -> None:
    order_id = uuid4()
    line = orders.OrderedLine(product_id=str(uuid4()), sku="MUG", quantity=2, unit_price=EUR)
    confirmed = orders.OrderConfirmed(order_id=str(order_id), user_id="ada", lines=[line], total=EUR)

    facts = [
        fact_of(recorded(event, 7))
        for event in (
            confirmed,
            payments.PaymentCaptured(order_id=str(order_id), amount=EUR),
            payments.PaymentRefunded(order_id=str(order_id), amount=EUR, refunded=USD),
            catalog.ProductOffered(sku="MUG", name="Mug", category="kitchen", price=USD),
        )
    ]

    assert facts == [
        Sale(order_id=order_id, user_id="ada", time=NOW, lines=(Line("MUG", 2, Decimal("1.005")),)),
        Captured(time=NOW, amount=Decimal("1.005")),
        Refunded(time=NOW, amount=Decimal("1.005")),
        Offer(sku="MUG", time=NOW, sequence=7, name="Mug", category="kitchen"),
    ]


@pytest.mark.parametrize(
    "event",
    [
        orders.OrderConfirmed(total=USD),
        orders.OrderConfirmed(total=EUR, lines=[orders.OrderedLine(unit_price=USD)]),
        payments.PaymentCaptured(amount=USD),
        payments.PaymentRefunded(amount=USD),
        payments.PaymentRefunded(),
    ],
)
def test_an_event_in_another_currency_is_refused(event: payments.PaymentRefunded) -> None:
    with pytest.raises(ForeignCurrency) as refused:
        require_currency(event, "EUR")

    assert refused.value.reason == "FOREIGN_CURRENCY"


def test_what_a_product_costs_elsewhere_does_not_matter() -> None:
    require_currency(catalog.ProductOffered(sku="MUG", price=USD), "EUR")
