"""Carts: what somebody means to buy, what it costs now, and what has changed since they saw it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from services.orders.pricing import Wanted, priced, sum_of
from services.orders.refusals import CartFull, CurrenciesDiffer
from weft.errors import Violation

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from uuid import UUID

    from services.orders.events import Line
    from services.orders.money import Money
    from services.orders.pricing import Offer

__all__ = ["KEPT", "MOST_PRODUCTS", "MOST_UNITS", "Cart", "PricedCart", "Seen", "differences", "price"]

MOST_PRODUCTS: Final = 100
MOST_UNITS: Final = 999
"""Of one product."""
KEPT: Final = timedelta(days=183)
"""After a cart's last change."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cart:
    """What somebody means to buy."""

    items: tuple[Wanted, ...] = ()
    """In the order in which they were put in; each product once."""
    order_id: UUID | None = None
    """The order that it was last bought by, unless that has become certain."""
    update_time: datetime | None = None
    """None where it never was changed."""

    @property
    def product_ids(self) -> tuple[UUID, ...]:
        return tuple(item.product_id for item in self.items)

    def quantity_of(self, product_id: UUID) -> int:
        return next((item.quantity for item in self.items if item.product_id == product_id), 0)

    def with_quantity(self, product_id: UUID, quantity: int) -> Cart:
        """Return the cart with *quantity* units of a product, which 0 takes out.

        Raises:
            CartFull: that are too many, or too many products.
        """
        if quantity > MOST_UNITS:
            raise CartFull(f"a cart holds {MOST_UNITS} units of a product at most", limit=MOST_UNITS)
        item = Wanted(product_id=product_id, quantity=quantity)
        if self.quantity_of(product_id):
            items = tuple(item if each.product_id == product_id else each for each in self.items)
        else:
            items = (*self.items, item)
        items = tuple(each for each in items if each.quantity)
        if len(items) > MOST_PRODUCTS:
            raise CartFull(f"a cart holds {MOST_PRODUCTS} products at most", limit=MOST_PRODUCTS)
        return replace(self, items=items)


@dataclass(frozen=True, slots=True, kw_only=True)
class PricedCart:
    """A cart, as its shopper sees it."""

    lines: tuple[Line, ...]
    """What can be bought of it."""
    subtotal: Money | None
    """Of the lines; None without any, and where their currencies differ."""
    unavailable: tuple[UUID, ...]
    """Products that are off sale."""
    sold_out: tuple[UUID, ...]
    """Of the lines' products, those that are sold out as far as the catalog knows."""
    update_time: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What a shopper who checks out saw of the cart, line by line, and of what is to be paid."""

    unit_prices: tuple[Money, ...]
    total: Money


def price(cart: Cart, offers: Mapping[UUID, Offer]) -> PricedCart:
    """Return what is in a cart, at the prices of *offers*."""
    lines = priced([item for item in cart.items if item.product_id in offers], offers)
    try:
        subtotal = sum_of(lines) if lines else None
    except CurrenciesDiffer:  # no reason not to show them
        subtotal = None
    return PricedCart(
        lines=lines,
        subtotal=subtotal,
        unavailable=tuple(each for each in cart.product_ids if each not in offers),
        sold_out=tuple(line.product_id for line in lines if offers[line.product_id].is_sold_out),
        update_time=cart.update_time,
    )


def differences(
    wanted: tuple[Wanted, ...], seen: Seen, cart: Cart, offers: Mapping[UUID, Offer], total: Money | None
) -> Iterator[Violation]:
    """Yield what is another now than a shopper saw it, in terms of their request.

    What went off sale and isn't among what they saw is no difference: they aren't shown it, and it stays in the cart.

    Args:
        wanted: What they saw in the cart, each product once.
        seen: What it was to cost.
        cart: As it is now.
        offers: Of what is in it.
        total: What *wanted* would cost now; None where not all of it can be had.
    """
    for index, (item, unit_price) in enumerate(zip(wanted, seen.unit_prices, strict=True)):
        field, quantity = f"expectedLines[{index}]", cart.quantity_of(item.product_id)
        offer = offers.get(item.product_id)
        if not quantity:
            yield Violation(f"{field}.productId", "is not in the cart")
        elif offer is None:
            yield Violation(f"{field}.productId", "is off sale")
        else:
            if quantity != item.quantity:
                yield Violation(f"{field}.quantity", f"is {quantity} in the cart")
            if offer.is_sold_out:
                yield Violation(f"{field}.quantity", "is more than there is: it is sold out")
            if offer.unit_price != unit_price:
                yield Violation(f"{field}.unitPrice", f"is {offer.unit_price} now")
    expected = {item.product_id for item in wanted}
    for product_id in cart.product_ids:
        if product_id in offers and product_id not in expected:
            yield Violation("expectedLines", f"lacks product {product_id}, which is in the cart")
    if total is not None and total != seen.total:
        yield Violation("expectedTotal", f"is {total} now")
