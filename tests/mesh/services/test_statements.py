"""The schema that migrations make, and the plans PostgreSQL makes of hot statements."""

from __future__ import annotations

from contextlib import closing
from datetime import UTC, datetime, timedelta
from importlib import import_module
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import psycopg2
import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy.dialects import postgresql

import services.catalog.store as catalog_store
import services.orders.queries as orders_queries
import services.orders.store as orders_store
from services.catalog import availability_store
from services.catalog.domain import Amount, Listing, OrderKey

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from weft.data import Database, Prepared

MANY_PRODUCTS = """
    insert into products
        (product_id, sku, name, sort_name, description, category, price_currency, price_units, price_nanos, images,
         tags, create_time, update_time, delete_time)
    select gen_random_uuid(), 'SKU-' || n, 'Thing ' || n, 'thing ' || n, 'Word' || n % 500 || ' of many', 'c' || n % 20,
           'EUR', n % 1000, n % 100, '{}', '{}', now() - n * interval '1 minute', now(),
           case when n % 50 = 0 then now() end
    from generate_series(1, 5000) n
"""
AVAILABILITY = "insert into availability select sku, 'low', 1, now() from products"
CATEGORIES = (
    "insert into categories select 'all', 'All'",
    "insert into categories select 'c' || n, 'C', 'all' from generate_series(0, 199) n",
    "insert into category_tree select slug, slug from categories",
    "insert into category_tree select parent, slug from categories where parent is not null",
)
SPREAD = "update products set category = 'c' || substr(sku, 5)::int % 200"
MANY_ORDERS = """
    insert into orders (order_id, user_id, state, currency, total_units, total_nanos, create_time, update_time,
                        cancel_reason, version)
    select gen_random_uuid(), 'user-' || n % 100, case when n % 50 = 0 then 'pending' else 'delivered' end, 'EUR', 1, 0,
           now() - n * interval '1 minute', now(), '', 1
    from generate_series(1, 5000) n
"""
MANY_LINES = """
    insert into order_lines
    select order_id, n, gen_random_uuid(), 'SKU', 'Thing', 1, 0, 1 from orders, generate_series(0, 1) n
"""

MANY_PLACEMENTS = """
    insert into placements
    select 'user-' || n, 'basket', gen_random_uuid(), '', now() - n * interval '1 minute'
    from generate_series(1, 5000) n
"""


async def plan(database: Database, statement: Prepared, **parameters: Any) -> str:
    """Return how PostgreSQL runs *statement*."""
    async with database._reads.acquire() as connection:  # only here does anyone explain a statement
        rows = await connection.fetch(f"EXPLAIN {statement.sql}", *statement.arguments(parameters))
    return "\n".join(line for (line,) in rows)


async def explained(database: Database, statement: sa.UpdateBase) -> str:
    """Return how PostgreSQL runs a *statement* of a transaction, without running it."""
    dialect = postgresql.dialect()  # type: ignore[no-untyped-call]  # the library's
    sql = statement.compile(dialect=dialect, compile_kwargs={"literal_binds": True})
    async with database.transaction() as tx:
        return "\n".join(line for (line,) in await tx.all(sa.text(f"EXPLAIN {sql}")))


async def filled(database: Database, *statements: str) -> Database:
    async with database.transaction() as tx:
        for statement in statements:
            await tx.execute(sa.text(statement))
        await tx.execute(sa.text("analyze"))
    return database


@pytest.mark.parametrize(
    "service", ["users", "catalog", "orders", "inventory", "payments", "shipping", "notifications", "analytics"]
)
def test_migrations_make_the_tables_that_the_store_uses(service: str, database_url: Callable[[str], str]) -> None:
    metadata = import_module(f"services.{service}.tables").metadata
    engine = sa.create_engine(database_url(service).replace("postgresql:", "postgresql+psycopg2:"))

    with engine.connect() as connection:
        options = {
            "include_name": lambda name, kind, _: kind != "table" or name in metadata.tables,
            "compare_server_default": True,
        }
        differences = compare_metadata(MigrationContext.configure(connection, opts=options), metadata)
    engine.dispose()

    assert differences == []


