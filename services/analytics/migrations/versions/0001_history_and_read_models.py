"""Create the history, the read models, and what shoppers did."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_TIME = sa.DateTime(timezone=True)
_PERIODS = "period IN ('slot', 'day', 'month', 'year')"
_KINDS = "kind IN ('viewed', 'searched', 'added_to_cart')"


def upgrade() -> None:
    op.create_table(
        "history",
        sa.Column("event_id", sa.Uuid, primary_key=True),
        sa.Column("type", sa.Text, nullable=False),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("subject", sa.Text, nullable=False),
        sa.Column("sequence", sa.BigInteger, nullable=False),
        sa.Column("time", _TIME, nullable=False),
        sa.Column("data", sa.LargeBinary, nullable=False),
    )
    op.create_index("history_by_time", "history", ["time", "event_id"])
    op.execute(
        """
        CREATE FUNCTION refuse_to_change_history() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            RAISE EXCEPTION 'history is only ever added to';
        END $$
        """
    )
    op.execute(
        """
        CREATE TRIGGER history_is_append_only BEFORE UPDATE OR DELETE ON history
        FOR EACH STATEMENT EXECUTE FUNCTION refuse_to_change_history()
        """
    )
    op.create_table(
        "offers",
        sa.Column("sku", sa.Text, nullable=False),
        sa.Column("time", _TIME, nullable=False),
        sa.Column("sequence", sa.BigInteger, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("category", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("sku", "time", "sequence"),
    )
    op.create_table(
        "purchases",
        sa.Column("order_id", sa.Uuid, primary_key=True),
        sa.Column("user_id", sa.Text, nullable=False),
        sa.Column("time", _TIME, nullable=False),
        sa.Column("previous_time", _TIME),
        sa.Column("is_second", sa.Boolean, nullable=False),
        sa.Column("is_first_of_day", sa.Boolean, nullable=False),
    )
    op.create_index("purchases_by_user", "purchases", ["user_id", "time", "order_id"])
    op.create_index(
        "purchases_by_time",
        "purchases",
        ["time"],
        postgresql_include=["previous_time", "is_second", "is_first_of_day"],
    )
    op.create_table(
        "sold_lines",
        sa.Column("order_id", sa.Uuid, nullable=False),
        sa.Column("position", sa.Integer, nullable=False),
        sa.Column("time", _TIME, nullable=False),
        sa.Column("sku", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("category", sa.Text, nullable=False),
        sa.Column("quantity", sa.Integer, nullable=False),
        sa.Column("unit_price", sa.Numeric, nullable=False),
        sa.PrimaryKeyConstraint("order_id", "position"),
    )
    op.create_index("sold_lines_by_time", "sold_lines", ["time", "order_id", "position"])
    op.create_index("sold_lines_by_sku", "sold_lines", ["sku", "time"])
    op.create_table(
        "sales",
        *_sums(),
        sa.Column("captured", sa.Numeric, nullable=False),
        sa.Column("refunded", sa.Numeric, nullable=False),
        sa.PrimaryKeyConstraint("period", "start"),
        sa.CheckConstraint(_PERIODS, name="sales_period"),
    )
    for name in ("sku", "category"):
        op.create_table(
            f"{name}_sales",
            *_sums(),
            sa.Column(name, sa.Text, nullable=False),
            sa.PrimaryKeyConstraint("period", "start", name),
            sa.CheckConstraint(_PERIODS, name=f"{name}_sales_period"),
        )
    op.create_table(
        "behaviour",
        sa.Column("event_id", sa.Uuid, primary_key=True),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("visitor_id", sa.Text, nullable=False),
        sa.Column("product_id", sa.Uuid),
        sa.Column("time", _TIME, nullable=False),
        sa.CheckConstraint(_KINDS, name="behaviour_kind"),
    )
    op.create_index("behaviour_by_time", "behaviour", ["time"])
    op.create_table(
        "visits",
        sa.Column("day", sa.Date, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("visitor_id", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("day", "kind", "visitor_id"),
        sa.CheckConstraint(_KINDS, name="visits_kind"),
    )
    op.create_table(
        "behaviour_counts",
        sa.Column("period", sa.Text, nullable=False),
        sa.Column("start", _TIME, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("events", sa.BigInteger, nullable=False),
        sa.Column("visitors", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("period", "start", "kind"),
        sa.CheckConstraint(_PERIODS, name="behaviour_counts_period"),
        sa.CheckConstraint(_KINDS, name="behaviour_counts_kind"),
    )


def downgrade() -> None:
    for name in ("behaviour_counts", "visits", "behaviour", "category_sales", "sku_sales", "sales", "sold_lines"):
        op.drop_table(name)
    for name in ("purchases", "offers", "history"):
        op.drop_table(name)
    op.execute("DROP FUNCTION refuse_to_change_history")


def _sums() -> list[sa.Column[object]]:
    return [
        sa.Column("period", sa.Text, nullable=False),
        sa.Column("start", _TIME, nullable=False),
        sa.Column("orders", sa.BigInteger, nullable=False),
        sa.Column("units", sa.BigInteger, nullable=False),
        sa.Column("revenue", sa.Numeric, nullable=False),
    ]
