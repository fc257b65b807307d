"""What happened, and how it is told."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, fields
from datetime import datetime
from decimal import Decimal
from itertools import groupby
from typing import TYPE_CHECKING, Any, Final

from services.currencies import digits_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

__all__ = ["Bought", "Chapter", "Reports", "Returned", "Story", "as_json", "money", "tell"]

Said = dict[str, Any]
"""What REST said of one thing, word for word."""

Chapter = tuple[str, list[tuple[str, str]]]
"""A heading, and rows of two columns."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bought:
    """An order that arrived, and what became of it at each service."""

    seen: Said
    """What all of it would have cost when the shopper first looked: money."""
    differences: Sequence[Said]
    """What the check-out said had changed since: `field` and `description`."""
    order: Said
    timeline: Sequence[Said]
    """`state` and `time` as the order's stream told them, the first when it was placed."""
    payment: Said
    shipment: Said
    invoice: Said
    files: Sequence[str]
    """The invoice as JSON and as PDF, where they were saved."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Returned:
    """An order whose money was given back."""

    order: Said
    payment: Said
    credit_note: Said


@dataclass(frozen=True, slots=True, kw_only=True)
class Reports:
    """What the owner reads in the evening."""

    from_date: str
    to_date: str
    sales: Said
    """By product, with `lines` of what this story sold only, and the `total` of all."""
    best_sellers: Sequence[Said]
    conversion: Said


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """All of it; every id in it can be looked up."""

    shopper: Said
    products: Sequence[Said]
    """As catalog had them in the end."""
    search: Said
    """What was searched for, `query`; how many products that found, `totalSize`; how much of what the shopper did was
    recorded, `recorded`."""
    stock: Sequence[Said]
    """As inventory had it in the end, in the order of `products`."""
    bought: Bought
    returned: Returned
    notifications: Sequence[Said]
    """To the shopper and to the owner, oldest first."""
    mails: Sequence[Said]
    """Those of them that are in `mail_folder`."""
    mail_folder: str
    reports: Reports


def as_json(part: Story | Bought | Returned | Reports) -> Said:
    """Return *part* with names as REST has them."""
    values = ((field.name, getattr(part, field.name)) for field in fields(part))
    return {
        _camel(name): as_json(value) if isinstance(value, Bought | Returned | Reports) else value
        for name, value in values
    }


def tell(story: Story) -> list[Chapter]:
    """Return *story* in chapters that fit on one screen."""
    return [
        _purchase(story.bought),
        _work(story),
        _given_back(story.returned),
        _mails(story),
        _evening(story.reports),
    ]


def money(said: Mapping[str, Any]) -> str:
    """Return money as REST has it as `93.90 EUR`."""
    amount = int(said["units"]) + Decimal(said["nanos"]).scaleb(-9)
    return f"{amount:.{digits_of(said['currencyCode'])}f} {said['currencyCode']}"


def _purchase(bought: Bought) -> Chapter:
    order, json_file, pdf_file = bought.order, *bought.files
    taxes = [f"{money(tax['tax'])} of {tax['ratePercent']} % tax" for tax in order["taxes"]]
    changes = [f"{each['field']} {each['description']}" for each in bought.differences]
    costs = [(f"{line['quantity']} x {line['sku']}", line["total"], line["name"]) for line in order["lines"]]
    costs.append(("shipping", order["shipping"], f"to {order['destination']['city']}"))
    costs.append(("total", order["total"], f"with {' and '.join(taxes)}" if taxes else ""))
    width = max(len(money(amount)) for _, amount, _ in costs)
    return f"Bought: order {order['orderId']}", [
        *((name, f"{money(amount):>{width}}  {words}") for name, amount, words in costs),
        *_named("changed meanwhile", [f"{money(bought.seen)} was the first quote", *changes]),
        (f"invoice {bought.invoice['invoiceNumber']}", json_file),
        ("", pdf_file),
    ]


def _work(story: Story) -> Chapter:
    bought, returned, shopper = story.bought, story.returned, story.shopper
    products = [f"{each['productId']}  {each['sku']}, {_AVAILABILITY[each['availability']]}" for each in story.products]
    stock = [f"{each['sku']}: {each['sold']} sold, {each['onHand']} on hand" for each in story.stock]
    payments = [
        f"{bought.payment['paymentId']}  took {money(bought.payment['amount'])}",
        f"{returned.payment['paymentId']}  gave {money(returned.payment['refunded'])} back",
    ]
    sent = Counter(each["language"] for each in story.notifications)
    languages = ", ".join(f"{count} in {language}" for language, count in sent.items())
    return "What each service did", [
        ("users", f"{shopper['userId']}  {shopper['email']}, reads {shopper['preferences']['language']}"),
        *_named("catalog", products),
        ("orders", _times(bought)),
        *_named("inventory", stock),
        *_named("payments", payments),
        ("shipping", f"{bought.shipment['shipmentId']}  parcel {bought.shipment['trackingNumber']}"),
        ("notifications", f"{len(story.notifications)} sent, {languages}"),
        ("analytics", f"{story.search['recorded']} things recorded that the shopper did"),
    ]


def _given_back(returned: Returned) -> Chapter:
    order, note = returned.order, returned.credit_note
    is_off = order["state"] == "STATE_CANCELLED"
    how = (
        "called off by the shopper"
        if is_off
        else "the parcel had left when the shopper called it off, so the owner refunded it"
    )
    return f"Given back: order {order['orderId']}", [
        ("why", how),
        (f"credit note {note['invoiceNumber']}", f"{money(note['total'])}, corrects {note['corrects']}"),
    ]


def _mails(story: Story) -> Chapter:
    if not story.mails:
        return "Mails", [("elsewhere", f"none of them is in {story.mail_folder}")]
    rows: list[tuple[str, str]] = []
    for to, mails in groupby(story.mails, lambda mail: mail["to"]):
        rows += _named(to, [mail["subject"] for mail in mails])
    return f"Mails in {story.mail_folder}", rows


def _evening(reports: Reports) -> Chapter:
    total, conversion = reports.sales["total"], reports.conversion
    days = reports.from_date if reports.from_date == reports.to_date else f"{reports.from_date} to {reports.to_date}"
    sold = [f"{line['units']} x {line['key']}, {money(line['revenue'])}" for line in reports.sales["lines"]]
    sales = f"{total['orders']} orders, {money(total['revenue'])}; {money(total['refunded'])} given back"
    visits = f"{conversion['viewers']} looked, {conversion['carts']} filled a cart, {conversion['buyers']} bought"
    return f"The owner's reports of {days}", [
        ("sales", sales),
        *_named("of these", sold),
        *_named("best sellers", [f"{line['units']} x {line['key']}  {line['name']}" for line in reports.best_sellers]),
        ("conversion", visits),
    ]


def _named(name: str, values: Iterable[str]) -> list[tuple[str, str]]:
    """Return a row for each of *values*, the first with *name*."""
    return [("" if index else name, value) for index, value in enumerate(values)]


def _times(bought: Bought) -> str:
    placed = datetime.fromisoformat(bought.order["createTime"])
    states = [
        (each["state"].removeprefix("STATE_").lower(), datetime.fromisoformat(each["time"]) - placed)
        for each in bought.timeline
    ]
    return ", ".join(f"{state} after {after.total_seconds():.2f} s" for state, after in states)


def _camel(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(other.capitalize() for other in others)


_AVAILABILITY: Final = {
    "AVAILABILITY_UNSPECIFIED": "nobody knows how many are left",
    "AVAILABILITY_IN_STOCK": "in stock",
    "AVAILABILITY_LOW": "few are left",
    "AVAILABILITY_OUT": "sold out",
}
