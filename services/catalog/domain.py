"""Products, their prices, and the lists they appear in."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from weft.errors import AlreadyExists, InvalidArgument, NotFound, Violation

if TYPE_CHECKING:
    from collections.abc import Mapping
    from uuid import UUID

__all__ = [
    "CHANGEABLE",
    "Amount",
    "Availability",
    "CurrencyNotSupported",
    "Image",
    "InvalidFields",
    "Listing",
    "Money",
    "OrderKey",
    "Product",
    "ProductNotFound",
    "SkuTaken",
    "require_currency",
]

NANOS: Final = 1_000_000_000
_NANO_DIGITS: Final = 9

CHANGEABLE: Final[Mapping[str, tuple[str, ...]]] = {
    name: (name,) for name in ("name", "description", "category", "price", "images", "tags")
}
"""Path in an update mask -> fields of `Product` it stands for."""

_NEVER_EMPTY: Final = ("name", "category", "price")


class ProductNotFound(NotFound):
    """No product on sale has this id."""

    def __init__(self, product_id: object) -> None:
        super().__init__(f"no product {product_id}", product_id=product_id)


class SkuTaken(AlreadyExists):
    """A product, perhaps one that is off sale, has this SKU: orders name products by it for ever."""

    def __init__(self, sku: str) -> None:
        super().__init__(f"a product with SKU {sku} exists", sku=sku)


class CurrencyNotSupported(InvalidArgument):
    """All prices of a shop are in one currency, or they could not be compared."""

    def __init__(self, supported: str) -> None:
        violation = Violation("product.price.currencyCode", f"must be {supported}")
        super().__init__(f"prices here are in {supported}", violations=[violation], supported=supported)


class InvalidFields(InvalidArgument):
    """A product can't have these values; `violations` lists them all."""


class Availability(StrEnum):
    """Whether a product can be had, as inventory last said."""

    IN_STOCK = "in_stock"
    LOW = "low"
    OUT = "out"


class Amount(NamedTuple):
    """A sum that is not negative: whole units and nano units in [0, 999,999,999]. Compares as a number does."""

    units: int
    nanos: int

    @classmethod
    def parse(cls, text: str) -> Amount:
        """Read a decimal, `10.50`, of at most nine decimal places. Raises ValueError."""
        units, _, fraction = text.partition(".")
        if len(fraction) > _NANO_DIGITS:
            raise ValueError("too many decimal places")
        return cls(int(units), int(fraction.ljust(_NANO_DIGITS, "0")))


class Money(NamedTuple):
    """An amount in a currency (ISO 4217)."""

    currency: str
    amount: Amount


class Image(NamedTuple):
    """A picture of a product."""

    uri: str
    alt_text: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Product:
    """One thing for sale."""

    product_id: UUID
    sku: str
    name: str
    description: str = ""
    category: str
    price: Money
    images: tuple[Image, ...] = ()
    tags: tuple[str, ...] = ()
    create_time: datetime
    update_time: datetime
    availability: Availability | None = None
    """None where inventory has said nothing of it."""

    @property
    def sort_name(self) -> str:
        """The name as lists order it: upper and lower case are equal, whatever the locale of the database."""
        return self.name.casefold()

    def change(self, values: Mapping[str, Any], *, now: datetime) -> Product:
        """Return the product with new *values* of the fields in `CHANGEABLE`; itself where they are what it has.

        Raises:
            InvalidFields: a field that every product has would be empty.
        """
        empty = [name for name in _NEVER_EMPTY if name in values and not values[name]]
        if empty:
            violations = [Violation(f"product.{name}", "is required") for name in empty]
            raise InvalidFields(f"a product has {', '.join(empty)}", violations=violations)
        if all(getattr(self, name) == value for name, value in values.items()):
            return self
        return replace(self, **values, update_time=now)


def require_currency(price: Money, supported: str) -> None:
    """Raise CurrencyNotSupported unless *price* is in the shop's currency."""
    if price.currency != supported:
        raise CurrencyNotSupported(supported)


class OrderKey(StrEnum):
    """What lists may be ordered by; equal ones by id, in the same direction."""

    NAME = "name"
    PRICE = "price"
    CREATE_TIME = "create_time"


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """Which products, in which order. A filter that is None lets everything through."""

    category: str | None = None
    min_price: Amount | None = None
    max_price: Amount | None = None
    query: str | None = None
    order_key: OrderKey = OrderKey.CREATE_TIME
    descending: bool = True

    @classmethod
    def parse(cls, *, category: str, min_price: str, max_price: str, query: str, order_by: str) -> Listing:
        """Build a listing from what a request says; *order_by* is a key, perhaps followed by ` asc` or ` desc`."""
        key, _, direction = (order_by or "create_time desc").partition(" ")
        return cls(
            category=category or None,
            min_price=Amount.parse(min_price) if min_price else None,
            max_price=Amount.parse(max_price) if max_price else None,
            query=query or None,
            order_key=OrderKey(key),
            descending=direction == "desc",
        )

    @property
    def fingerprint(self) -> str:
        """Equal for equal listings, and different for different ones."""
        filters = (self.category, self.min_price, self.max_price, self.query, self.order_key, self.descending)
        return json.dumps(filters, ensure_ascii=False)

    def position(self, product: Product) -> tuple[Any, ...]:
        """Return by what *product* has its place in this listing."""
        if self.order_key is OrderKey.NAME:
            return product.sort_name, product.product_id
        if self.order_key is OrderKey.PRICE:
            return *product.price.amount, product.product_id
        return product.create_time, product.product_id
