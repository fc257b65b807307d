"""The schema of orders."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    DateTime,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    Uuid,
)

__all__ = ["lines", "metadata", "orders"]

metadata = MetaData()

orders = Table(
    "orders",
    metadata,
    Column("order_id", Uuid, primary_key=True),
    # The subject of the shopper's token.
    Column("user_id", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("currency", Text, nullable=False),
    Column("total_units", BigInteger, nullable=False),
    Column("total_nanos", Integer, nullable=False),
    Column("create_time", DateTime(timezone=True), nullable=False),
    Column("update_time", DateTime(timezone=True), nullable=False),
    CheckConstraint("state in ('confirmed', 'cancelled')", name="orders_state"),
    Index("orders_by_user", "user_id", "create_time", "order_id"),
)

lines = Table(
    "order_lines",
    metadata,
    Column(
        "order_id",
        Uuid,
        ForeignKey(orders.c.order_id, name="order_lines_order", ondelete="CASCADE"),
        primary_key=True,
    ),
    Column("position", Integer, primary_key=True),
    Column("product_id", Uuid, nullable=False),
    Column("sku", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("price_units", BigInteger, nullable=False),
    Column("price_nanos", Integer, nullable=False),
    Column("quantity", Integer, nullable=False),
    CheckConstraint("quantity > 0", name="order_lines_quantity"),
)
