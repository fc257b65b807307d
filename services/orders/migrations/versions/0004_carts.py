"""Create carts, and room for what sending an order costs and which taxes its total contains.

Orders from before were sent for nothing, and their taxes are not known. So are orders that replicas from before still
place, while they are replaced.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_TIME = sa.DateTime(timezone=True)
_NEW = {"shipping_units": (sa.BigInteger, "0"), "shipping_nanos": (sa.Integer, "0"), "taxes": (JSONB, "[]")}


def upgrade() -> None:
    for name, (kind, default) in _NEW.items():
        op.add_column("orders", sa.Column(name, kind, nullable=False, server_default=default))
    op.create_table(
        "carts",
        sa.Column("user_id", sa.Text, primary_key=True),
        sa.Column("order_id", sa.Uuid),
        sa.Column("update_time", _TIME, nullable=False),
    )
    op.create_index("carts_by_update_time", "carts", ["update_time"])
    op.create_table(
        "cart_items",
        sa.Column("user_id", sa.Text, primary_key=True),
        sa.Column("product_id", sa.Uuid, primary_key=True),
        sa.Column("quantity", sa.Integer, nullable=False),
        sa.Column("position", sa.BigInteger, sa.Identity(always=True), nullable=False),
        sa.CheckConstraint("quantity between 1 and 999", name="cart_items_quantity"),
        sa.ForeignKeyConstraint(["user_id"], ["carts.user_id"], name="cart_items_cart", ondelete="CASCADE"),
    )


def downgrade() -> None:
    op.drop_table("cart_items")
    op.drop_table("carts")
    for name in reversed(_NEW):
        op.drop_column("orders", name)
