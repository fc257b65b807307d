"""What the catalog shows is what is on the shelves."""

from __future__ import annotations

from typing import Final

from scripts.lib.chaos.evidence import Evidence, StockLevel
from scripts.lib.chaos.finding import Breach, Finding, found

__all__ = ["RULES"]

AREA: Final = "catalog"


def shown_as_stocked(evidence: Evidence) -> Finding:
    levels = {level.sku: level for level in evidence.levels}
    breaches = (
        Breach(subject=sku, text=f"is shown as {' and '.join(sorted(words))}, with {_units(levels.get(sku))}")
        for sku, words in sorted(evidence.shown.items())
        if words != {_word(levels.get(sku))}
    )
    return found(AREA, "availability is what the shelves say, by every replica", len(evidence.shown), "SKUs", breaches)


def _word(level: StockLevel | None) -> str:
    if level is None:
        return "UNSPECIFIED"
    if level.on_hand <= 0:
        return "OUT"
    return "LOW" if level.on_hand <= level.threshold else "IN_STOCK"


def _units(level: StockLevel | None) -> str:
    return f"{level.on_hand} on hand, and {level.threshold} are few" if level else "nobody having stocked it"


RULES: Final = (shown_as_stocked,)
