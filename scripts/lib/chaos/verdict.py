"""The verdict: every promise held against the evidence."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from scripts.lib.chaos.evidence import LIVE, Evidence
from scripts.lib.chaos.finding import Breach, Finding
from scripts.lib.chaos.rules import (
    availability,
    carts,
    events,
    invoices,
    mails,
    money,
    orders,
    reports,
    sagas,
    shipments,
    stock,
)

__all__ = ["Verdict", "judge"]

RULES: Final = (
    *orders.RULES,
    *carts.RULES,
    *money.RULES,
    *invoices.RULES,
    *stock.RULES,
    *availability.RULES,
    *sagas.RULES,
    *shipments.RULES,
    *events.RULES,
    *mails.RULES,
    *reports.RULES,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What was found of every promise, and how much there was to look at."""

    findings: tuple[Finding, ...]
    counts: Mapping[str, int]

    @property
    def breaches(self) -> Sequence[tuple[Finding, Breach]]:
        return [(finding, breach) for finding in self.findings for breach in finding.breaches]


def judge(evidence: Evidence) -> Verdict:
    return Verdict(findings=tuple(rule(evidence) for rule in RULES), counts=_counts(evidence))


def _counts(evidence: Evidence) -> Mapping[str, int]:
    states = Counter(order.state for order in evidence.orders)
    sagas_by_status = Counter(saga.status for saga in evidence.sagas)
    return {
        "placed": len(evidence.orders),
        "confirmed": sum(states[state] for state in LIVE),
        "cancelled": states["CANCELLED"],
        "undecided": states["PENDING"] + states["CANCELLING"],
        "stuck": sagas_by_status["STUCK"],
    }
