"""Test cards, and what each is for."""

from __future__ import annotations

import secrets
from enum import StrEnum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import date

__all__ = ["TOKENS", "Behaviour", "CardRefused", "behaviour_of", "brand_of", "check", "new_token"]


class Behaviour(StrEnum):
    """What happens when money is to be held on a card."""

    ACCEPTED = "accepted"
    DECLINED = "declined"
    SLOW = "slow"
    """It takes three seconds."""
    ANSWER_LOST = "answer_lost"
    """The money is held, and the connection lost before anybody hears of it."""
    DOWN = "down"
    """503; nothing is held."""


NUMBERS: Final[Mapping[str, Behaviour]] = {
    "4242424242424242": Behaviour.ACCEPTED,
    "4000000000000002": Behaviour.DECLINED,
    "4000000000000036": Behaviour.SLOW,
    "4000000000000051": Behaviour.ANSWER_LOST,
    "4000000000000069": Behaviour.DOWN,
}
"""Every other number that can be one is accepted."""

TOKENS: Final[Mapping[str, Behaviour]] = {f"pm_test_{behaviour}": behaviour for behaviour in Behaviour}
"""Well-known tokens, for those who don't want to ask for one."""

_BRANDS: Final = {"3": "amex", "4": "visa", "5": "mastercard", "6": "discover"}


class CardRefused(Exception):  # an answer
    """There is no such card."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


def check(number: str, expiry_month: int, expiry_year: int, *, today: date) -> None:
    """Raise CardRefused unless there may be such a card.

    Source: ISO/IEC 7812-1, annex B, for the check digit.
    """
    doubled = (int(digit) * (1 + index % 2) for index, digit in enumerate(reversed(number)))
    if sum(digit // 10 + digit % 10 for digit in doubled) % 10:
        raise CardRefused("incorrect_number")
    if (expiry_year, expiry_month) < (today.year, today.month):
        raise CardRefused("expired_card")


def behaviour_of(number: str) -> Behaviour:
    return NUMBERS.get(number, Behaviour.ACCEPTED)


def brand_of(number: str) -> str:
    return _BRANDS.get(number[0], "unknown")


def new_token() -> str:
    return f"pm_{secrets.token_urlsafe(18)}"
