"""The schema of inventory."""

from __future__ import annotations

from sqlalchemy import BigInteger, CheckConstraint, Column, DateTime, Identity, Index, MetaData, Table, Text, Uuid
from sqlalchemy.dialects.postgresql import JSONB

__all__ = ["changes", "metadata", "reservations", "stock"]

metadata = MetaData()

stock = Table(
    "stock",
    metadata,
    # Collation "C" orders pages the same on every server and for ever.
    Column("sku", Text(collation="C"), primary_key=True),
    Column("on_hand", BigInteger, nullable=False),
    Column("reserved", BigInteger, nullable=False),
    Column("sold", BigInteger, nullable=False),
    Column("low_stock_threshold", BigInteger, nullable=False),
    Column("update_time", DateTime(timezone=True), nullable=False),
    # How often what is left has changed by a word; 0 until anybody was told.
    Column("revision", BigInteger, nullable=False, server_default="0"),
    CheckConstraint("on_hand >= 0", name="stock_on_hand"),
    CheckConstraint("reserved >= 0", name="stock_reserved"),
    CheckConstraint("sold >= 0", name="stock_sold"),
    CheckConstraint("low_stock_threshold >= 0", name="stock_low_stock_threshold"),
)

reservations = Table(
    "reservations",
    metadata,
    Column("order_id", Uuid, primary_key=True),
    Column("state", Text, nullable=False),
    # SKU -> quantity; empty where an order was called off before it reserved any.
    Column("lines", JSONB, nullable=False),
    Column("expire_time", DateTime(timezone=True), nullable=False),
    Column("create_time", DateTime(timezone=True), nullable=False),
    Column("update_time", DateTime(timezone=True), nullable=False),
    CheckConstraint("state in ('reserved', 'committed', 'released', 'expired', 'returned')", name="reservations_state"),
    CheckConstraint("state = 'released' or lines <> '{}'", name="reservations_lines"),
)
Index("reservations_by_expire_time", reservations.c.expire_time, postgresql_where=reservations.c.state == "reserved")

Index(
    "reservations_ended",
    reservations.c.update_time,
    postgresql_where=reservations.c.state.in_(["committed", "released", "returned"]),
)

# The ledger: what has become of every unit there ever was. It is history, and no row of it is ever changed or deleted.
changes = Table(
    "stock_changes",
    metadata,
    Column("sku", Text(collation="C"), primary_key=True),
    # Given out while the SKU is locked, so that their order is the order of commits within a SKU.
    Column("change_id", BigInteger, Identity(always=True), primary_key=True),
    Column("kind", Text, nullable=False),
    Column("on_hand_delta", BigInteger, nullable=False),
    Column("reserved_delta", BigInteger, nullable=False),
    Column("sold_delta", BigInteger, nullable=False),
    Column("order_id", Uuid),
    Column("reason", Text, nullable=False),
    Column("create_time", DateTime(timezone=True), nullable=False),
    CheckConstraint(
        "kind in ('adjusted', 'reserved', 'released', 'expired', 'committed', 'returned')", name="stock_changes_kind"
    ),
    CheckConstraint("(kind = 'adjusted') = (order_id is null)", name="stock_changes_order"),
    # Orders move units; only an administrator adds some or takes some away.
    CheckConstraint("kind = 'adjusted' or on_hand_delta + reserved_delta + sold_delta = 0", name="stock_changes_sum"),
)
