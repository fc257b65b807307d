"""What a currency's sums look like, the same in every service of the shop."""

from __future__ import annotations

from typing import Final

__all__ = ["digits_of"]

_DIGITS: Final = (
    dict.fromkeys(
        ("BIF", "CLP", "DJF", "GNF", "ISK", "JPY", "KMF", "KRW", "PYG", "RWF", "UGX", "UYI", "VND", "VUV", "XAF",
         "XOF", "XPF"), 0,
    )
    | dict.fromkeys(("BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"), 3)
)  # fmt: skip
"""Decimal places of those currencies that don't have two. Source: ISO 4217, list one."""


def digits_of(currency: str) -> int:
    """Return how many decimal places sums in *currency* (ISO 4217) have when they are paid."""
    return _DIGITS.get(currency, 2)
