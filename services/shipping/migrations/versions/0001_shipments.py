"""Create shipments."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_TIME = sa.DateTime(timezone=True)
_PARCEL = (
    "user_id, tracking_number, rate_currency, rate_units, rate_nanos, recipient, street_lines, postal_code, city,"
    " country_code, create_time"
)


def upgrade() -> None:
    op.create_table(
        "shipments",
        sa.Column("shipment_id", sa.Uuid, primary_key=True),
        sa.Column("order_id", sa.Uuid, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("update_time", _TIME, nullable=False),
        sa.Column("user_id", sa.Text),
        sa.Column("tracking_number", sa.Text),
        sa.Column("rate_currency", sa.Text),
        sa.Column("rate_units", sa.BigInteger),
        sa.Column("rate_nanos", sa.Integer),
        sa.Column("recipient", sa.Text),
        sa.Column("street_lines", ARRAY(sa.Text)),
        sa.Column("postal_code", sa.Text),
        sa.Column("city", sa.Text),
        sa.Column("country_code", sa.Text),
        sa.Column("create_time", _TIME),
        sa.UniqueConstraint("order_id", name="shipments_order_unique"),
        sa.UniqueConstraint("tracking_number", name="shipments_tracking_number_unique"),
        sa.CheckConstraint(
            "state in ('created', 'in_transit', 'delivered', 'returned', 'cancelled')", name="shipments_state"
        ),
        sa.CheckConstraint(
            f"num_nulls({_PARCEL}) = 0 or (state = 'cancelled' and num_nonnulls({_PARCEL}) = 0)",
            name="shipments_parcel",
        ),
        sa.CheckConstraint("rate_units >= 0 and rate_nanos between 0 and 999999999", name="shipments_rate"),
    )
    op.create_index(
        "shipments_by_create_time",
        "shipments",
        ["create_time", "shipment_id"],
        postgresql_where=sa.text("tracking_number IS NOT NULL"),
    )
    op.create_index(
        "shipments_under_way",
        "shipments",
        ["update_time"],
        postgresql_where=sa.text("state IN ('created', 'in_transit')"),
    )


def downgrade() -> None:
    op.drop_table("shipments")
