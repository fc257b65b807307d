"""What can be bought, and every word that the shoppers were told."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from scripts.lib.chaos.evidence import Answer, Request
from scripts.lib.chaos.records import Quote

__all__ = ["Shelf", "Told"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shelf:
    """What can be bought: SKU -> id of the product."""

    plenty: Mapping[str, str]
    scarce: Mapping[str, str]

    def product_ids(self) -> dict[str, str]:
        return {**self.plenty, **self.scarce}

    def skus(self) -> dict[str, str]:
        """Return id of a product -> SKU."""
        return {product_id: sku for sku, product_id in self.product_ids().items()}


@dataclass(slots=True)
class Told:
    """What all shoppers asked for and were told.

    Attributes:
        began: when their clock was at 0.
        statuses: of all answers, by call; `NO_ANSWER` among them.
        streams: how many watches there were.
        added: user and SKU -> units that were put into their cart.
        removed: user and SKU of what may have been taken out of it.
        quotes: what they were told that their carts would cost.
    """

    began: datetime = field(default_factory=lambda: datetime.now(UTC))
    began_s: float = field(default_factory=time.monotonic)
    answers: list[Answer] = field(default_factory=list)
    requests: dict[str, Request] = field(default_factory=dict)
    cancels: set[str] = field(default_factory=set)
    statuses: Counter[tuple[str, int]] = field(default_factory=Counter)
    streams: int = 0
    added: Counter[tuple[str, str]] = field(default_factory=Counter)
    removed: set[tuple[str, str]] = field(default_factory=set)
    quotes: list[Quote] = field(default_factory=list)

    def now_s(self) -> float:
        return round(time.monotonic() - self.began_s, 3)

    def tell(self, call: str, user_id: str, order: Mapping[str, Any], asked_s: float, **facts: Any) -> None:
        """Write down an answer that says something of an order; *facts* are further fields of `Answer`."""
        state = str(order.get("state", "")).removeprefix("STATE_")
        if state == "CANCELLED":
            facts.setdefault("reason", str(order.get("cancelReason", "")))
        order_id = str(order.get("orderId", ""))
        self.answers.append(
            Answer(
                asked_s=asked_s, at_s=self.now_s(), call=call, user_id=user_id, order_id=order_id, state=state, **facts
            )
        )
