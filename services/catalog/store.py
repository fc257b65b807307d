"""Products as rows. The transaction is the caller's; reads are hot and run outside any."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import (
    BigInteger,
    Integer,
    Text,
    Uuid,
    any_,
    bindparam,
    func,
    insert,
    literal_column,
    select,
    tuple_,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY

from services.catalog.domain import Amount, Image, Listing, Money, OrderKey, Product, ProductNotFound, SkuTaken
from services.catalog.tables import SKU_UNIQUE, products
from weft.data import Prepared, UniqueViolation, prepare

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable
    from datetime import datetime
    from uuid import UUID

    from sqlalchemy import ColumnElement

    from weft.data import Database, Transaction

__all__ = [
    "add_product",
    "count",
    "find_products",
    "get_product",
    "list_page",
    "lock_product",
    "save_product",
    "take_off_sale",
]

_PRODUCT: Final = (
    products.c.product_id,
    products.c.sku,
    products.c.name,
    products.c.description,
    products.c.category,
    products.c.price_currency,
    products.c.price_units,
    products.c.price_nanos,
    products.c.images,
    products.c.tags,
    products.c.create_time,
    products.c.update_time,
)
_ON_SALE: Final = products.c.delete_time.is_(None)
_PRICE: Final = (products.c.price_units, products.c.price_nanos)

_FILTERS: Final[dict[str, ColumnElement[bool]]] = {
    "category": products.c.category == bindparam("category", type_=Text),
    "min_price": tuple_(*_PRICE)
    >= tuple_(bindparam("min_units", type_=BigInteger), bindparam("min_nanos", type_=Integer)),
    "max_price": tuple_(*_PRICE)
    <= tuple_(bindparam("max_units", type_=BigInteger), bindparam("max_nanos", type_=Integer)),
    "query": products.c.search.bool_op("@@")(
        func.websearch_to_tsquery(literal_column("'english'"), bindparam("query", type_=Text))
    ),
}
_SORTED_BY: Final = {
    OrderKey.NAME: (products.c.sort_name, products.c.product_id),
    OrderKey.PRICE: (*_PRICE, products.c.product_id),
    OrderKey.CREATE_TIME: (products.c.create_time, products.c.product_id),
}

_BY_ID: Final = prepare(select(*_PRODUCT).where(products.c.product_id == bindparam("product_id"), _ON_SALE))
_BY_IDS: Final = prepare(
    select(*_PRODUCT).where(products.c.product_id == any_(bindparam("product_ids", type_=ARRAY(Uuid))), _ON_SALE)
)


async def get_product(database: Database, product_id: str) -> Product:
    """Raises ProductNotFound, also for one that is off sale."""
    row = await database.fetch_one(_BY_ID, product_id=product_id)
    if row is None:
        raise ProductNotFound(product_id)
    return _product(row)


async def find_products(database: Database, product_ids: Collection[str]) -> dict[UUID, Product]:
    """Return those of the products that are on sale, by id."""
    rows = await database.fetch_all(_BY_IDS, product_ids=product_ids)
    return {product.product_id: product for product in map(_product, rows)}


async def list_page(database: Database, listing: Listing, limit: int, after: tuple[Any, ...] | None) -> list[Product]:
    """Return up to *limit* products of *listing* that come after the one at *after*, a `Listing.position`."""
    values = _values(listing)
    if after is not None:
        values |= {f"after_{index}": value for index, value in enumerate(after)}
    statement = _page(_filters(listing), listing.order_key, listing.descending, after is not None)
    return [_product(row) for row in await database.fetch_all(statement, limit=limit, **values)]


async def count(database: Database, listing: Listing) -> int:
    """Return how many products *listing* has."""
    row = await database.fetch_one(_count(_filters(listing)), **_values(listing))
    assert row is not None, "count() always has a row"
    return int(row[0])


async def add_product(tx: Transaction, product: Product) -> None:
    """Raises SkuTaken."""
    row = {"product_id": product.product_id, "sku": product.sku, "create_time": product.create_time}
    try:
        await tx.execute(insert(products).values(row | _changing(product)))
    except UniqueViolation as error:
        if error.constraint == SKU_UNIQUE:
            raise SkuTaken(product.sku) from error
        raise


async def lock_product(tx: Transaction, product_id: UUID) -> Product:
    """Read a product that nobody else may change until the transaction ends. Raises ProductNotFound."""
    row = await tx.first(select(*_PRODUCT).where(products.c.product_id == product_id, _ON_SALE).with_for_update())
    if row is None:
        raise ProductNotFound(product_id)
    return _product(row)


async def save_product(tx: Transaction, product: Product) -> None:
    await tx.execute(update(products).where(products.c.product_id == product.product_id).values(_changing(product)))


async def take_off_sale(tx: Transaction, product_id: UUID, *, now: datetime) -> None:
    """Take a product off sale; the time of the first time stays. Raises ProductNotFound for one that never was."""
    changed = await tx.execute(
        update(products)
        .where(products.c.product_id == product_id)
        .values(delete_time=func.coalesce(products.c.delete_time, now))
    )
    if not changed:
        raise ProductNotFound(product_id)


@cache
def _page(filters: tuple[str, ...], key: OrderKey, descending: bool, after: bool) -> Prepared:
    """Return the statement of a page: there are 192 of them, so each is made when it is first wanted."""
    columns = _SORTED_BY[key]
    statement = select(*_PRODUCT).where(_ON_SALE, *(_FILTERS[name] for name in filters))
    if after:
        here = tuple_(*columns)
        there = tuple_(*(bindparam(f"after_{index}", type_=column.type) for index, column in enumerate(columns)))
        statement = statement.where(here < there if descending else here > there)
    order = (column.desc() if descending else column.asc() for column in columns)
    return prepare(statement.order_by(*order).limit(bindparam("limit", type_=Integer)))


@cache
def _count(filters: tuple[str, ...]) -> Prepared:
    statement = select(func.count()).select_from(products)
    return prepare(statement.where(_ON_SALE, *(_FILTERS[name] for name in filters)))


def _filters(listing: Listing) -> tuple[str, ...]:
    return tuple(name for name in _FILTERS if getattr(listing, name) is not None)


def _values(listing: Listing) -> dict[str, Any]:
    """Return the parameters of the filters in use."""
    values: dict[str, Any] = {}
    if listing.category is not None:
        values["category"] = listing.category
    if listing.min_price is not None:
        values["min_units"], values["min_nanos"] = listing.min_price
    if listing.max_price is not None:
        values["max_units"], values["max_nanos"] = listing.max_price
    if listing.query is not None:
        values["query"] = listing.query
    return values


def _product(row: Iterable[Any]) -> Product:
    product_id, sku, name, description, category, currency, units, nanos, images, tags, create_time, update_time = row
    return Product(
        product_id=product_id,
        sku=sku,
        name=name,
        description=description,
        category=category,
        price=Money(currency, Amount(units, nanos)),
        images=tuple([Image(*pair) for pair in images]),
        tags=tuple(tags),
        create_time=create_time,
        update_time=update_time,
    )


def _changing(product: Product) -> dict[str, Any]:
    """Return the columns an update may change."""
    return {
        "name": product.name,
        "sort_name": product.sort_name,
        "description": product.description,
        "category": product.category,
        "price_currency": product.price.currency,
        "price_units": product.price.amount.units,
        "price_nanos": product.price.amount.nanos,
        "images": [list(image) for image in product.images],
        "tags": list(product.tags),
        "update_time": product.update_time,
    }
