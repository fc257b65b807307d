"""What an owner is told."""

from __future__ import annotations

from collections import defaultdict
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from shop.analytics.v1 import analytics_pb2 as pb
from sqlalchemy import text

from services.analytics import reports
from services.analytics.ranges import DayRange
from tests.mesh.services.analytics.parts import Analytics, at, confirmed, offered, refunded
from tests.mesh.services.calls import euros, refusal

if TYPE_CHECKING:
    from weft.events import Received

MOMENTS = st.integers(0, 850 * 96).map(lambda slots: at("2024-11-01T00:00") + timedelta(minutes=15 * slots))
ONE = {"MUG": (1, "10")}
RANGE = {"from_date": "2026-03-01", "to_date": "2026-03-31"}
ASKED = {
    "GetSalesReport": pb.GetSalesReportRequest,
    "GetBestSellers": pb.GetBestSellersRequest,
    "GetConversionReport": pb.GetConversionReportRequest,
    "GetRepeatCustomersReport": pb.GetRepeatCustomersReportRequest,
}


async def test_a_shop_that_sold_nothing_reports_nothing(analytics: Analytics) -> None:
    for group_by in ("DAY", "CATEGORY", "PRODUCT"):
        report = await analytics.sales("2026-03-01", "2026-03-31", group_by)
        assert list(report.lines) == []
        assert report.total == pb.SalesLine(revenue=euros("0"), refunded=euros("0"))
    best = await analytics.admin.GetBestSellers(
        pb.GetBestSellersRequest(from_date=RANGE["from_date"], to_date=RANGE["to_date"])
    )
    assert list(best.lines) == []
    conversion = await analytics.admin.GetConversionReport(pb.GetConversionReportRequest(**RANGE))
    assert conversion == pb.GetConversionReportResponse()
    repeats = await analytics.admin.GetRepeatCustomersReport(pb.GetRepeatCustomersReportRequest(**RANGE))
    assert repeats == pb.GetRepeatCustomersReportResponse()


async def test_sales_are_of_the_day_on_which_they_were_in_the_zone_that_is_asked_for(analytics: Analytics) -> None:
    on_the_28th, on_the_29th = ("18:14:59", "18:15", "22:59", "23:00"), ("21:59", "22:00")
    moments = [f"2026-03-28T{time}" for time in on_the_28th] + [f"2026-03-29T{time}" for time in on_the_29th]
    await analytics.hear(*(confirmed(moment, ONE) for moment in moments))

    days = {
        zone: {line.key: line.orders for line in (await analytics.sales("2026-03-28", "2026-03-30", "DAY", zone)).lines}
        for zone in ("", "Europe/Berlin", "Asia/Kathmandu", "Pacific/Kiritimati")
    }

    assert days == {
        "": {"2026-03-28": 4, "2026-03-29": 2},
        "Europe/Berlin": {"2026-03-28": 3, "2026-03-29": 2, "2026-03-30": 1},  # the 29th has 23 hours
        "Asia/Kathmandu": {"2026-03-28": 1, "2026-03-29": 3, "2026-03-30": 2},
        "Pacific/Kiritimati": {"2026-03-29": 4, "2026-03-30": 2},
    }


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    moments=st.lists(MOMENTS, max_size=12),
    first=st.dates(date(2024, 10, 1), date(2027, 3, 1)),
    length=st.integers(0, 800),
    zone=st.sampled_from(["UTC", "Europe/Berlin", "Asia/Kathmandu", "America/St_Johns", "Australia/Lord_Howe"]),
)
async def test_every_report_of_a_range_sums_up_what_was_sold_on_its_days(
    analytics: Analytics, moments: list[datetime], first: date, length: int, zone: str
) -> None:
    await emptied(analytics)
    sold = [confirmed(moment.isoformat(), {"MUG": (2, "0.05"), "PEN": (1, "3")}) for moment in moments]
    await analytics.hear(*sold)
    last = first + timedelta(days=length)
    days = [moment.astimezone(ZoneInfo(zone)).date() for moment in moments]
    inside = [day for day in days if first <= day <= last]

    by = {group: await analytics.sales(str(first), str(last), group, zone) for group in ("DAY", "PRODUCT", "CATEGORY")}
    best = await analytics.admin.GetBestSellers(
        pb.GetBestSellersRequest(from_date=str(first), to_date=str(last), time_zone=zone)
    )

    assert {line.key: line.orders for line in by["DAY"].lines} == {str(day): inside.count(day) for day in set(inside)}
    assert [line.key for line in by["DAY"].lines] == sorted(line.key for line in by["DAY"].lines)
    skus = ("PEN", "MUG") if inside else ()  # most revenue first
    assert [(line.key, line.orders) for line in by["PRODUCT"].lines] == [(sku, len(inside)) for sku in skus]
    assert [line.key for line in best.lines] == list(reversed(skus))  # most units first
    for report in by.values():
        total = report.total
        assert (total.orders, total.units) == (len(inside), 3 * len(inside))
        assert total.revenue == euros(f"{len(inside) * 310 // 100}.{len(inside) * 310 % 100:02}")


