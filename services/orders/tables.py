"""The schema of orders."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    DateTime,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    Uuid,
    func,
)
from sqlalchemy.dialects.postgresql import JSONB

__all__ = [
    "cart_items",
    "carts",
    "forgotten_users",
    "lines",
    "metadata",
    "order_events",
    "orders",
    "payment_methods",
    "placements",
]

metadata = MetaData()

# What orders are made of. Rows are added and never changed, but for what `forgetting` takes out; of two that add
# the same version, one is too late.
order_events = Table(
    "order_events",
    metadata,
    Column("order_id", Uuid, primary_key=True),
    Column("version", Integer, primary_key=True),  # from 1 on, without gaps
    Column("type", Text, nullable=False),
    Column("data", JSONB, nullable=False),
    Column("time", DateTime(timezone=True), nullable=False),
    CheckConstraint("version > 0", name="order_events_version"),
)

# What is derived from that, to be read: `projections` keeps it, and can make it anew.
orders = Table(
    "orders",
    metadata,
    Column("order_id", Uuid, primary_key=True),
    # The subject of the shopper's token.
    Column("user_id", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("currency", Text, nullable=False),
    # What sending costs is in the total. The defaults are what is true of orders that replicas from before place, too.
    Column("shipping_units", BigInteger, nullable=False, server_default="0"),
    Column("shipping_nanos", Integer, nullable=False, server_default="0"),
    Column("taxes", JSONB, nullable=False, server_default="[]"),
    Column("total_units", BigInteger, nullable=False),
    Column("total_nanos", Integer, nullable=False),
    Column("create_time", DateTime(timezone=True), nullable=False),
    Column("update_time", DateTime(timezone=True), nullable=False),
    Column("confirm_time", DateTime(timezone=True)),
    Column("cancel_reason", Text, nullable=False),
    # NULL in orders from before there were shipments, and in those at rest whose users have deleted their account.
    Column("destination", JSONB(none_as_null=True)),
    Column("version", Integer, nullable=False),
    CheckConstraint(
        "state in ('pending', 'confirmed', 'cancelling', 'cancelled', 'shipped', 'delivered', 'returned')",
        name="orders_state",
    ),
    Index("orders_by_user", "user_id", "create_time", "order_id"),
    Index("orders_by_state", "state", "create_time", "order_id"),
    Index("orders_by_time", "create_time", "order_id"),
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

# Which order a request placed, so that its repeats join it while it is not answered yet. Kept as long as answers are.
placements = Table(
    "placements",
    metadata,
    Column("user_id", Text, primary_key=True),
    Column("request_id", Text, primary_key=True),
    Column("order_id", Uuid, nullable=False),
    Column("fingerprint", LargeBinary, nullable=False),
    Column("create_time", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Index("placements_by_create_time", "create_time"),
)

# What to pay an order with, until its money is held or it is off. Nowhere else, so that it is gone then.
payment_methods = Table(
    "payment_methods",
    metadata,
    Column("order_id", Uuid, primary_key=True),
    Column("payment_method", Text, nullable=False),
)

# What somebody means to buy. Whoever changes a cart has locked its row here, so that changes come one after another.
carts = Table(
    "carts",
    metadata,
    Column("user_id", Text, primary_key=True),
    # The order that what is in the cart was last bought by; as long as that is pending, nothing else buys it again.
    Column("order_id", Uuid),
    Column("update_time", DateTime(timezone=True), nullable=False),
    Index("carts_by_update_time", "update_time"),
)

cart_items = Table(
    "cart_items",
    metadata,
    Column("user_id", Text, ForeignKey(carts.c.user_id, name="cart_items_cart", ondelete="CASCADE"), primary_key=True),
    Column("product_id", Uuid, primary_key=True),
    Column("quantity", Integer, nullable=False),
    # Grows with what is put in later.
    Column("position", BigInteger, Identity(always=True), nullable=False),
    CheckConstraint("quantity between 1 and 999", name="cart_items_quantity"),
)

# Who has deleted their account, so that an order which is on its way then forgets where to when it comes to rest.
forgotten_users = Table(
    "forgotten_users",
    metadata,
    Column("user_id", Text, primary_key=True),
    Column("delete_time", DateTime(timezone=True), nullable=False),
)
