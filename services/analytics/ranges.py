"""Days of a time zone, as instants.

A day is the time between two midnights of its zone: 23, 24 or 25 hours, and none at all where a zone jumped over it.
Since 1980 every zone's midnight is a whole quarter of an hour in UTC, so that days are made of such quarters: *slots*.

Source: IANA time zone database.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

from weft.errors import InvalidArgument, Violation

__all__ = ["SLOT", "DayRange", "Period", "RangeInvalid", "Span", "TimeZoneUnknown", "spans"]

SLOT: Final = timedelta(minutes=15)
FIRST: Final = date(1980, 1, 1)
LAST: Final = date(2199, 12, 31)
MOST_DAYS: Final = 3653
"""Ten years, with the leap days that are always in them."""
_DAY: Final = timedelta(days=1)


class RangeInvalid(InvalidArgument):
    """These are no days in order, or too many."""

    def __init__(self, field: str, description: str) -> None:
        super().__init__("this is no range of days", violations=[Violation(field, description)])


class TimeZoneUnknown(InvalidArgument):
    """No zone has this name."""

    def __init__(self) -> None:
        violation = Violation("timeZone", "must be the IANA name of a time zone, `Europe/Berlin`")
        super().__init__("no such time zone", violations=[violation])


class Period(StrEnum):
    """By what sales are rolled up, shortest first. All of them begin in UTC."""

    SLOT = "slot"
    DAY = "day"
    MONTH = "month"
    YEAR = "year"


_LONGEST: Final = {Period.DAY: timedelta(days=1), Period.MONTH: timedelta(days=31), Period.YEAR: timedelta(days=366)}


class Span(NamedTuple):
    """All periods of one kind that begin in `[start, end)`."""

    period: Period
    start: datetime
    end: datetime


@dataclass(frozen=True, slots=True)
class DayRange:
    """Days of a zone, one after another; at least one."""

    first: date
    last: date
    zone: ZoneInfo

    @classmethod
    def parse(cls, from_date: str, to_date: str, time_zone: str) -> DayRange:
        """Read two dates, `2026-01-31`, the second included, and the name of a zone, empty for UTC.

        Raises:
            RangeInvalid: one is no date, they are in the wrong order, or more than ten years apart.
            TimeZoneUnknown: nobody knows such a zone.
        """
        first, last = _date(from_date, "fromDate"), _date(to_date, "toDate")
        if last < first:
            raise RangeInvalid("toDate", "must not be before fromDate")
        if (last - first).days >= MOST_DAYS:
            raise RangeInvalid("toDate", "must be at most ten years after fromDate")
        try:
            return cls(first, last, ZoneInfo(time_zone or "UTC"))
        except (KeyError, ValueError, OSError):  # not found, no name, no file of a zone
            raise TimeZoneUnknown from None

    @property
    def start(self) -> datetime:
        return self._midnight(self.first)

    @property
    def end(self) -> datetime:
        """The first instant after the range."""
        return self._midnight(self.last + _DAY)

    def midnights(self) -> list[datetime]:
        """Return when each day begins, and when the last one ends, in UTC."""
        return [self._midnight(self.first + number * _DAY) for number in range((self.last - self.first).days + 2)]

    def day(self, number: int) -> date:
        """Return the *number*-th day, from 1."""
        return self.first + (number - 1) * _DAY

    def _midnight(self, day: date) -> datetime:
        """Return when *day* begins: where midnight comes twice the first time, where it is left out what follows it."""
        return datetime(day.year, day.month, day.day, tzinfo=self.zone).astimezone(UTC)


def spans(start: datetime, end: datetime) -> list[Span]:
    """Return the periods that make up `[start, end)`, both instants in UTC that begin a slot: the longest that fit.

    At most seven spans: less than two days of slots, two months of days and two years of months, and years.
    """
    return _spans(start, end, tuple(Period))


def _spans(start: datetime, end: datetime, periods: tuple[Period, ...]) -> list[Span]:
    """Return the spans of a range that begins and ends with one of the first of *periods*."""
    shortest, *longer = periods
    if start >= end:
        return []
    if longer:
        inner = _next(start, longer[0]), _begin(end, longer[0])
        if inner[0] < inner[1]:
            return [
                *_spans(start, inner[0], (shortest,)),
                *_spans(*inner, tuple(longer)),
                *_spans(inner[1], end, (shortest,)),
            ]
    return [Span(shortest, start, end)]


def _begin(time: datetime, period: Period) -> datetime:
    """Return when the *period*, longer than a slot, begins that *time* is in."""
    day = time.replace(hour=0, minute=0, second=0, microsecond=0)
    if period is Period.DAY:
        return day
    return day.replace(day=1) if period is Period.MONTH else day.replace(month=1, day=1)


def _next(time: datetime, period: Period) -> datetime:
    """Return *time* if a *period* begins then, else when the next one does."""
    begin = _begin(time, period)
    return begin if begin == time else _begin(begin + _LONGEST[period], period)


def _date(text: str, field: str) -> date:
    try:
        day = date.fromisoformat(text)
    except ValueError:
        raise RangeInvalid(field, "must be a day that exists, `2026-01-31`") from None
    if not FIRST <= day <= LAST:
        raise RangeInvalid(field, f"must be in the years {FIRST.year} to {LAST.year}")
    return day
