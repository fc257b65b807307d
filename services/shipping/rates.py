"""What the simulated carrier takes, and where it goes."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Final

from services.shipping.domain import DestinationNotServed, Money

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["rate"]

CURRENCY: Final = "EUR"
NANOS_PER_CENT: Final = 10_000_000


class Zone(Enum):
    """How far it is."""

    HOME = "home"
    UNION = "union"
    WORLD = "world"


UNION: Final = """
    AT BE BG CY CZ DK EE ES FI FR GR HR HU IE IT LT LU LV MT NL PL PT RO SE SI SK
"""
WORLD: Final = """
    AU BR CA CH CL GB IL IN IS JP KR LI MX NO NZ SG TR US ZA
"""
ZONES: Final[Mapping[str, Zone]] = (
    {"DE": Zone.HOME} | dict.fromkeys(UNION.split(), Zone.UNION) | dict.fromkeys(WORLD.split(), Zone.WORLD)
)
"""Country (ISO 3166-1) -> zone. The carrier goes nowhere else."""

CENTS: Final[Mapping[int, Mapping[Zone, int]]] = {
    2: {Zone.HOME: 490, Zone.UNION: 990, Zone.WORLD: 1990},
    10: {Zone.HOME: 690, Zone.UNION: 1490, Zone.WORLD: 3490},
    30: {Zone.HOME: 1190, Zone.UNION: 2490, Zone.WORLD: 5990},
}
"""Most units of a parcel, smallest first -> what it costs, by zone."""

LARGEST: Final = max(CENTS)


def rate(country_code: str, units: int) -> Money:
    """Return what *units*, at least 1, cost: as many of the largest parcels as they fill, and one for the rest.

    Raises:
        DestinationNotServed: the carrier does not go there.
    """
    zone = ZONES.get(country_code)
    if zone is None:
        raise DestinationNotServed
    full, rest = divmod(units, LARGEST)
    cents = full * CENTS[LARGEST][zone]
    if rest:
        cents += next(prices[zone] for most, prices in CENTS.items() if rest <= most)
    whole, cents = divmod(cents, 100)
    return Money(CURRENCY, whole, cents * NANOS_PER_CENT)