@pytest.mark.parametrize(
    "service", ["users", "catalog", "orders", "inventory", "payments", "shipping", "notifications", "analytics"]
)
def test_check_constraints_and_computed_columns_are_those_of_the_tables(
    service: str, database_url: Callable[[str], str]
) -> None:
    """Alembic compares neither."""
    metadata = import_module(f"services.{service}.tables").metadata
    with closing(psycopg2.connect(database_url(service))) as connection, connection.cursor() as cursor:
        cursor.execute(
            "select conrelid::regclass::text, conname from pg_constraint where contype = 'c' and conrelid <> 0"
        )
        made = {name for table, name in cursor.fetchall() if table in metadata.tables}  # the mesh has tables of its own
        cursor.execute("select table_name, column_name from information_schema.columns where is_generated = 'ALWAYS'")
        computed = set(cursor.fetchall())

    tables = metadata.tables.values()
    assert made == {each.name for table in tables for each in table.constraints if isinstance(each, sa.CheckConstraint)}
    assert computed == {(table.name, column.name) for table in tables for column in table.columns if column.computed}


@pytest.mark.parametrize(
    ("key", "index"),
    [
        (OrderKey.NAME, "products_by_name"),
        (OrderKey.PRICE, "products_by_price"),
        (OrderKey.CREATE_TIME, "products_by_create_time"),
    ],
)
@pytest.mark.parametrize("descending", [False, True])
async def test_a_page_is_read_from_the_index_of_its_order(
    empty_database: Callable[[str], Awaitable[Database]], key: OrderKey, index: str, *, descending: bool
) -> None:
    database = await filled(await empty_database("catalog"), MANY_PRODUCTS)
    listing = Listing(order_key=key, descending=descending)
    middle = (await catalog_store.list_page(database, listing, 2500, None))[-1]
    after = {f"after_{number}": value for number, value in enumerate(listing.position(middle))}

    first = await plan(database, catalog_store._page((), key, descending, after=False), limit=21)
    later = await plan(database, catalog_store._page((), key, descending, after=True), limit=21, **after)

    for text in (first, later):
        assert index in text
        assert "Sort" not in text
        assert ("Backward" in text) == descending


async def test_a_search_reads_the_index_of_words(empty_database: Callable[[str], Awaitable[Database]]) -> None:
    database = await filled(await empty_database("catalog"), MANY_PRODUCTS, AVAILABILITY)
    statement = catalog_store._page(("query",), OrderKey.CREATE_TIME, True, False)

    text = await plan(database, statement, limit=21, query="word17")

    assert "products_by_words" in text
    assert "Seq Scan" not in text


@pytest.mark.parametrize("key", list(OrderKey))
async def test_a_category_is_read_from_its_index_and_a_large_one_in_the_order_asked_for(
    empty_database: Callable[[str], Awaitable[Database]], key: OrderKey
) -> None:
    database = await filled(await empty_database("catalog"), MANY_PRODUCTS, SPREAD, *CATEGORIES, AVAILABILITY)
    statement = catalog_store._page(("category",), key, True, False)

    small = await plan(database, statement, limit=21, category="c7")
    large = await plan(database, statement, limit=21, category="all")

    assert "products_by_category" in small
    assert f"products_by_{key}" in large
    assert "Sort" not in large
    assert "Seq Scan on products" not in small + large


async def test_availability_is_looked_up_for_what_is_shown_only(
    empty_database: Callable[[str], Awaitable[Database]],
) -> None:
    database = await filled(await empty_database("catalog"), MANY_PRODUCTS, SPREAD, AVAILABILITY)
    one = (await database.fetch_all(catalog_store._page((), OrderKey.NAME, True, False), limit=1))[0][0]

    page = await plan(database, catalog_store._page(("query",), OrderKey.PRICE, True, False), limit=21, query="word17")
    alone = await plan(database, catalog_store._BY_ID, product_id=one)

    assert page.index("SubPlan") > page.index("Limit")
    assert all("availability_pkey" in text for text in (page, alone))
    assert "products_pkey" in alone


