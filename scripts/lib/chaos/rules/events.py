"""Every event that happened is heard by everybody who asked, once; and none that did not."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Final

from scripts.lib.chaos.evidence import LIVE, Evidence, OutboxEvent
from scripts.lib.chaos.finding import Breach, Finding, found

__all__ = ["RULES"]

AREA: Final = "events"
ORDERS: Final = "shop.orders.v1."
EXPECTED: Final = {
    "CONFIRMED": ("OrderPlaced", "OrderConfirmed"),
    "SHIPPED": ("OrderPlaced", "OrderConfirmed", "OrderShipped"),
    "DELIVERED": ("OrderPlaced", "OrderConfirmed", "OrderShipped", "OrderDelivered"),
    "RETURNED": ("OrderPlaced", "OrderConfirmed", "OrderShipped"),
    "PENDING": ("OrderPlaced",),
}
"""State of an order -> what the others were told of it, in this order. One that came back may have been delivered."""


def all_published(evidence: Evidence) -> Finding:
    breaches = (
        Breach(subject=each.event_id, text=f"{each.source}'s {each.type} of {each.subject} is not published")
        for each in evidence.outbox
        if not each.is_published
    )
    return found(AREA, "every event is published", len(evidence.outbox), "events", breaches)


def none_invented(evidence: Evidence) -> Finding:
    """What was published belongs to a transaction that was committed."""
    real = {each.event_id for each in evidence.outbox}
    heard = {(each.event_id, each.type, each.subject) for each in evidence.on_broker or ()}
    applied = {(event_id, subscription) for subscription, ids in evidence.inbox.items() for event_id in ids}

    def breaches() -> Iterator[Breach]:
        for event_id, kind, subject in sorted(heard):
            if event_id not in real:
                text = f"{kind} of {subject} is on the broker, and never happened"
                yield Breach(subject=event_id, text=text, order_id=subject)
        for event_id, subscription in sorted(applied):
            if event_id not in real:
                yield Breach(subject=event_id, text=f"was applied by {subscription}, and never happened")

    return found(
        AREA, "nothing is told that did not happen", len(heard) + len(applied), "events and effects", breaches()
    )


def all_on_broker(evidence: Evidence) -> Finding:
    there = {each.event_id for each in evidence.on_broker or ()}
    breaches = (
        Breach(
            subject=each.event_id, text=f"{each.type} of {each.subject} never reached the broker", order_id=each.subject
        )
        for each in evidence.outbox
        if evidence.on_broker is not None and each.is_published and each.event_id not in there
    )
    return found(AREA, "what is marked as published is on the broker", len(there), "events", breaches)


def in_order(evidence: Evidence) -> Finding:
    """Copies may come late; the first of each event comes in the order of its subject."""
    streams: dict[tuple[str, str], list[int]] = defaultdict(list)
    for each in evidence.on_broker or ():
        if each.sequence not in streams[each.source, each.subject]:
            streams[each.source, each.subject].append(each.sequence)
    breaches = (
        Breach(subject=subject, text=f"{source}'s events came as {sequences}", order_id=subject)
        for (source, subject), sequences in sorted(streams.items())
        if sequences != sorted(sequences)
    )
    return found(AREA, "events of one subject are published in order", len(streams), "subjects", breaches)


def all_applied(evidence: Evidence) -> Finding:
    def due() -> Iterator[tuple[str, OutboxEvent]]:
        for subscription, types in sorted(evidence.subscriptions.items()):
            for each in evidence.outbox:
                if each.type in types:
                    yield subscription, each

    cases = list(due())
    breaches = (
        Breach(
            subject=each.event_id,
            text=f"{subscription} never applied {each.type} of {each.subject}",
            order_id=each.subject,
        )
        for subscription, each in cases
        if each.event_id not in evidence.inbox.get(subscription, {})
    )
    return found(AREA, "every subscription applied every event", len(cases), "effects", breaches)


def no_dead_letters(evidence: Evidence) -> Finding:
    breaches = (
        Breach(subject=each.event_id, text=f"{each.subscription} gave up {each.type}: {each.reason}")
        for each in evidence.dead_letters
    )
    return found(AREA, "no event is given up", len(evidence.subscriptions), "subscriptions", breaches)


def told_once(evidence: Evidence) -> Finding:
    """What others were told of an order is its history: each once, in order, and nothing else."""
    told: dict[str, list[str]] = defaultdict(list)
    for each in sorted(evidence.outbox, key=lambda each: each.sequence):
        if each.type.startswith(ORDERS):
            told[each.subject].append(each.type.removeprefix(ORDERS))

    def breaches() -> Iterator[Breach]:
        for order in evidence.orders:
            actual = tuple(told.get(order.order_id, ()))
            if not _is_history(order.state, actual):
                text = f"is {order.state}, and others were told {', '.join(actual) or 'nothing'}"
                yield Breach(subject=order.order_id, text=text, order_id=order.order_id)
        for order_id in sorted(told.keys() - {order.order_id for order in evidence.orders}):
            yield Breach(
                subject=order_id,
                text=f"isn't there, and others were told {', '.join(told[order_id])}",
                order_id=order_id,
            )

    return found(AREA, "an order's events are its history, each once", len(evidence.orders), "orders", breaches())


def followed(evidence: Evidence) -> Finding:
    """An order and its shipment say the same: what shipping told took effect."""
    shipped = {each.order_id: each.state for each in evidence.shipments if each.state != "CANCELLED"}
    meant = {"CREATED": "CONFIRMED", "IN_TRANSIT": "SHIPPED", "DELIVERED": "DELIVERED", "RETURNED": "RETURNED"}
    live = [order for order in evidence.orders if order.state in LIVE and order.order_id in shipped]
    breaches = (
        Breach(
            subject=order.order_id,
            text=f"is {order.state}, its shipment {shipped[order.order_id]}",
            order_id=order.order_id,
        )
        for order in live
        if meant[shipped[order.order_id]] != order.state
    )
    return found(AREA, "an order stands where its shipment stands", len(live), "orders", breaches)


def happened_once(evidence: Evidence) -> Finding:
    """Nothing that can happen to a subject only once was published twice."""
    counts = Counter((each.type, each.subject) for each in evidence.outbox if each.type not in REPEATABLE)
    breaches = (
        Breach(subject=subject, text=f"{kind} was published {count} times", order_id=subject)
        for (kind, subject), count in sorted(counts.items())
        if count > 1
    )
    return found(AREA, "what can happen once was published once", len(counts), "events", breaches)


REPEATABLE: Final = frozenset(
    {
        "shop.catalog.v1.ProductOffered",
        "shop.inventory.v1.AvailabilityChanged",
        "shop.inventory.v1.StockLow",
        "shop.payments.v1.PaymentRefunded",
    }
)
"""A shelf runs low again once it was filled, a payment is given back part by part, a product changes."""


def _is_history(state: str, told: tuple[str, ...]) -> bool:
    if state in {"CANCELLED", "CANCELLING"}:
        begin = ("OrderPlaced",), ("OrderPlaced", "OrderConfirmed")
        end = ("OrderCancelled",) if state == "CANCELLED" else ()
        return told in {(*each, *end) for each in begin}
    if state == "RETURNED":
        return told in {EXPECTED["RETURNED"], EXPECTED["DELIVERED"]}
    return told == EXPECTED.get(state)


RULES: Final = (
    all_published,
    none_invented,
    all_on_broker,
    in_order,
    all_applied,
    no_dead_letters,
    told_once,
    happened_once,
    followed,
)
