"""The schema of catalog."""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Computed,
    DateTime,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, TSVECTOR

__all__ = ["SKU_UNIQUE", "metadata", "products"]

SKU_UNIQUE: Final = "products_sku_unique"
SEARCH_TEXT: Final = "name || ' ' || description || ' ' || joined(tags)"
_ON_SALE: Final = text("delete_time IS NULL")

metadata = MetaData()

products = Table(
    "products",
    metadata,
    Column("product_id", Uuid, primary_key=True),
    Column("sku", Text, nullable=False),
    Column("name", Text, nullable=False),
    # Collation "C" is the same on every server and for ever; what it orders is folded by us.
    Column("sort_name", Text(collation="C"), nullable=False),
    Column("description", Text, nullable=False),
    Column("category", Text, nullable=False),
    # Two integers compare exactly and cost nothing to convert.
    Column("price_currency", Text, nullable=False),
    Column("price_units", BigInteger, nullable=False),
    Column("price_nanos", Integer, nullable=False),
    # Pairs of address and description.
    Column("images", ARRAY(Text, dimensions=2), nullable=False),
    Column("tags", ARRAY(Text), nullable=False),
    Column("create_time", DateTime(timezone=True), nullable=False),
    Column("update_time", DateTime(timezone=True), nullable=False),
    # When it was taken off sale; its row stays.
    Column("delete_time", DateTime(timezone=True)),
    Column("search", TSVECTOR, Computed(f"to_tsvector('english', {SEARCH_TEXT})", persisted=True)),
    UniqueConstraint("sku", name=SKU_UNIQUE),
    CheckConstraint("price_units >= 0 AND price_nanos BETWEEN 0 AND 999999999", name="products_price"),
    # One for each order of a list; PostgreSQL reads them backwards for ` desc`.
    Index("products_by_create_time", "create_time", "product_id", postgresql_where=_ON_SALE),
    Index("products_by_name", "sort_name", "product_id", postgresql_where=_ON_SALE),
    Index("products_by_price", "price_units", "price_nanos", "product_id", postgresql_where=_ON_SALE),
    Index("products_by_category", "category", "create_time", "product_id", postgresql_where=_ON_SALE),
    # Every word is searched in the index at once: products are read far more often than they change.
    Index(
        "products_by_words",
        "search",
        postgresql_using="gin",
        postgresql_with={"fastupdate": "off"},
        postgresql_where=_ON_SALE,
    ),
)
