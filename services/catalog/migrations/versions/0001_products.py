"""Create products."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY, TSVECTOR

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_TIME = sa.DateTime(timezone=True)
_ON_SALE = sa.text("delete_time IS NULL")


def upgrade() -> None:
    # How array_to_string() writes items depends on settings, though not for text; a computed column must be told so.
    op.execute(
        "CREATE FUNCTION joined(words text[]) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE STRICT"
        " AS $$ SELECT array_to_string(words, ' ') $$"
    )
    op.create_table(
        "products",
        sa.Column("product_id", sa.Uuid, primary_key=True),
        sa.Column("sku", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("sort_name", sa.Text(collation="C"), nullable=False),
        sa.Column("description", sa.Text, nullable=False),
        sa.Column("category", sa.Text, nullable=False),
        sa.Column("price_currency", sa.Text, nullable=False),
        sa.Column("price_units", sa.BigInteger, nullable=False),
        sa.Column("price_nanos", sa.Integer, nullable=False),
        sa.Column("images", ARRAY(sa.Text, dimensions=2), nullable=False),
        sa.Column("tags", ARRAY(sa.Text), nullable=False),
        sa.Column("create_time", _TIME, nullable=False),
        sa.Column("update_time", _TIME, nullable=False),
        sa.Column("delete_time", _TIME),
        sa.Column(
            "search",
            TSVECTOR,
            sa.Computed(
                "to_tsvector('english', name || ' ' || description || ' ' || joined(tags))",
                persisted=True,
            ),
        ),
        sa.UniqueConstraint("sku", name="products_sku_unique"),
        sa.CheckConstraint("price_units >= 0 AND price_nanos BETWEEN 0 AND 999999999", name="products_price"),
    )
    for name, columns in {
        "products_by_create_time": ["create_time", "product_id"],
        "products_by_name": ["sort_name", "product_id"],
        "products_by_price": ["price_units", "price_nanos", "product_id"],
        "products_by_category": ["category", "create_time", "product_id"],
    }.items():
        op.create_index(name, "products", columns, postgresql_where=_ON_SALE)
    op.create_index(
        "products_by_words",
        "products",
        ["search"],
        postgresql_using="gin",
        postgresql_with={"fastupdate": "off"},
        postgresql_where=_ON_SALE,
    )


def downgrade() -> None:
    op.drop_table("products")
    op.execute("DROP FUNCTION joined")
