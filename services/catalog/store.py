"""Products as rows. The transaction is the caller's; reads are hot and run outside any.

Locks are taken in one order, so that transactions wait for each other and never in a circle: products by SKU, then
their categories by slug, then SKUs that are new.
"""

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

from services.catalog.domain import (
    Amount,
    Availability,
    Image,
    Listing,
    Money,
    OrderKey,
    Product,
    ProductNotFound,
    SkuTaken,
)
from services.catalog.tables import SKU_UNIQUE, availability, category_tree, products
from weft.data import Prepared, UniqueViolation, prepare

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence
    from datetime import datetime
    from uuid import UUID

    from sqlalchemy import ColumnElement

    from weft.data import Database, Transaction

__all__ = [
    "add_products",
    "count",
    "find_availability",
    "find_products",
    "get_product",
    "list_page",
    "lock_product",
    "lock_skus",
    "save_products",
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
    # Looked up for what is shown and not joined, so that it has no part in how a page is found.
    select(availability.c.level).where(availability.c.sku == products.c.sku).scalar_subquery().label("availability"),
)
_ON_SALE: Final = products.c.delete_time.is_(None)
_PRICE: Final = (products.c.price_units, products.c.price_nanos)

_FILTERS: Final[dict[str, ColumnElement[bool]]] = {
    "category": products.c.category.in_(
        select(category_tree.c.slug).where(category_tree.c.ancestor == bindparam("category", type_=Text))
    ),
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

_LOCK_SKUS: Final = (
    select(*_PRODUCT, _ON_SALE)
    .where(products.c.sku == any_(bindparam("skus", type_=ARRAY(Text))))
    .order_by(products.c.sku)
    .with_for_update()
)
_CHANGING: Final = (
    "name",
    "sort_name",
    "description",
    "category",
    "price_currency",
    "price_units",
    "price_nanos",
    "images",
    "tags",
    "update_time",
)
_SAVE: Final = (
    update(products)
    .where(products.c.product_id == bindparam("of_product"))
    .values({name: bindparam(name) for name in _CHANGING})
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


async def find_availability(tx: Transaction, sku: str) -> Availability | None:
    """Return what inventory last said of a SKU."""
    level = await tx.scalar(select(availability.c.level).where(availability.c.sku == sku))
    return None if level is None else Availability(level)


async def add_products(tx: Transaction, added: Sequence[Product]) -> None:
    """Raises SkuTaken, for the first of several."""
    rows = [
        {"product_id": each.product_id, "sku": each.sku, "create_time": each.create_time} | _changing(each)
        for each in added
    ]
    try:
        await tx.execute(insert(products), rows)
    except UniqueViolation as error:
        if error.constraint == SKU_UNIQUE:
            raise SkuTaken(added[0].sku) from error
        raise


async def lock_product(tx: Transaction, product_id: UUID) -> Product:
    """Read a product that nobody else may change until the transaction ends. Raises ProductNotFound."""
    row = await tx.first(select(*_PRODUCT).where(products.c.product_id == product_id, _ON_SALE).with_for_update())
    if row is None:
        raise ProductNotFound(product_id)
    return _product(row)


async def lock_skus(tx: Transaction, skus: Collection[str]) -> dict[str, tuple[Product, bool]]:
    """Read products that nobody else may change until the transaction ends.

    Returns:
        SKU -> the product, and whether it is on sale; of those SKUs that have one.
    """
    rows = await tx.all(_LOCK_SKUS, {"skus": list(skus)})
    return {product.sku: (product, row[-1]) for row in rows for product in (_product(row[:-1]),)}


async def save_products(tx: Transaction, changed: Sequence[Product]) -> None:
    """Write products that are locked."""
    await tx.execute(_SAVE, [{"of_product": each.product_id} | _changing(each) for each in changed])


async def take_off_sale(tx: Transaction, product_id: UUID, *, now: datetime) -> str | None:
    """Take a product off sale; return its SKU, or None where it was off sale. Raises ProductNotFound: it never was."""
    is_it = products.c.product_id == product_id
    withdrawn = update(products).where(is_it, _ON_SALE).values(delete_time=now).returning(products.c.sku)
    sku: str | None = await tx.scalar(withdrawn)
    if sku is None and await tx.scalar(select(products.c.sku).where(is_it)) is None:
        raise ProductNotFound(product_id)
    return sku


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
    product_id, sku, name, description, category, currency, units, nanos, images, tags, *rest = row
    create_time, update_time, level = rest
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
        availability=None if level is None else Availability(level),
    )


def _changing(product: Product) -> dict[str, Any]:
    """Return the columns an update may change: `_CHANGING`."""
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