async def test_money_given_back_is_of_the_day_on_which_it_was(analytics: Analytics) -> None:
    await analytics.hear(
        confirmed("2026-03-01T12:00", {"MUG": (1, "14.50")}),
        refunded("2026-03-05T12:00", "4.25"),
        refunded("2026-03-05T13:00", "0.05"),
    )

    report = await analytics.sales("2026-03-01", "2026-03-31")
    by_product = await analytics.sales("2026-03-01", "2026-03-31", "PRODUCT")

    assert [(line.key, line.orders, line.revenue, line.refunded) for line in report.lines] == [
        ("2026-03-01", 1, euros("14.50"), euros("0")),
        ("2026-03-05", 0, euros("0"), euros("4.30")),
    ]
    assert (report.total.revenue, report.total.refunded) == (euros("14.50"), euros("4.30"))
    assert by_product.total == report.total
    assert not by_product.lines[0].HasField("refunded")


async def test_a_product_is_called_what_it_is_called_now(analytics: Analytics) -> None:
    await analytics.hear(
        offered("2026-02-01T00:00", "MUG", "kitchen", "Mug"),
        confirmed("2026-03-01T12:00", ONE | {"PEN": (1, "10")}),
        offered("2026-03-02T00:00", "MUG", "gifts", "Gift mug", sequence=2),
    )

    report = await analytics.sales("2026-03-01", "2026-03-31", "PRODUCT")
    by_category = await analytics.sales("2026-03-01", "2026-03-31", "CATEGORY")

    assert [(line.key, line.name) for line in report.lines] == [("MUG", "Gift mug"), ("PEN", "")]
    assert [line.key for line in by_category.lines] == ["", "kitchen"]


async def test_a_thousand_lines_are_listed_and_all_are_summed_up(analytics: Analytics) -> None:
    for number in range(21):
        skus = {f"SKU-{number}-{each}": (1, f"{number + 1}.00") for each in range(50)}
        await analytics.hear(confirmed("2026-03-01T12:00", skus))

    report = await analytics.sales("2026-03-01", "2026-03-01", "PRODUCT")

    assert len(report.lines) == 1000
    assert report.lines[0].revenue == euros("21")
    assert report.lines[-1].revenue == euros("2")  # those of 1 euro are left out
    assert report.total.units == 21 * 50
    assert report.total.revenue == euros(f"{50 * sum(range(1, 22))}")


