"""Create stock, reservations and the ledger."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "stock",
        sa.Column("sku", sa.Text(collation="C"), primary_key=True),
        sa.Column("on_hand", sa.BigInteger, nullable=False),
        sa.Column("reserved", sa.BigInteger, nullable=False),
        sa.Column("sold", sa.BigInteger, nullable=False),
        sa.Column("low_stock_threshold", sa.BigInteger, nullable=False),
        sa.Column("update_time", _TIME, nullable=False),
        sa.CheckConstraint("on_hand >= 0", name="stock_on_hand"),
        sa.CheckConstraint("reserved >= 0", name="stock_reserved"),
        sa.CheckConstraint("sold >= 0", name="stock_sold"),
        sa.CheckConstraint("low_stock_threshold >= 0", name="stock_low_stock_threshold"),
    )
    # Every order changes rows that stay where they are: room in each page lets it do so without touching the index.
    op.execute("ALTER TABLE stock SET (fillfactor = 50)")
    op.create_table(
        "reservations",
        sa.Column("order_id", sa.Uuid, primary_key=True),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("lines", JSONB, nullable=False),
        sa.Column("expire_time", _TIME, nullable=False),
        sa.Column("create_time", _TIME, nullable=False),
        sa.Column("update_time", _TIME, nullable=False),
        sa.CheckConstraint(
            "state in ('reserved', 'committed', 'released', 'expired', 'returned')", name="reservations_state"
        ),
        sa.CheckConstraint("state = 'released' or lines <> '{}'", name="reservations_lines"),
    )
    op.create_index(
        "reservations_by_expire_time",
        "reservations",
        ["expire_time"],
        postgresql_where=sa.text("state = 'reserved'"),
    )
    op.create_table(
        "stock_changes",
        sa.Column("sku", sa.Text(collation="C"), primary_key=True),
        sa.Column("change_id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("on_hand_delta", sa.BigInteger, nullable=False),
        sa.Column("reserved_delta", sa.BigInteger, nullable=False),
        sa.Column("sold_delta", sa.BigInteger, nullable=False),
        sa.Column("order_id", sa.Uuid),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("create_time", _TIME, nullable=False),
        sa.CheckConstraint(
            "kind in ('adjusted', 'reserved', 'released', 'expired', 'committed', 'returned')",
            name="stock_changes_kind",
        ),
        sa.CheckConstraint("(kind = 'adjusted') = (order_id is null)", name="stock_changes_order"),
        sa.CheckConstraint(
            "kind = 'adjusted' or on_hand_delta + reserved_delta + sold_delta = 0", name="stock_changes_sum"
        ),
    )


def downgrade() -> None:
    op.drop_table("stock_changes")
    op.drop_table("reservations")
    op.drop_table("stock")
