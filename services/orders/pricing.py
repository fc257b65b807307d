"""What an order comes to: what is wanted, at what it costs at this moment."""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING

from services.orders.events import Line, Tax
from services.orders.money import Money
from services.orders.refusals import DuplicateProducts, ProductNotFound
from services.orders.taxes import Taxed, taxes
from weft.errors import Violation

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from uuid import UUID

__all__ = ["Offer", "Terms", "Wanted", "priced", "require_distinct", "sum_of", "terms"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """How many of which product somebody asks for."""

    product_id: UUID
    quantity: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """A product as the catalog has it at this moment."""

    sku: str
    name: str
    unit_price: Money
    category: str
    is_sold_out: bool = False
    """As far as the catalog knows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What is bought, and what all of it costs."""

    lines: tuple[Line, ...]
    """At least one."""
    shipping: Money
    taxes: tuple[Tax, ...]
    """Contained in the prices of lines and shipping."""

    @property
    def total(self) -> Money:
        return sum_of(self.lines).plus(self.shipping)


def require_distinct(lines: Sequence[Wanted], field: str) -> None:
    """Raise DuplicateProducts if a product stands in more than one of *lines*, a request's *field*."""
    places: dict[UUID, int] = {}
    violations = [
        Violation(f"{field}[{index}].productId", f"is the product of {field}[{places[line.product_id]}] too")
        for index, line in enumerate(lines)
        if places.setdefault(line.product_id, index) != index
    ]
    if violations:
        raise DuplicateProducts("each product may stand in one line only", violations=violations)


def priced(lines: Sequence[Wanted], offers: Mapping[UUID, Offer]) -> tuple[Line, ...]:
    """Return *lines* at the prices of *offers*. Raises ProductNotFound: for some lines there is no offer."""
    missing = [index for index, line in enumerate(lines) if line.product_id not in offers]
    if missing:
        names = [f"lines[{index}]" for index in missing]
        raise ProductNotFound(
            f"no product on sale for {', '.join(names)}",
            violations=[Violation(f"{name}.productId", "is no product on sale") for name in names],
            lines=",".join(map(str, missing)),
            product_ids=",".join(str(lines[index].product_id) for index in missing),
        )
    return tuple(_line(line, offers[line.product_id]) for line in lines)


def terms(lines: Sequence[Wanted], offers: Mapping[UUID, Offer], shipping: Money, country_code: str) -> Terms:
    """Return what *lines*, at least one, come to when they are sent to a country for *shipping*.

    Raises:
        ProductNotFound: for some lines there is no offer.
        CurrenciesDiffer: what they cost has no sum.
    """
    bought = priced(lines, offers)
    sum_of(bought).plus(shipping)
    goods = [Taxed(offers[line.product_id].category, line.total) for line in bought]
    return Terms(lines=bought, shipping=shipping, taxes=taxes(goods, shipping, country_code))


def sum_of(lines: Sequence[Line]) -> Money:
    """Return what *lines*, at least one, cost. Raises CurrenciesDiffer."""
    return reduce(Money.plus, (line.total for line in lines))


def _line(wanted: Wanted, offer: Offer) -> Line:
    return Line(
        product_id=wanted.product_id,
        sku=offer.sku,
        name=offer.name,
        unit_price=offer.unit_price,
        quantity=wanted.quantity,
    )
