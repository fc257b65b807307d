"""All that was sold in a range, as CSV, a piece at a time."""

from __future__ import annotations

import csv
from contextlib import asynccontextmanager
from io import StringIO
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import DateTime, bindparam, text

from services.analytics.domain import NANOS, TooManyDownloads, in_nanos
from services.currencies import digits_of

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator, Sequence
    from decimal import Decimal

    from services.analytics.ranges import DayRange
    from weft.data import Database

__all__ = ["MOST_AT_ONCE", "Downloads", "harmless", "plain"]

MOST_AT_ONCE: Final = 2
"""Of one replica: each holds one of its connections, for as long as its reader takes."""
BATCH: Final = 1000
HEADER: Final = (
    "confirm_time", "order_id", "sku", "name", "category", "quantity", "unit_price", "total", "currency",
)  # fmt: skip
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n")
_TIME: Final = DateTime(timezone=True)
_OPEN: Final = text(
    """
    DECLARE sold NO SCROLL CURSOR FOR
    SELECT time, order_id, sku, name, category, quantity, unit_price, quantity * unit_price AS total
    FROM sold_lines WHERE time >= :from_time AND time < :to_time ORDER BY time, order_id, position
    """
).bindparams(bindparam("from_time", type_=_TIME), bindparam("to_time", type_=_TIME))
_FETCH: Final = text(f"FETCH {BATCH} FROM sold")


class Downloads:
    """Of one replica.

    Args:
        database: Of the service.
        currency: Of the shop.
    """

    def __init__(self, database: Database, currency: str) -> None:
        self._database, self._currency = database, currency
        self._under_way = 0

    async def sold(self, days: DayRange) -> AsyncGenerator[bytes, None]:
        """Yield the lines sold in *days* by time, order and position, as of the moment of the first piece: RFC 4180.

        No more than a piece is in memory, and the next one is read when this one was taken.

        Raises:
            TooManyDownloads: as many as there may be are under way.
        """
        async with self._admitted(), self._database.transaction() as tx:
            await tx.execute(_OPEN, {"from_time": days.start, "to_time": days.end})
            yield _csv([HEADER])
            while rows := await tx.all(_FETCH):
                yield _csv(self._lines(rows, days))

    @asynccontextmanager
    async def _admitted(self) -> AsyncIterator[None]:
        if self._under_way >= MOST_AT_ONCE:
            raise TooManyDownloads(MOST_AT_ONCE)
        self._under_way += 1
        try:
            yield
        finally:
            self._under_way -= 1

    def _lines(self, rows: Sequence[Any], days: DayRange) -> Iterator[Sequence[str]]:
        for time, order_id, sku, name, category, quantity, unit_price, total in rows:
            yield (
                time.astimezone(days.zone).isoformat(),
                str(order_id),
                harmless(sku),
                harmless(name),
                harmless(category),
                str(quantity),
                plain(unit_price, self._currency),
                plain(total, self._currency),
                self._currency,
            )


def harmless(text: str) -> str:
    """Return *text* so that no spreadsheet takes it for a formula: with `'` before what would make it one.

    Source: OWASP, "CSV Injection".
    """
    return f"'{text}" if text.startswith(_FORMULA) else text


def plain(amount: Decimal, currency: str) -> str:
    """Return *amount* with the decimal places of its currency, `14.50`, and more where it has more."""
    digits = digits_of(currency)
    units, nanos = divmod(in_nanos(amount), NANOS)
    places = f"{nanos:09d}"
    fraction = places[:digits] + places[digits:].rstrip("0")
    return f"{units}.{fraction}" if fraction else str(units)


def _csv(rows: Iterable[Sequence[str]]) -> bytes:
    piece = StringIO()
    csv.writer(piece, lineterminator="\r\n").writerows(rows)
    return piece.getvalue().encode()
