"""Units are moved, never made or lost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Final

from scripts.lib.chaos.evidence import LIVE, Evidence
from scripts.lib.chaos.finding import Breach, Finding, found

__all__ = ["RULES"]

AREA: Final = "stock"
OPEN: Final = frozenset({"RESERVED", "ACTIVE", "HELD", "OPEN"})


def nothing_lost(evidence: Evidence) -> Finding:
    breaches = (
        Breach(
            subject=level.sku,
            text=f"{level.on_hand} on hand + {level.reserved} reserved + {level.sold} sold; put in: {put_in}",
        )
        for level in evidence.levels
        if level.on_hand + level.reserved + level.sold != (put_in := evidence.stocked.get(level.sku, 0))
    )
    return found(AREA, "on hand + reserved + sold is what was put in", len(evidence.levels), "SKUs", breaches)


def sold_as_ordered(evidence: Evidence) -> Finding:
    ordered: Counter[str] = Counter()
    for order in evidence.orders:
        if order.state in LIVE:
            ordered.update(order.lines)
    sold = Counter({level.sku: level.sold for level in evidence.levels})
    breaches = (
        Breach(subject=sku, text=f"{sold[sku]} sold, {ordered[sku]} in confirmed orders")
        for sku in sorted(sold.keys() | ordered.keys())
        if sold[sku] != ordered[sku]
    )
    return found(AREA, "sold is what confirmed orders hold", ordered.total(), "units", breaches)


def nothing_reserved(evidence: Evidence) -> Finding:
    def breaches() -> Iterator[Breach]:
        for level in evidence.levels:
            if level.reserved:
                yield Breach(subject=level.sku, text=f"{level.reserved} still reserved")
        for each in evidence.reservations:
            if each.state in OPEN:
                text = f"its reservation is still {each.state}"
                yield Breach(subject=each.order_id, text=text, order_id=each.order_id)

    return found(AREA, "no reservation outlives its order", len(evidence.reservations), "reservations", breaches())


def ledger_adds_up(evidence: Evidence) -> Finding:
    sums: Counter[tuple[str, str]] = Counter()
    for change in evidence.changes:
        for name in ("on_hand", "reserved", "sold"):
            sums[change.sku, name] += getattr(change, name)

    def breaches() -> Iterator[Breach]:
        for level in evidence.levels:
            for name in ("on_hand", "reserved", "sold"):
                if sums[level.sku, name] != getattr(level, name):
                    text = (
                        f"the ledger adds up to {sums[level.sku, name]} {name}, the level says {getattr(level, name)}"
                    )
                    yield Breach(subject=level.sku, text=text)

    return found(AREA, "the ledger adds up to the levels", len(evidence.changes), "lines", breaches())


def never_negative(evidence: Evidence) -> Finding:
    def breaches() -> Iterator[Breach]:
        sums: Counter[tuple[str, str]] = Counter()
        for change in sorted(evidence.changes, key=lambda change: change.number):
            for name in ("on_hand", "reserved", "sold"):
                sums[change.sku, name] += getattr(change, name)
                if sums[change.sku, name] < 0:
                    text = f"{sums[change.sku, name]} {name} after {change.kind}, line {change.number}"
                    yield Breach(subject=change.sku, text=text, order_id=change.order_id)
        for level in evidence.levels:
            if min(level.on_hand, level.reserved, level.sold) < 0:
                yield Breach(
                    subject=level.sku, text=f"{level.on_hand} on hand, {level.reserved} reserved, {level.sold} sold"
                )

    return found(AREA, "no level was ever below nothing", len(evidence.changes), "lines", breaches())


def moved_once(evidence: Evidence) -> Finding:
    """An order takes a SKU off the shelf at most once more than it puts it back, and sells it no more often."""
    balance: Counter[tuple[str, str]] = Counter()
    live = {order.order_id: order for order in evidence.orders if order.state in LIVE}
    for change in evidence.changes:
        if change.order_id:
            balance[change.order_id, change.sku] -= change.on_hand
    breaches = (
        Breach(subject=order_id, text=f"took {taken} of {sku} off the shelf, and holds {due}", order_id=order_id)
        for (order_id, sku), taken in sorted(balance.items())
        if taken != (due := live[order_id].lines.get(sku, 0) if order_id in live else 0)
    )
    return found(AREA, "an order takes what it holds, once", len(balance), "orders and SKUs", breaches)


RULES: Final = (nothing_lost, sold_as_ordered, nothing_reserved, ledger_adds_up, never_negative, moved_once)
