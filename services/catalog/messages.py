"""Products and categories as `shop.catalog.v1` writes them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from google.protobuf.timestamp_pb2 import Timestamp
from google.type.money_pb2 import Money as MoneyMessage
from shop.catalog.v1 import catalog_pb2 as pb

from services.catalog.categories import Category
from services.catalog.domain import Amount, Availability, Image, Money, Product

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime

__all__ = ["category_message", "category_of", "images_of", "money_message", "money_of", "product_message"]

_AVAILABILITIES: Final[Mapping[Availability | None, pb.Availability.ValueType]] = {
    None: pb.AVAILABILITY_UNSPECIFIED,
    **{each: pb.Availability.Value(f"AVAILABILITY_{each.name}") for each in Availability},
}


def product_message(product: Product) -> pb.Product:
    return pb.Product(
        product_id=str(product.product_id),
        sku=product.sku,
        name=product.name,
        description=product.description,
        category=product.category,
        price=money_message(product.price),
        images=[pb.Image(uri=uri, alt_text=alt_text) for uri, alt_text in product.images],
        tags=product.tags,
        create_time=_timestamp(product.create_time),
        update_time=_timestamp(product.update_time),
        availability=_AVAILABILITIES[product.availability],
    )


def money_message(money: Money) -> MoneyMessage:
    currency, (units, nanos) = money
    return MoneyMessage(currency_code=currency, units=units, nanos=nanos)


def money_of(message: MoneyMessage) -> Money:
    return Money(message.currency_code, Amount(message.units, message.nanos))


def images_of(messages: Iterable[pb.Image]) -> tuple[Image, ...]:
    return tuple(Image(message.uri, message.alt_text) for message in messages)


def category_message(category: Category) -> pb.Category:
    return pb.Category(slug=category.slug, name=category.name, parent=category.parent or "")


def category_of(message: pb.Category) -> Category:
    return Category(slug=message.slug, name=message.name, parent=message.parent or None)


def _timestamp(time: datetime) -> Timestamp:
    stamp = Timestamp()
    stamp.FromDatetime(time)
    return stamp
