"""Money taken is orders confirmed: by the provider's ledger, which knows nothing of ours."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from scripts.lib.chaos.evidence import LIVE, Evidence, Payment, money
from scripts.lib.chaos.finding import Breach, Finding, found

__all__ = ["RULES"]

AREA: Final = "money"


def paid_exactly(evidence: Evidence) -> Finding:
    charges = {charge.order_id: charge for charge in evidence.charges}
    orders = {order.order_id: order for order in evidence.orders}

    def breaches() -> Iterator[Breach]:
        for order_id in sorted(orders.keys() | charges.keys()):
            order, charge = orders.get(order_id), charges.get(order_id)
            taken = charge.captured - charge.refunded if charge else 0
            due = order.total if order is not None and order.state in LIVE else 0
            if taken != due:
                state = f"{order.state} {order.cancel_reason}".rstrip() if order else "not there"
                text = f"is {state}: the provider took {money(taken)} and should have taken {money(due)}"
                yield Breach(subject=order_id, text=text, order_id=order_id)

    rule = "captured less refunded is the total of a confirmed order, else nothing"
    return found(AREA, rule, len(orders), "orders", breaches())


def nothing_held(evidence: Evidence) -> Finding:
    breaches = (
        Breach(subject=charge.order_id, text=f"the provider still holds {money(charge.held)}", order_id=charge.order_id)
        for charge in evidence.charges
        if charge.held
    )
    return found(AREA, "no authorisation is left open", len(evidence.charges), "charges", breaches)


def charged_once(evidence: Evidence) -> Finding:
    totals = {order.order_id: order.total for order in evidence.orders}

    def breaches() -> Iterator[Breach]:
        for charge in evidence.charges:
            total = totals.get(charge.order_id, 0)
            if charge.authorisations > 1:
                text = f"was authorised {charge.authorisations} times"
                yield Breach(subject=charge.order_id, text=text, order_id=charge.order_id)
            if charge.captured > total:
                text = f"costs {money(total)}, and {money(charge.captured)} was captured"
                yield Breach(subject=charge.order_id, text=text, order_id=charge.order_id)

    return found(AREA, "an order is authorised and captured at most once", len(evidence.charges), "charges", breaches())


def books_agree(evidence: Evidence) -> Finding:
    charges = {charge.order_id: charge for charge in evidence.charges}
    payments = {payment.order_id: payment for payment in evidence.payments}

    def breaches() -> Iterator[Breach]:
        for order_id in sorted(charges.keys() | payments.keys()):
            payment, charge = payments.get(order_id), charges.get(order_id)
            captured, refunded = (charge.captured, charge.refunded) if charge else (0, 0)
            ours = _booked(payment)
            if ours != (captured, refunded):
                said = f"{payment.state}: {money(ours[0])} taken, {money(ours[1])} given back" if payment else "nothing"
                text = f"payments says {said}; the provider {money(captured)} and {money(refunded)}"
                yield Breach(subject=order_id, text=text, order_id=order_id)

    return found(
        AREA,
        "payments and the provider keep the same books",
        len(charges.keys() | payments.keys()),
        "payments",
        breaches(),
    )


def settled(evidence: Evidence) -> Finding:
    breaches = (
        Breach(subject=payment.order_id, text=f"its payment is still {payment.state}", order_id=payment.order_id)
        for payment in evidence.payments
        if payment.state in {"AUTHORIZING", "AUTHORIZED"}
    )
    return found(AREA, "every payment is settled", len(evidence.payments), "payments", breaches)


def cards_forgotten(evidence: Evidence) -> Finding:
    breaches = (
        Breach(subject=order_id, text="what it was to be paid with is still stored", order_id=order_id)
        for order_id in sorted(evidence.cards_kept)
    )
    return found(AREA, "no payment method is kept", len(evidence.orders), "orders", breaches)


def _booked(payment: Payment | None) -> tuple[int, int]:
    """Return what was taken and given back in all, as payments has it."""
    if payment is None or payment.state not in {"CAPTURED", "REFUNDED"}:
        return 0, 0
    return payment.amount, payment.refunded


RULES: Final = (paid_exactly, nothing_held, charged_once, books_agree, settled, cards_forgotten)
