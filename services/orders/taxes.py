"""Which taxes prices contain: a table, and what follows from it.

Prices are gross: what a shopper sees is what they pay, wherever it goes, and the tax is a part of that. So taxes never
change a total; they say how much of it isn't the shop's.

The rule: goods have the rate of their class in the country that they go to, sending them has its standard rate. What
goes to a country that isn't in the table leaves the union, and has 0 %.

Rounding: once for each rate of an order, on the sum of all that has it, to the currency's smallest unit, halves up.
Once for each rate, since rounding each line would let errors add up; halves up, as in commercial use (DIN 1333), and as
payments gives taxes back.
"""

from __future__ import annotations

from collections import Counter
from enum import Enum
from typing import TYPE_CHECKING, Final, NamedTuple

from services.orders.events import Tax
from services.orders.money import Money

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

__all__ = ["Taxed", "taxes"]


class Goods(Enum):
    """What the law tells apart."""

    OTHER = "standard"
    BOOKS = "books"
    FOOD = "food"


GOODS: Final[Mapping[str, Goods]] = {
    "books": Goods.BOOKS,
    "coffee": Goods.FOOD,
    "food": Goods.FOOD,
    "groceries": Goods.FOOD,
    "tea": Goods.FOOD,
}
"""Category of the catalog -> class; all others are OTHER. One below another in the tree counts by its own name only."""

_TABLE: Final = """
    AT 20   10   10
    BE 21    6    6
    BG 20    9   20
    CY 19    3    5
    CZ 21    0   12
    DE 19    7    7
    DK 25   25   25
    EE 24    9   24
    ES 21    4   10
    FI 25.5 13.5 13.5
    FR 20    5.5  5.5
    GR 24    6   13
    HR 25    5   25
    HU 27    5   27
    IE 23    0    0
    IT 22    4   10
    LT 21    5   21
    LU 17    3    3
    LV 21    5   21
    MT 18    5    0
    NL 21    9    9
    PL 23    5    5
    PT 23    6    6
    RO 21   11   11
    SE 25    6   12
    SI 22    5    9.5
    SK 23    5    5
"""
"""Country (ISO 3166-1), then in percent its standard rate, that of printed books, and that of common groceries.

As of January 2026; the law splits these classes further than a shop's categories can. Whoever sells by this table has
their own rows of it checked. Source: European Commission, Taxes in Europe Database (TEDB), and national law.
"""

HUNDREDTHS: Final = 100
"""Of a percent in one: the unit of rates here."""
WHOLE: Final = 100 * HUNDREDTHS


class Taxed(NamedTuple):
    """Something of an order that has a price."""

    category: str
    """Of the catalog."""
    gross: Money


def taxes(goods: Iterable[Taxed], shipping: Money, country_code: str) -> tuple[Tax, ...]:
    """Return the taxes that *goods* and *shipping*, all in one currency, contain when they go to a country.

    Returns:
        One for each rate, highest first, those of which there is nothing left out. Together they are gross what
        everything costs, exactly; each is gross a payable sum, if all of it together is one.
    """
    rates = _RATES.get(country_code, _UNTAXED)
    gross = Counter({rates[Goods.OTHER]: shipping.in_nanos})
    for category, price in goods:
        gross[rates[GOODS.get(category, Goods.OTHER)]] += price.in_nanos
    return tuple(
        _tax(rate, Money.of_nanos(shipping.currency, part)) for rate, part in _parts(gross, shipping.step_nanos)
    )


def _parts(gross: Mapping[int, int], step_nanos: int) -> Iterator[tuple[int, int]]:
    """Yield what is due at each rate, highest first, in whole steps, the last whatever remains.

    Prices may be finer than what can be paid. So what is due is rounded down as it adds up, from rate to rate, and
    what that takes from one part is in the next.
    """
    lowest = min(gross)
    due = given = 0
    for rate in sorted(gross, reverse=True):
        due += gross[rate]
        so_far = due if rate == lowest else due - due % step_nanos
        if so_far > given:
            yield rate, so_far - given
        given = so_far


def _tax(rate: int, gross: Money) -> Tax:
    step = gross.step_nanos
    numerator, denominator = gross.in_nanos * rate, (WHOLE + rate) * step
    rounded = (2 * numerator + denominator) // (2 * denominator)
    return Tax(rate_percent=_percent(rate), gross=gross, tax=Money.of_nanos(gross.currency, rounded * step))


def _percent(rate: int) -> str:
    whole, rest = divmod(rate, HUNDREDTHS)
    return f"{whole}.{rest:02d}".rstrip("0").rstrip(".")


def _rate(percent: str) -> int:
    whole, _, rest = percent.partition(".")
    return int(whole) * HUNDREDTHS + int(f"{rest:0<2}")


def _rows(table: str) -> Iterator[tuple[str, Mapping[Goods, int]]]:
    for row in table.split("\n"):
        if row.strip():
            country_code, *percents = row.split()
            yield country_code, dict(zip(Goods, map(_rate, percents), strict=True))


_RATES: Final[Mapping[str, Mapping[Goods, int]]] = dict(_rows(_TABLE))
_UNTAXED: Final[Mapping[Goods, int]] = dict.fromkeys(Goods, 0)