async def test_news_of_availability_finds_its_products_by_their_skus(
    empty_database: Callable[[str], Awaitable[Database]],
) -> None:
    database = await filled(await empty_database("catalog"), MANY_PRODUCTS, AVAILABILITY)
    told = {"sku": "SKU-1", "level": "low", "revision": 2, "happened": datetime.now(UTC)}
    page = {"skus": ["SKU-1"], "levels": ["low"], "revisions": [2], "after": "SKU-0", "upto": "SKU-1"}
    compared = {**page, "is_last": False, "asked": datetime.now(UTC)}

    for statement, values in ((availability_store._HEAR, told), (availability_store._COMPARE, compared)):
        async with database.transaction() as tx:
            explained = sa.text(f"EXPLAIN {statement.text}").bindparams(*statement._bindparams.values())
            rows = await tx.all(explained.bindparams(**values))
        text = "\n".join(line for (line,) in rows)
        assert "products_sku_unique" in text
        assert "Seq Scan on products" not in text


async def test_every_combination_of_filters_and_orders_has_a_statement_that_runs(
    empty_database: Callable[[str], Awaitable[Database]],
) -> None:
    database = await filled(await empty_database("catalog"), MANY_PRODUCTS, *CATEGORIES, AVAILABILITY)
    filters: dict[str, Any] = {
        "category": "c7",
        "min_price": Amount(100, 0),
        "max_price": Amount(900, 5),
        "query": "many",
    }

    for mask in range(16):
        chosen = {name: value for bit, (name, value) in enumerate(filters.items()) if mask & 1 << bit}
        for key in OrderKey:
            for descending in (False, True):
                listing = Listing(order_key=key, descending=descending, **chosen)
                first = await catalog_store.list_page(database, listing, 6, None)
                rest = await catalog_store.list_page(database, listing, 3, listing.position(first[2]))
                assert rest == first[3:], (listing, key)
        assert await catalog_store.count(database, Listing(**chosen)) > 6


@pytest.mark.parametrize(
    ("filters", "index"),
    [
        (("user_id",), "orders_by_user"),
        (("user_id", "from_time", "to_time"), "orders_by_user"),
        (("state",), "orders_by_state"),
        (("state", "from_time", "to_time"), "orders_by_state"),
        ((), "orders_by_time"),
        (("from_time", "to_time"), "orders_by_time"),
    ],
)
async def test_a_page_of_orders_is_read_from_the_index_of_its_filter(
    empty_database: Callable[[str], Awaitable[Database]], filters: tuple[str, ...], index: str
) -> None:
    database = await filled(await empty_database("orders"), MANY_ORDERS, MANY_LINES)
    now = datetime.now(UTC)
    known = {"user_id": "user-7", "state": "pending", "from_time": now - timedelta(days=9), "to_time": now}
    values: dict[str, Any] = {name: known[name] for name in filters}

    first = await plan(database, orders_queries._page(filters), limit=21, **values)
    after = {"after_time": now - timedelta(days=1), "after_id": uuid4()}
    later = await plan(database, orders_queries._page((*filters, "after")), limit=21, **values, **after)

    for text in (first, later):
        assert index in text
        assert "order_lines_pkey" in text
        assert "Seq Scan" not in text


async def test_old_placements_are_found_by_their_age(empty_database: Callable[[str], Awaitable[Database]]) -> None:
    database = await filled(await empty_database("orders"), MANY_PLACEMENTS)

    text = await explained(database, orders_store._delete_placements(timedelta(days=3), 50))

    assert "Index Scan using placements_by_create_time" in text
    assert "Index Cond: (create_time" in text
