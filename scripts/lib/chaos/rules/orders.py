"""Orders end, and shoppers were told the truth about them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from itertools import pairwise
from typing import Final

from scripts.lib.chaos.evidence import LIVE, Answer, Evidence
from scripts.lib.chaos.finding import Breach, Finding, found

__all__ = ["RULES"]

AREA: Final = "orders"
UNDECIDED: Final = frozenset({"PENDING", "CANCELLING"})
BY_USER: Final = "CANCELLED_BY_USER"
DECLINED_CARD: Final = "pm_test_declined"
CAUSES: Final = frozenset(
    {"CANCELLED_BY_USER", "INSUFFICIENT_STOCK", "PAYMENT_DECLINED", "PEER_UNAVAILABLE", "RESERVATION_EXPIRED"}
)
"""Reasons that a shopper here may be given; every other one is not so."""
CART_CAUSES: Final = CAUSES | {"CART_CHANGED", "CART_EMPTY"}
"""The same for a check-out: another may have bought what is in the cart, or may be about to."""
MEANS: Final = {
    "placed": "PENDING",
    "confirmed": "CONFIRMED",
    "cancellation_requested": "CANCELLING",
    "cancelled": "CANCELLED",
    "shipped": "SHIPPED",
    "delivered": "DELIVERED",
    "returned": "RETURNED",
}
"""Event of a history -> where its order stands after it."""
LATER: Final = {
    "PENDING": 0,
    "CONFIRMED": 1,
    "CANCELLING": 1,  # and back, where the parcel had left
    "SHIPPED": 2,
    "DELIVERED": 3,
    "RETURNED": 4,
    "CANCELLED": 5,
}
"""An order never goes to a lower number; not every step up is one it can take."""


def decided(evidence: Evidence) -> Finding:
    breaches = (
        Breach(subject=order.order_id, text=f"is still {order.state}", order_id=order.order_id)
        for order in evidence.orders
        if order.state in UNDECIDED
    )
    return found(AREA, "no order stays PENDING or CANCELLING", len(evidence.orders), "orders", breaches)


def confirmed_as_told(evidence: Evidence) -> Finding:
    orders = {order.order_id: order for order in evidence.orders}
    told = {answer.order_id for answer in evidence.answers if answer.state in LIVE}

    def breaches() -> Iterator[Breach]:
        for order_id in sorted(told):
            order = orders.get(order_id)
            if order is None:
                yield Breach(subject=order_id, text="was told to be certain, and isn't there", order_id=order_id)
            elif order.state not in LIVE and not (
                order_id in evidence.cancels and order.cancel_reason in {"", BY_USER}
            ):
                text = f"was told to be certain, and is {order.state} {order.cancel_reason}".rstrip()
                yield Breach(subject=order_id, text=text, order_id=order_id)

    return found(
        AREA, "an order told CONFIRMED stands, unless its shopper cancelled it", len(told), "orders", breaches()
    )


def refused_as_told(evidence: Evidence) -> Finding:
    orders = {order.order_id: order for order in evidence.orders}
    told = sorted(
        {(answer.order_id, answer.reason) for answer in evidence.answers if answer.reason and answer.order_id}
    )

    def breaches() -> Iterator[Breach]:
        for order_id, reason in told:
            order = orders.get(order_id)
            actual = f"{order.state} {order.cancel_reason}".rstrip() if order else "not there"
            if actual != f"CANCELLED {reason}":
                text = f"was told to be off for {reason}, and is {actual}"
                yield Breach(subject=order_id, text=text, order_id=order_id)

    return found(AREA, "an order told to be off is CANCELLED for the reason told", len(told), "orders", breaches())


def one_order_per_key(evidence: Evidence) -> Finding:
    """A key whose order was refused may be tried again, which is another order; one that can be had is the last."""
    named: dict[str, set[str]] = defaultdict(set)
    for answer in evidence.answers:
        if answer.call == "place" and answer.order_id:
            named[answer.key].add(answer.order_id)
    known = {order_id for ids in named.values() for order_id in ids}
    shoppers = {request.user_id for request in evidence.requests.values()}
    certain = {order.order_id for order in evidence.orders if order.was_confirmed or order.state in LIVE}

    def breaches() -> Iterator[Breach]:
        for key, ids in sorted(named.items()):
            if len(ids & certain) > 1:
                text = f"got {len(ids & certain)} orders: {', '.join(sorted(ids & certain))}"
                yield Breach(subject=key, text=text, order_id=min(ids & certain))
        for order in evidence.orders:
            if order.user_id in shoppers and order.order_id in certain - known:
                text = f"is an order of {order.user_id} that answers none of their keys"
                yield Breach(subject=order.order_id, text=text, order_id=order.order_id)

    return found(
        AREA, "at most one order per idempotency key, and none besides", len(evidence.requests), "keys", breaches()
    )


def equal_answers(evidence: Evidence) -> Finding:
    """Whoever was told that an order is certain is told of the same order whenever they ask again."""
    by_key: dict[str, list[Answer]] = defaultdict(list)
    for answer in evidence.answers:
        if answer.call == "place":
            by_key[answer.key].append(answer)
    repeated = {key: answers for key, answers in by_key.items() if len(answers) > 1}

    def breaches() -> Iterator[Breach]:
        for key, answers in sorted(repeated.items()):
            first = min((each for each in answers if each.state in LIVE), key=lambda each: each.at_s, default=None)
            if first is None:
                continue
            for each in answers:
                is_false = each.order_id != first.order_id and (each.state in LIVE or each.asked_s >= first.at_s)
                is_false |= each.asked_s >= first.at_s and each.reason not in {"", BY_USER}
                if is_false:
                    said = each.reason or each.state
                    text = f"was told {first.order_id} {first.state}, and asking again {each.order_id} {said}"
                    yield Breach(subject=key, text=text, order_id=first.order_id)

    return found(AREA, "equal answers for equal keys", len(repeated), "repeated keys", breaches())


def refused_with_cause(evidence: Evidence) -> Finding:
    """A card that is declined buys nothing; who is told that theirs was, or that there's no stock, can see why."""
    refused = {answer.key: answer for answer in evidence.answers if answer.key in evidence.requests and answer.reason}
    orders = {order.order_id: order for order in evidence.orders}
    bought = {answer.key: answer.order_id for answer in evidence.answers if answer.call == "place" and answer.order_id}

    def breaches() -> Iterator[Breach]:
        for key, request in sorted(evidence.requests.items()):
            order, answer = orders.get(bought.get(key, "")), refused.get(key)
            reason = answer.reason if answer else ""
            is_declined = request.payment_method == DECLINED_CARD
            order_id = order.order_id if order else ""
            if is_declined and order is not None and order.state in LIVE:
                yield Breach(subject=key, text=f"was bought with {DECLINED_CARD}", order_id=order_id)
            if reason == "PAYMENT_DECLINED" and not is_declined:
                yield Breach(
                    subject=key, text=f"was refused as declined, with {request.payment_method}", order_id=order_id
                )
            if reason == "INSUFFICIENT_STOCK" and not request.lines.keys() & evidence.scarce:
                yield Breach(
                    subject=key, text=f"was refused for stock of {', '.join(request.lines)}", order_id=order_id
                )
            if reason and reason not in (CART_CAUSES if request.is_from_cart else CAUSES):
                yield Breach(subject=key, text=f"was refused as {reason}, which isn't so", order_id=order_id)

    return found(
        AREA,
        "no refusal without its cause, and no purchase with a declined card",
        len(evidence.requests),
        "keys",
        breaches(),
    )


