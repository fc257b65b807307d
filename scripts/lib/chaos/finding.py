"""How a rule's outcome is put."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

__all__ = ["Breach", "Finding", "found"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Breach:
    """One case of a promise that did not hold.

    Attributes:
        subject: id of the order, SKU, event or saga it is about.
        text: what is, and what should be.
        order_id: whose history explains it, where there is one.
    """

    subject: str
    text: str
    order_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What one rule found.

    Attributes:
        area: orders, money, stock, events, sagas or shipments.
        rule: the promise, as a sentence.
        checked: how many cases it was held against; 0 says nothing.
        cases: what the cases are, plural.
    """

    area: str
    rule: str
    checked: int
    cases: str
    breaches: tuple[Breach, ...] = ()


def found(area: str, rule: str, checked: int, cases: str, breaches: Iterable[Breach]) -> Finding:
    return Finding(area=area, rule=rule, checked=checked, cases=cases, breaches=tuple(breaches))
