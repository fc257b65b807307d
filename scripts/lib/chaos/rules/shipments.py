"""Who bought gets a parcel, one."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Final

from scripts.lib.chaos.evidence import LIVE, Evidence
from scripts.lib.chaos.finding import Breach, Finding, found

__all__ = ["RULES"]

AREA: Final = "shipments"


def one_each(evidence: Evidence) -> Finding:
    parcels: dict[str, list[str]] = defaultdict(list)
    for each in evidence.shipments:
        if each.state != "CANCELLED":
            parcels[each.order_id].append(f"{each.shipment_id} {each.state}")
    orders = {order.order_id: order for order in evidence.orders}

    def breaches() -> Iterator[Breach]:
        for order_id in sorted(orders.keys() | parcels.keys()):
            order = orders.get(order_id)
            due = int(order is not None and order.state in LIVE)
            if len(parcels[order_id]) != due:
                state = order.state if order is not None else "not there"
                text = f"is {state} and has {len(parcels[order_id])} shipments: {', '.join(parcels[order_id])}".rstrip(
                    ": "
                )
                yield Breach(subject=order_id, text=text, order_id=order_id)

    return found(AREA, "one shipment for a confirmed order, none for another", len(orders), "orders", breaches())


RULES: Final = (one_each,)
