"""Days of time zones as instants, and the fewest rollups that make them up."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.analytics.ranges import SLOT, DayRange, Period, RangeInvalid, TimeZoneUnknown, spans
from weft.errors import InvalidArgument

ZONES = sorted(available_timezones())
DAYS = st.dates(date(1980, 1, 1), date(2199, 12, 31))


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("day", "zone", "start", "hours"),
    [
        ("2026-01-31", "", "2026-01-31T00:00", 24),
        ("2026-01-31", "Asia/Kathmandu", "2026-01-30T18:15", 24),
        ("2026-03-29", "Europe/Berlin", "2026-03-28T23:00", 23),
        ("2026-10-25", "Europe/Berlin", "2026-10-24T22:00", 25),
        ("2026-04-05", "Australia/Lord_Howe", "2026-04-04T13:00", 24.5),
        ("2018-11-04", "America/Sao_Paulo", "2018-11-04T03:00", 23),  # clocks went from 0:00 to 1:00
        ("2018-02-17", "America/Sao_Paulo", "2018-02-17T02:00", 25),  # and from 24:00 back to 23:00
        ("2026-10-25", "Atlantic/Azores", "2026-10-25T00:00", 25),  # where 0:00 comes twice
        ("2011-12-30", "Pacific/Apia", "2011-12-30T10:00", 0),  # the day that Samoa left out
    ],
)
def test_a_day_begins_at_midnight_of_its_zone_and_is_as_long_as_its_clocks_say(
    day: str, zone: str, start: str, hours: float
) -> None:
    days = DayRange.parse(day, day, zone)

    assert days.start == utc(start)
    assert days.end - days.start == timedelta(hours=hours)


@given(first=DAYS, length=st.integers(0, 40), zone=st.sampled_from(ZONES))
def test_days_follow_one_another_and_begin_with_a_quarter_of_an_hour(first: date, length: int, zone: str) -> None:
    last = min(first + timedelta(days=length), date(2199, 12, 31))
    days = DayRange.parse(first.isoformat(), last.isoformat(), zone)

    midnights = days.midnights()

    assert (midnights[0], midnights[-1]) == (days.start, days.end)
    assert len(midnights) == (last - first).days + 2
    assert midnights == sorted(midnights)
    assert all(midnight.timestamp() % SLOT.total_seconds() == 0 for midnight in midnights)
    assert days.day(1) == first


@given(first=DAYS, length=st.integers(0, 3652), zone=st.sampled_from(ZONES))
def test_spans_make_up_a_range_without_a_gap_and_are_few(first: date, length: int, zone: str) -> None:
    last = min(first + timedelta(days=length), date(2199, 12, 31))
    days = DayRange(first, last, ZoneInfo(zone))

    found = spans(days.start, days.end)

    edges = [days.start, *(span.end for span in found)]
    assert [span.start for span in found] == edges[:-1]
    assert edges[-1] == days.end
    assert len(found) <= 7
    longest = {Period.SLOT: 2, Period.DAY: 62, Period.MONTH: 732, Period.YEAR: 3660}
    assert all(timedelta(0) < span.end - span.start < timedelta(days=longest[span.period]) for span in found)


def test_whole_years_are_one_span() -> None:
    [span] = spans(utc("2020-01-01T00:00"), utc("2026-01-01T00:00"))

    assert span.period is Period.YEAR


@pytest.mark.parametrize(
    ("from_date", "to_date", "field"),
    [
        ("2026-02-30", "2026-03-01", "fromDate"),
        ("2026-03-01", "2026-13-01", "toDate"),
        ("1979-12-31", "2026-01-01", "fromDate"),
        ("2199-12-31", "2200-01-01", "toDate"),
        ("0000-00-00", "2026-01-01", "fromDate"),
        ("2026-01-02", "2026-01-01", "toDate"),
        ("2016-01-01", "2026-01-02", "toDate"),
    ],
)
def test_what_is_no_range_of_days_is_refused_by_the_field_that_is_wrong(
    from_date: str, to_date: str, field: str
) -> None:
    with pytest.raises(RangeInvalid) as refused:
        DayRange.parse(from_date, to_date, "UTC")

    assert refused.value.reason == "RANGE_INVALID"
    assert [violation.field for violation in refused.value.violations] == [field]


def test_ten_years_are_not_too_many() -> None:
    days = DayRange.parse("2016-01-01", "2025-12-31", "Pacific/Kiritimati")

    assert len(days.midnights()) == 3654


@pytest.mark.parametrize(
    "zone", ["Europe/Atlantis", "Europe/Berlin/Mitte", "../etc/passwd", "/etc/passwd", "Europe", "europe//berlin", "-"]
)
def test_what_is_no_zone_is_refused(zone: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        DayRange.parse("2026-01-01", "2026-01-01", zone)

    assert isinstance(refused.value, TimeZoneUnknown)
    assert refused.value.reason == "TIME_ZONE_UNKNOWN"
