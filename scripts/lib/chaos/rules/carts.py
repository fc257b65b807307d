"""What is in a cart leaves it when it is bought, and not otherwise; and it costs what was said."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Final

from scripts.lib.chaos.evidence import Evidence, money
from scripts.lib.chaos.finding import Breach, Finding, found
from scripts.lib.chaos.records import Tax

__all__ = ["RULES"]

AREA: Final = "carts"
CENT: Final = 10_000_000


def taken_when_certain(evidence: Evidence) -> Finding:
    """Every unit that was put in is still there, or in an order that became certain; of what was taken out some."""
    bought: Counter[tuple[str, str]] = Counter()
    from_cart = _check_outs(evidence)
    for order in evidence.orders:
        if order.order_id in from_cart and order.was_confirmed:
            bought.update({(order.user_id, sku): units for sku, units in order.lines.items()})

    def breaches() -> Iterator[Breach]:
        for user_id, sku in sorted(evidence.added.keys() | evidence.carts.keys() | bought.keys()):
            key = (user_id, sku)
            added, left = evidence.added.get(key, 0), evidence.carts.get(key, 0)
            is_removed = key in evidence.removed
            if left + bought[key] > added or (left + bought[key] < added and not is_removed):
                removed = "some taken out, " if is_removed else ""
                text = f"put {added} of {sku} in; {bought[key]} bought by certain orders, {removed}{left} left"
                yield Breach(subject=user_id, text=text)

    return found(
        AREA,
        "what was put in is there until an order that bought it is certain",
        len(evidence.added),
        "shoppers and SKUs",
        breaches(),
    )


def cost_as_seen(evidence: Evidence) -> Finding:
    orders = {order.order_id: order for order in evidence.orders}
    from_cart = _check_outs(evidence)

    def breaches() -> Iterator[Breach]:
        for order_id, key in sorted(from_cart.items()):
            order, request = orders.get(order_id), evidence.requests[key]
            if order is not None and (order.total, dict(order.lines)) != (request.total, dict(request.lines)):
                text = (
                    f"was seen as {dict(request.lines)} for {money(request.total)}, "
                    f"and bought as {dict(order.lines)} for {money(order.total)}"
                )
                yield Breach(subject=key, text=text, order_id=order_id)

    return found(AREA, "a check-out buys what was seen, for what was seen", len(from_cart), "check-outs", breaches())


def adds_up(evidence: Evidence) -> Finding:
    """Of orders and of quotes: the total is lines and sending, and the taxes are contained in it."""
    orders = (
        (order.order_id, order.order_id, sum(order.goods.values()), order.shipping, order.total, order.taxes)
        for order in evidence.orders
    )
    quotes = (
        (f"quote {each.number}", "", each.goods, each.shipping, each.total, each.taxes) for each in evidence.quotes
    )
    cases = [*orders, *quotes]

    def breaches() -> Iterator[Breach]:
        for subject, order_id, goods, shipping, total, taxes in cases:
            wrong = list(_wrong(goods, shipping, total, taxes))
            if wrong:
                yield Breach(subject=subject, text=f"costs {money(total)}: {'; '.join(wrong)}", order_id=order_id)

    rule = "a total is lines and sending, and taxes are a part of it"
    return found(AREA, rule, len(cases), "orders and quotes", breaches())


def _wrong(goods: int, shipping: int, total: int, taxes: tuple[Tax, ...]) -> Iterator[str]:
    if goods + shipping != total:
        yield f"lines {money(goods)} and sending {money(shipping)}"
    if sum(tax.gross for tax in taxes) != total:
        yield f"taxed are {', '.join(money(tax.gross) for tax in taxes) or 'nothing'}"
    for tax in taxes:
        rate = round(float(tax.rate_percent) * 100)
        # To the cent, halves up.
        cents = (2 * tax.gross * rate + (10_000 + rate) * CENT) // (2 * (10_000 + rate) * CENT)
        if tax.tax != cents * CENT:
            yield f"{tax.rate_percent} % of {money(tax.gross)} is {money(cents * CENT)}, not {money(tax.tax)}"


def _check_outs(evidence: Evidence) -> dict[str, str]:
    """Return order -> the key of its check-out."""
    keys = {key for key, request in evidence.requests.items() if request.is_from_cart}
    return {
        each.order_id: each.key
        for each in evidence.answers
        if each.call == "place" and each.order_id and each.key in keys
    }


RULES: Final = (taken_when_certain, cost_as_seen, adds_up)