@pytest.mark.parametrize(("limit", "listed"), [(0, 10), (3, 3), (100, 12)])
async def test_best_sellers_have_most_units_and_equal_ones_are_listed_by_sku(
    analytics: Analytics, limit: int, listed: int
) -> None:
    sold = {f"SKU-{number:02}": (number // 2 + 1, "5") for number in range(12)}
    await analytics.hear(confirmed("2026-03-01T12:00", sold))

    best = await analytics.admin.GetBestSellers(pb.GetBestSellersRequest(limit=limit, **RANGE))

    order = sorted(sold, key=lambda sku: (-sold[sku][0], sku))
    assert [(line.key, line.units) for line in best.lines] == [(sku, sold[sku][0]) for sku in order[:listed]]


BOUGHT = st.lists(
    st.tuples(st.sampled_from("abcd"), st.integers(0, 20 * 24)).map(
        lambda pair: (pair[0], at("2026-03-01T00:00") + timedelta(hours=pair[1]))
    ),
    max_size=14,
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(bought=BOUGHT, first=st.integers(1, 22), length=st.integers(0, 21))
async def test_customers_are_counted_once_and_come_back_with_their_second_order(
    analytics: Analytics, bought: list[tuple[str, datetime]], first: int, length: int
) -> None:
    await emptied(analytics)
    await analytics.hear(*(confirmed(moment.isoformat(), ONE, user_id=user) for user, moment in bought))
    last = min(31, first + length)
    days = DayRange.parse(f"2026-03-{first:02}", f"2026-03-{last:02}", "")

    repeats = await reports.repeats(analytics.database, days)
    conversion = await reports.conversion(analytics.database, days)

    customers, coming_back, buyer_days = set[str](), set[str](), set[Any]()
    orders: defaultdict[str, int] = defaultdict(int)
    for user, moment in sorted(bought, key=lambda each: each[1]):
        orders[user] += 1
        if first <= moment.day <= last:
            customers.add(user)
            buyer_days.add((user, moment.day))
            if orders[user] > 1:
                coming_back.add(user)
    assert repeats == (len(customers), len(coming_back))
    assert conversion.buyers == len(buyer_days)


@pytest.mark.parametrize("method", ASKED)
async def test_reports_are_for_administrators(analytics: Analytics, method: str) -> None:
    request = ASKED[method](**RANGE)

    assert (await refusal(getattr(analytics.somebody, method)(request))).code == "PERMISSION_DENIED"
    assert (await refusal(getattr(analytics.anybody, method)(request))).code == "UNAUTHENTICATED"


@pytest.mark.parametrize("method", ASKED)
@pytest.mark.parametrize(
    ("fields", "reason", "field"),
    [
        ({"from_date": "2026-02-30"}, "RANGE_INVALID", "fromDate"),
        ({"to_date": "2026-02-28"}, "RANGE_INVALID", "toDate"),
        ({"to_date": "2036-03-01"}, "RANGE_INVALID", "toDate"),
        ({"time_zone": "Mars/Olympus"}, "TIME_ZONE_UNKNOWN", "timeZone"),
        ({"time_zone": "../../etc/passwd"}, "INVALID_FIELDS", "timeZone"),
        ({"from_date": "yesterday"}, "INVALID_FIELDS", "fromDate"),
        ({"from_date": ""}, "INVALID_FIELDS", "fromDate"),
    ],
)
async def test_what_can_t_be_asked_is_refused_with_its_reason(
    analytics: Analytics, method: str, fields: dict[str, str], reason: str, field: str
) -> None:
    refused = await refusal(getattr(analytics.admin, method)(ASKED[method](**(RANGE | fields))))

    assert (refused.code, refused.reason) == ("INVALID_ARGUMENT", reason)
    assert [violation.field for violation in refused.violations] == [field]


async def emptied(analytics: Analytics) -> None:
    async with analytics.database.transaction() as tx:
        await tx.execute(text("truncate history, offers, purchases, sold_lines, sales, sku_sales, category_sales"))


def test_a_received_event_is_what_subscriptions_hand_on() -> None:
    event: Received[Any] = confirmed("2026-03-01T12:00", ONE)

    assert (event.source, event.subject) == ("orders", event.event.order_id)
