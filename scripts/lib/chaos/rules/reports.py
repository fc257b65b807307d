"""What the reports say is what orders and payments say, to the cent, and is the same when it is derived anew."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Final

from scripts.lib.chaos.evidence import Evidence, Order, money
from scripts.lib.chaos.finding import Breach, Finding, found
from scripts.lib.chaos.records import Period, Sold

__all__ = ["RULES"]

AREA: Final = "reports"
PERIODS: Final = ("slot", "day", "month", "year")
"""Kinds of periods; those of each kind sum to the same."""
TAKEN: Final = frozenset({"CAPTURED", "REFUNDED"})


def as_booked(evidence: Evidence) -> Finding:
    confirmed = _confirmed(evidence)
    due = Period(
        orders=len(confirmed),
        units=sum(sum(order.lines.values()) for order in confirmed),
        revenue=sum(sum(order.goods.values()) for order in confirmed),
        captured=sum(payment.amount for payment in evidence.payments if payment.state in TAKEN),
        refunded=sum(payment.refunded for payment in evidence.payments if payment.state in TAKEN),
    )

    def breaches() -> Iterator[Breach]:
        for period in PERIODS if confirmed else ():
            actual = evidence.reports.sales.get(period)
            if actual != due:
                yield Breach(subject=period, text=f"reports say {_words(actual)}; orders and payments {_words(due)}")

    rule = "orders, units, revenue, takings and refunds are those of the books"
    return found(AREA, rule, len(confirmed), "orders", breaches())


def by_product(evidence: Evidence) -> Finding:
    orders: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for order in _confirmed(evidence):
        for sku, units in order.lines.items():
            orders[sku].append((units, order.goods[sku]))
    due = {
        (period, sku): Sold(
            orders=len(sold), units=sum(each[0] for each in sold), revenue=sum(each[1] for each in sold)
        )
        for sku, sold in orders.items()
        for period in PERIODS
    }

    def breaches() -> Iterator[Breach]:
        for period, sku in sorted(due.keys() | evidence.reports.by_sku.keys()):
            wanted, actual = due.get((period, sku)), evidence.reports.by_sku.get((period, sku))
            if wanted != actual:
                yield Breach(subject=sku, text=f"by {period}, reports say {_sold(actual)}; orders {_sold(wanted)}")

    return found(
        AREA, "what was sold of each product is what orders hold", len(due), "products and periods", breaches()
    )


def by_category(evidence: Evidence) -> Finding:
    """Orders don't sum to those of all, since one may be in two categories; units and revenue do."""
    sums: dict[str, tuple[int, int]] = {}
    for (period, _), sold in evidence.reports.by_category.items():
        units, revenue = sums.get(period, (0, 0))
        sums[period] = units + sold.units, revenue + sold.revenue
    breaches = (
        Breach(subject=period, text=f"categories sum to {sums.get(period, (0, 0))}, all sales are {_words(all_of_it)}")
        for period, all_of_it in sorted(evidence.reports.sales.items())
        if sums.get(period, (0, 0)) != (all_of_it.units, all_of_it.revenue)
    )
    return found(AREA, "categories sum to all sales", len(evidence.reports.by_category), "categories", breaches)


def rebuilt_alike(evidence: Evidence) -> Finding:
    before, after = evidence.reports.rows, evidence.rebuilt.rows

    def breaches() -> Iterator[Breach]:
        for table in sorted(before.keys() | after.keys()):
            gone = before.get(table, frozenset()) - after.get(table, frozenset())
            new = after.get(table, frozenset()) - before.get(table, frozenset())
            if gone or new:
                example = f"{min(gone, default='nothing')} became {min(new, default='nothing')}"
                yield Breach(subject=table, text=f"{len(gone)} rows are gone and {len(new)} new, as {example}")

    count = sum(map(len, before.values()))
    return found(AREA, "`weft rebuild analytics` changes nothing", count, "rows", breaches())


def _confirmed(evidence: Evidence) -> list[Order]:
    """Return what reports count: orders that were ever certain. What became of one afterwards is in the refunds."""
    return [order for order in evidence.orders if order.was_confirmed]


def _words(period: Period | None) -> str:
    if period is None:
        return "nothing"
    sums = {"revenue": period.revenue, "captured": period.captured, "refunded": period.refunded}
    return f"{period.orders} orders, {period.units} units{_sums(sums)}"


def _sums(sums: Mapping[str, int]) -> str:
    return "".join(f", {money(value)} {name}" for name, value in sums.items())


def _sold(sold: Sold | None) -> str:
    return f"{sold.orders} orders, {sold.units} units, {money(sold.revenue)}" if sold else "nothing"


RULES: Final = (as_booked, by_product, by_category, rebuilt_alike)
