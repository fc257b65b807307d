"""The schema of catalog."""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Computed,
    DateTime,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, TSVECTOR

__all__ = ["SKU_UNIQUE", "availability", "categories", "category_tree", "knowledge", "metadata", "products"]

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

categories = Table(
    "categories",
    metadata,
    Column("slug", Text, primary_key=True),
    Column("name", Text, nullable=False),
    # NULL at the root.
    Column("parent", Text, ForeignKey("categories.slug", name="categories_parent")),
    CheckConstraint("parent <> slug", name="categories_parent_is_another"),
    Index("categories_by_parent", "parent"),
)

# Each category below each category above it, and below itself: at most eight rows for one. What is below a category is
# then read from an index however the tree has grown, and products need not be touched when a category moves.
category_tree = Table(
    "category_tree",
    metadata,
    Column("ancestor", Text, ForeignKey("categories.slug", name="category_tree_ancestor"), nullable=False),
    Column("slug", Text, ForeignKey("categories.slug", name="category_tree_slug"), nullable=False),
    PrimaryKeyConstraint("ancestor", "slug", name="category_tree_pkey"),
    Index("category_tree_by_slug", "slug"),
)

# What inventory said last of each SKU it knows, also of those that no product has.
availability = Table(
    "availability",
    metadata,
    # Ordered as inventory's pages are.
    Column("sku", Text(collation="C"), primary_key=True),
    Column("level", Text, nullable=False),
    # Of inventory: what has the greater one is newer, unless inventory was restored.
    Column("revision", BigInteger, nullable=False),
    # When we learnt it, by the clock of this database.
    Column("update_time", DateTime(timezone=True), nullable=False),
    CheckConstraint("level in ('in_stock', 'low', 'out')", name="availability_level"),
)

# One row: how old the whole of that is.
knowledge = Table(
    "availability_knowledge",
    metadata,
    Column("is_only", Boolean, primary_key=True),
    # When the last complete comparison with inventory began.
    Column("compare_time", DateTime(timezone=True)),
    # When the latest event that was heard had happened.
    Column("event_time", DateTime(timezone=True)),
    # When a replica set out to compare; NULL when none is at it.
    Column("claim_time", DateTime(timezone=True)),
    CheckConstraint("is_only", name="availability_knowledge_is_one"),
)
