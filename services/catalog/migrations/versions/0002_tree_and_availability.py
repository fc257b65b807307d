"""Create the tree of categories, and what is known of availability."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "categories",
        sa.Column("slug", sa.Text, primary_key=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("parent", sa.Text, sa.ForeignKey("categories.slug", name="categories_parent")),
        sa.CheckConstraint("parent <> slug", name="categories_parent_is_another"),
    )
    op.create_index("categories_by_parent", "categories", ["parent"])
    op.create_table(
        "category_tree",
        sa.Column("ancestor", sa.Text, sa.ForeignKey("categories.slug", name="category_tree_ancestor"), nullable=False),
        sa.Column("slug", sa.Text, sa.ForeignKey("categories.slug", name="category_tree_slug"), nullable=False),
        sa.PrimaryKeyConstraint("ancestor", "slug", name="category_tree_pkey"),
    )
    op.create_index("category_tree_by_slug", "category_tree", ["slug"])
    op.create_table(
        "availability",
        sa.Column("sku", sa.Text(collation="C"), primary_key=True),
        sa.Column("level", sa.Text, nullable=False),
        sa.Column("revision", sa.BigInteger, nullable=False),
        sa.Column("update_time", _TIME, nullable=False),
        sa.CheckConstraint("level in ('in_stock', 'low', 'out')", name="availability_level"),
    )
    op.create_table(
        "availability_knowledge",
        sa.Column("is_only", sa.Boolean, primary_key=True),
        sa.Column("compare_time", _TIME),
        sa.Column("event_time", _TIME),
        sa.Column("claim_time", _TIME),
        sa.CheckConstraint("is_only", name="availability_knowledge_is_one"),
    )
    # The categories that products are in already; each is a root until somebody gives it a place.
    op.execute(
        "INSERT INTO categories (slug, name)"
        " SELECT DISTINCT category, upper(left(category, 1)) || replace(substr(category, 2), '-', ' ') FROM products"
    )
    op.execute("INSERT INTO category_tree (ancestor, slug) SELECT slug, slug FROM categories")


def downgrade() -> None:
    op.drop_table("availability_knowledge")
    op.drop_table("availability")
    op.drop_table("category_tree")
    op.drop_table("categories")
