"""Money that was taken has an invoice, money that was given back a credit note, and no number is missing."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from itertools import pairwise
from typing import Final

from scripts.lib.chaos.evidence import Evidence, money
from scripts.lib.chaos.finding import Breach, Finding, found
from scripts.lib.chaos.records import Invoice

__all__ = ["RULES"]

AREA: Final = "invoices"
INVOICE: Final = "invoice"
CREDIT_NOTE: Final = "credit_note"
TAKEN: Final = frozenset({"CAPTURED", "REFUNDED"})


def one_each(evidence: Evidence) -> Finding:
    due = {payment.order_id: payment.amount for payment in evidence.payments if payment.state in TAKEN}
    issued: dict[str, list[int]] = defaultdict(list)
    for each in evidence.invoices:
        if each.kind == INVOICE:
            issued[each.order_id].append(each.total)

    def breaches() -> Iterator[Breach]:
        for order_id in sorted(due.keys() | issued.keys()):
            wanted = [due[order_id]] if order_id in due else []
            if (actual := issued.get(order_id, [])) != wanted:
                text = f"was captured for {_listed(wanted)}, and has invoices for {_listed(actual)}"
                yield Breach(subject=order_id, text=text, order_id=order_id)

    return found(AREA, "one invoice for each captured payment, on its amount", len(due), "payments", breaches())


def refunds_credited(evidence: Evidence) -> Finding:
    done = [each for each in evidence.refunds if each.state == "DONE"]
    invoices = {each.order_id: (each.year, each.ordinal) for each in evidence.invoices if each.kind == INVOICE}
    notes = [each for each in evidence.invoices if each.kind == CREDIT_NOTE]

    def breaches() -> Iterator[Breach]:
        for order_id in sorted({each.order_id for each in done} | {each.order_id for each in notes}):
            wanted = sorted(each.amount for each in done if each.order_id == order_id)
            actual = sorted(each.total for each in notes if each.order_id == order_id)
            if wanted != actual:
                text = f"was given back {_listed(wanted)}, and has credit notes for {_listed(actual)}"
                yield Breach(subject=order_id, text=text, order_id=order_id)
        for note in notes:
            if note.corrects is None or note.corrects != invoices.get(note.order_id):
                text = f"corrects {note.corrects}, and its order's invoice is {invoices.get(note.order_id)}"
                yield Breach(subject=note.number, text=text, order_id=note.order_id)

    return found(AREA, "one credit note for each refund, on its amount", len(done), "refunds", breaches())


def numbered(evidence: Evidence) -> Finding:
    years: dict[int, list[Invoice]] = defaultdict(list)
    for each in sorted(evidence.invoices, key=lambda each: each.ordinal):
        years[each.year].append(each)

    def breaches() -> Iterator[Breach]:
        for year, issued in sorted(years.items()):
            ordinals = Counter(each.ordinal for each in issued)
            for ordinal in range(1, max(ordinals) + 1):
                if ordinals[ordinal] != 1:
                    yield Breach(subject=f"{year:04d}-{ordinal:06d}", text=f"was issued {ordinals[ordinal]} times")
            for before, after in pairwise(issued):
                if after.issued_s < before.issued_s:
                    text = f"was issued {before.issued_s - after.issued_s:.3f} s before {before.number}"
                    yield Breach(subject=after.number, text=text, order_id=after.order_id)

    return found(
        AREA, "numbers of a year go from 1 on, each once, in order", len(evidence.invoices), "numbers", breaches()
    )


def summed_up(evidence: Evidence) -> Finding:
    orders = {order.order_id: order for order in evidence.orders}

    def breaches() -> Iterator[Breach]:
        for each in evidence.invoices:
            wrong: list[str] = []
            if each.sums != each.total:
                wrong.append(f"its lines and sending sum to {money(each.sums)}")
            gross = sum(tax.gross for tax in each.taxes)
            if gross != each.total:
                wrong.append(f"its taxes are contained in {money(gross)}")
            order = orders.get(each.order_id)
            if each.kind == INVOICE and order is not None:
                if (each.total, each.taxes) != (order.total, order.taxes):
                    wrong.append(f"its order's total is {money(order.total)} with {_taxes(order.taxes)}")
                if dict(each.lines) != dict(order.lines):
                    wrong.append(f"its lines are {dict(each.lines)}, its order's {dict(order.lines)}")
            if wrong:
                text = f"{each.kind} on {money(each.total)} with {_taxes(each.taxes)}: {'; '.join(wrong)}"
                yield Breach(subject=each.number, text=text, order_id=each.order_id)

    rule = "an invoice is its order's lines, sending and taxes, to the cent"
    return found(AREA, rule, len(evidence.invoices), "invoices", breaches())


def _taxes(taxes: object) -> str:
    return f"{taxes}" if taxes else "no taxes"


def _listed(amounts: list[int]) -> str:
    return ", ".join(map(money, amounts)) or "nothing"


RULES: Final = (one_each, refunds_credited, numbered, summed_up)
