"""Sums of money, exactly."""

from __future__ import annotations

from typing import Final, NamedTuple

from services.currencies import digits_of
from services.orders.refusals import CurrenciesDiffer

__all__ = ["NANOS", "Money"]

NANOS: Final = 1_000_000_000
_NANO_DIGITS: Final = 9


class Money(NamedTuple):
    """A sum in a currency (ISO 4217): whole units, and nano units in [0, 999,999,999]. Never negative."""

    currency: str
    units: int
    nanos: int

    @classmethod
    def of_nanos(cls, currency: str, nanos: int) -> Money:
        """Return a sum of so many nano units."""
        return cls(currency, *divmod(nanos, NANOS))

    def times(self, factor: int) -> Money:
        """Return *factor* times this, exactly."""
        return Money.of_nanos(self.currency, self.in_nanos * factor)

    def plus(self, other: Money) -> Money:
        """Return the exact sum. Raises CurrenciesDiffer."""
        if other.currency != self.currency:
            raise CurrenciesDiffer("sums in different currencies can't be in one order")
        return Money.of_nanos(self.currency, self.in_nanos + other.in_nanos)

    @property
    def in_nanos(self) -> int:
        """The sum in nano units."""
        return self.units * NANOS + self.nanos

    @property
    def step_nanos(self) -> int:
        """The smallest sum of the currency that can be paid, in nano units: ten million, a cent, for EUR."""
        return int(10 ** (_NANO_DIGITS - digits_of(self.currency)))

    @property
    def is_nothing(self) -> bool:
        return self.units == self.nanos == 0

    def __str__(self) -> str:
        """Return it as a person reads it: `14.50 EUR`, with more places where the sum has more."""
        digits = digits_of(self.currency)
        places = f"{self.nanos:0{_NANO_DIGITS}d}"
        fraction = places[:digits] + places[digits:].rstrip("0")
        return f"{self.units}{fraction and '.' + fraction} {self.currency}"