def only_forward(evidence: Evidence) -> Finding:
    """Reads only: a repeated request is answered as it was the first time, however long ago."""
    seen: dict[tuple[str, int], list[Answer]] = defaultdict(list)
    for answer in evidence.answers:
        if answer.call == "watch" and answer.state:
            seen[answer.order_id, answer.stream].append(answer)

    def breaches() -> Iterator[Breach]:
        for (order_id, _), answers in seen.items():
            states = [answer.state for answer in answers]
            if any(LATER[after] < LATER[before] for before, after in pairwise(states)):
                yield Breach(subject=order_id, text=f"was watched going back: {' '.join(states)}", order_id=order_id)

    return found(AREA, "an order never goes back", len(seen), "watched streams", breaches())


def made_of_its_history(evidence: Evidence) -> Finding:
    def breaches() -> Iterator[Breach]:
        for order in evidence.orders:
            state = ""
            for event in order.history:
                state = (
                    "CONFIRMED"
                    if event == "cancellation_refused" and state == "CANCELLING"
                    else MEANS.get(event, state)
                )
            if state != order.state:
                text = f"is read as {order.state}, and its history is {' '.join(order.history) or 'empty'}"
                yield Breach(subject=order.order_id, text=text, order_id=order.order_id)

    return found(AREA, "an order is what its history says", len(evidence.orders), "orders", breaches())


RULES: Final = (
    decided,
    made_of_its_history,
    confirmed_as_told,
    refused_as_told,
    refused_with_cause,
    one_order_per_key,
    equal_answers,
    only_forward,
)
