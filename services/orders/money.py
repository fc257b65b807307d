"""Sums of money, exactly."""

from __future__ import annotations

from typing import Final, NamedTuple

from services.orders.refusals import CurrenciesDiffer

__all__ = ["NANOS", "Money"]

NANOS: Final = 1_000_000_000


class Money(NamedTuple):
    """A sum in a currency (ISO 4217): whole units, and nano units in [0, 999,999,999]. Never negative."""

    currency: str
    units: int
    nanos: int

    def times(self, factor: int) -> Money:
        """Return *factor* times this, exactly."""
        units, nanos = divmod((self.units * NANOS + self.nanos) * factor, NANOS)
        return Money(self.currency, units, nanos)

    def plus(self, other: Money) -> Money:
        """Return the exact sum. Raises CurrenciesDiffer."""
        if other.currency != self.currency:
            raise CurrenciesDiffer("products in different currencies can't be in one order")
        carry, nanos = divmod(self.nanos + other.nanos, NANOS)
        return Money(self.currency, self.units + other.units + carry, nanos)

    @property
    def is_nothing(self) -> bool:
        return self.units == self.nanos == 0
