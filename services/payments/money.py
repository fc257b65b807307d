"""Sums as providers count them: whole numbers of a currency's smallest unit."""

from __future__ import annotations

from typing import Final, NamedTuple

from services.currencies import digits_of

__all__ = ["NANOS", "Money", "NotPayable"]

NANOS: Final = 1_000_000_000
_NANO_DIGITS: Final = 9


class NotPayable(ValueError):
    """The sum is not a whole number of the currency's smallest unit."""


class Money(NamedTuple):
    """A sum in a currency (ISO 4217): how many of its smallest unit, cents for EUR. Never negative."""

    currency: str
    minor: int

    @classmethod
    def of(cls, currency: str, units: int, nanos: int) -> Money:
        """Return *units* and *nanos* in [0, 999,999,999], exactly. Raises NotPayable."""
        minor, rest = divmod(units * NANOS + nanos, _step(currency))
        if rest:
            raise NotPayable
        return cls(currency, minor)

    @property
    def in_nanos(self) -> int:
        """The sum in nano units."""
        return self.minor * _step(self.currency)

    @property
    def units_and_nanos(self) -> tuple[int, int]:
        return divmod(self.in_nanos, NANOS)

    def __str__(self) -> str:
        digits = digits_of(self.currency)
        units, nanos = self.units_and_nanos
        fraction = f".{nanos:0{_NANO_DIGITS}d}"[: digits + 1] if digits else ""
        return f"{units}{fraction} {self.currency}"


def _step(currency: str) -> int:
    """Return nano units of the smallest unit."""
    return int(10 ** (_NANO_DIGITS - digits_of(currency)))
