"""Create the histories of orders, and give those one that have none.

An order from before was confirmed as it was placed, and whoever cancelled it was its shopper.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_TIME = sa.DateTime(timezone=True)
_STATES = "'pending', 'confirmed', 'cancelling', 'cancelled', 'shipped', 'delivered', 'returned'"

_PLACED = """
    INSERT INTO order_events (order_id, version, type, data, time)
    SELECT order_id, 1, 'placed', jsonb_build_object('user_id', user_id, 'lines', bought.lines, 'destination', NULL),
           create_time
    FROM orders CROSS JOIN LATERAL (
        SELECT jsonb_agg(
                   jsonb_build_object(
                       'product_id', product_id, 'sku', sku, 'name', name, 'quantity', quantity, 'unit_price',
                       jsonb_build_object('currency', currency, 'units', price_units, 'nanos', price_nanos)
                   ) ORDER BY position
               ) AS lines
        FROM order_lines WHERE order_lines.order_id = orders.order_id
    ) AS bought
"""
_CONFIRMED = """
    INSERT INTO order_events (order_id, version, type, data, time)
    SELECT order_id, 2, 'confirmed', '{}', create_time FROM orders
"""
_CANCELLED = """
    INSERT INTO order_events (order_id, version, type, data, time)
    SELECT order_id, version, type, '{"reason": "CANCELLED_BY_USER"}', update_time
    FROM orders CROSS JOIN (VALUES (3, 'cancellation_requested'), (4, 'cancelled')) AS happened (version, type)
    WHERE state = 'cancelled'
"""
_ORDERS = """
    UPDATE orders
    SET confirm_time = create_time, version = CASE state WHEN 'cancelled' THEN 4 ELSE 2 END,
        cancel_reason = CASE state WHEN 'cancelled' THEN 'CANCELLED_BY_USER' ELSE '' END
"""


def upgrade() -> None:
    op.create_table(
        "order_events",
        sa.Column("order_id", sa.Uuid, primary_key=True),
        sa.Column("version", sa.Integer, primary_key=True),
        sa.Column("type", sa.Text, nullable=False),
        sa.Column("data", JSONB, nullable=False),
        sa.Column("time", _TIME, nullable=False),
        sa.CheckConstraint("version > 0", name="order_events_version"),
    )
    op.execute("LOCK TABLE orders IN ACCESS EXCLUSIVE MODE")  # whoever waits to write finds the new columns
    for statement in (_PLACED, _CONFIRMED, _CANCELLED):
        op.execute(statement)
    op.add_column("orders", sa.Column("confirm_time", _TIME))
    op.add_column("orders", sa.Column("cancel_reason", sa.Text, nullable=False, server_default=""))
    op.add_column("orders", sa.Column("destination", JSONB))
    op.add_column("orders", sa.Column("version", sa.Integer, nullable=False, server_default="1"))
    op.execute(_ORDERS)
    op.alter_column("orders", "cancel_reason", server_default=None)
    op.alter_column("orders", "version", server_default=None)
    op.drop_constraint("orders_state", "orders")
    op.create_check_constraint("orders_state", "orders", f"state in ({_STATES})")
    op.create_index("orders_by_state", "orders", ["state", "create_time", "order_id"])
    op.create_index("orders_by_time", "orders", ["create_time", "order_id"])
    op.create_table(
        "placements",
        sa.Column("user_id", sa.Text, primary_key=True),
        sa.Column("request_id", sa.Text, primary_key=True),
        sa.Column("order_id", sa.Uuid, nullable=False),
        sa.Column("fingerprint", sa.LargeBinary, nullable=False),
        sa.Column("create_time", _TIME, nullable=False, server_default=sa.func.now()),
    )
    op.create_table(
        "payment_methods",
        sa.Column("order_id", sa.Uuid, primary_key=True),
        sa.Column("payment_method", sa.Text, nullable=False),
    )


def downgrade() -> None:
    """What an order then can't say any more becomes the nearest of what it can."""
    op.drop_table("payment_methods")
    op.drop_table("placements")
    op.drop_index("orders_by_time", "orders")
    op.drop_index("orders_by_state", "orders")
    op.drop_constraint("orders_state", "orders")
    op.execute(
        "UPDATE orders SET state = CASE WHEN state IN ('pending', 'cancelling', 'cancelled') THEN 'cancelled'"
        " ELSE 'confirmed' END"
    )
    op.create_check_constraint("orders_state", "orders", "state in ('confirmed', 'cancelled')")
    for column in ("version", "destination", "cancel_reason", "confirm_time"):
        op.drop_column("orders", column)
    op.drop_table("order_events")
