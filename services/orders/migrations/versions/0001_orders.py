"""Create orders and their lines."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "orders",
        sa.Column("order_id", sa.Uuid, primary_key=True),
        sa.Column("user_id", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("currency", sa.Text, nullable=False),
        sa.Column("total_units", sa.BigInteger, nullable=False),
        sa.Column("total_nanos", sa.Integer, nullable=False),
        sa.Column("create_time", _TIME, nullable=False),
        sa.Column("update_time", _TIME, nullable=False),
        sa.CheckConstraint("state in ('confirmed', 'cancelled')", name="orders_state"),
    )
    op.create_index("orders_by_user", "orders", ["user_id", "create_time", "order_id"])
    op.create_table(
        "order_lines",
        sa.Column("order_id", sa.Uuid, primary_key=True),
        sa.Column("position", sa.Integer, primary_key=True),
        sa.Column("product_id", sa.Uuid, nullable=False),
        sa.Column("sku", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("price_units", sa.BigInteger, nullable=False),
        sa.Column("price_nanos", sa.Integer, nullable=False),
        sa.Column("quantity", sa.Integer, nullable=False),
        sa.CheckConstraint("quantity > 0", name="order_lines_quantity"),
        sa.ForeignKeyConstraint(["order_id"], ["orders.order_id"], name="order_lines_order", ondelete="CASCADE"),
    )


def downgrade() -> None:
    op.drop_table("order_lines")
    op.drop_table("orders")
