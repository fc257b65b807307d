"""The schema of analytics."""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Date,
    DateTime,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Numeric,
    PrimaryKeyConstraint,
    Table,
    Text,
    Uuid,
)

__all__ = [
    "READ_MODELS",
    "behaviour",
    "behaviour_counts",
    "category_sales",
    "forgotten_users",
    "history",
    "metadata",
    "offers",
    "purchases",
    "sales",
    "sku_sales",
    "sold_lines",
    "visits",
]

_PERIODS: Final = "period IN ('slot', 'day', 'month', 'year')"
_KINDS: Final = "kind IN ('viewed', 'searched', 'added_to_cart')"

metadata = MetaData()

# Every event that was heard, as it came. Brokers forget, and this does not: all that follows is made of it, and can be
# made of it again. A trigger refuses to change or delete a row. So nothing personal may be in it: events name a user by
# an id, which leads to nobody once users has forgotten them, and says no more than who bought twice.
history = Table(
    "history",
    metadata,
    Column("event_id", Uuid, primary_key=True),
    Column("type", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("sequence", BigInteger, nullable=False),
    # When it happened.
    Column("time", DateTime(timezone=True), nullable=False),
    # The event's message, serialised.
    Column("data", LargeBinary, nullable=False),
    Index("history_by_time", "time", "event_id"),
)

# Sums of money are whole units with as many decimal places as they need, exact whatever is added up.

# What a product was called and where it belonged, from each time on.
offers = Table(
    "offers",
    metadata,
    Column("sku", Text, nullable=False),
    Column("time", DateTime(timezone=True), nullable=False),
    Column("sequence", BigInteger, nullable=False),
    Column("name", Text, nullable=False),
    Column("category", Text, nullable=False),
    PrimaryKeyConstraint("sku", "time", "sequence"),
)

# One row an order that was confirmed, chained to the one that its customer placed before.
purchases = Table(
    "purchases",
    metadata,
    Column("order_id", Uuid, primary_key=True),
    Column("user_id", Text, nullable=False),
    Column("time", DateTime(timezone=True), nullable=False),
    Column("previous_time", DateTime(timezone=True)),  # NULL on a customer's first
    Column("is_second", Boolean, nullable=False),
    Column("is_first_of_day", Boolean, nullable=False),  # of its customer, in UTC
    Index("purchases_by_user", "user_id", "time", "order_id"),
    # With all that reports ask of a purchase, so that they never go to the table.
    Index("purchases_by_time", "time", postgresql_include=["previous_time", "is_second", "is_first_of_day"]),
)

# What was sold, with name and category as of the sale.
sold_lines = Table(
    "sold_lines",
    metadata,
    Column("order_id", Uuid, nullable=False),
    Column("position", Integer, nullable=False),
    Column("time", DateTime(timezone=True), nullable=False),
    Column("sku", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("category", Text, nullable=False),
    Column("quantity", Integer, nullable=False),
    Column("unit_price", Numeric, nullable=False),
    PrimaryKeyConstraint("order_id", "position"),
    Index("sold_lines_by_time", "time", "order_id", "position"),
    Index("sold_lines_by_sku", "sku", "time"),
)

# Rolled up: by quarter of an hour, a *slot*, which every time zone's days are made of, and by day, month and year in
# UTC, so that a long range takes few rows.
sales = Table(
    "sales",
    metadata,
    Column("period", Text, nullable=False),
    Column("start", DateTime(timezone=True), nullable=False),
    Column("orders", BigInteger, nullable=False),
    Column("units", BigInteger, nullable=False),
    Column("revenue", Numeric, nullable=False),
    Column("captured", Numeric, nullable=False),
    Column("refunded", Numeric, nullable=False),
    PrimaryKeyConstraint("period", "start"),
    CheckConstraint(_PERIODS, name="sales_period"),
)
sku_sales = Table(
    "sku_sales",
    metadata,
    Column("period", Text, nullable=False),
    Column("start", DateTime(timezone=True), nullable=False),
    Column("sku", Text, nullable=False),
    Column("orders", BigInteger, nullable=False),
    Column("units", BigInteger, nullable=False),
    Column("revenue", Numeric, nullable=False),
    PrimaryKeyConstraint("period", "start", "sku"),
    CheckConstraint(_PERIODS, name="sku_sales_period"),
)
category_sales = Table(
    "category_sales",
    metadata,
    Column("period", Text, nullable=False),
    Column("start", DateTime(timezone=True), nullable=False),
    Column("category", Text, nullable=False),
    Column("orders", BigInteger, nullable=False),
    Column("units", BigInteger, nullable=False),
    Column("revenue", Numeric, nullable=False),
    PrimaryKeyConstraint("period", "start", "category"),
    CheckConstraint(_PERIODS, name="category_sales_period"),
)

READ_MODELS: Final = (offers, purchases, sold_lines, sales, sku_sales, category_sales)
"""All that follows from `history`. What shoppers did is no event, and is kept for itself."""

# What shoppers did, for as long as a repeat is known and somebody may ask; then only the counts remain.
behaviour = Table(
    "behaviour",
    metadata,
    Column("event_id", Uuid, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("visitor_id", Text, nullable=False),
    Column("product_id", Uuid),
    Column("time", DateTime(timezone=True), nullable=False),
    CheckConstraint(_KINDS, name="behaviour_kind"),
    Index("behaviour_by_time", "time"),
    Index("behaviour_by_visitor", "visitor_id", "time", "event_id"),
)
# Who was counted for a day (UTC) and kind.
visits = Table(
    "visits",
    metadata,
    Column("day", Date, nullable=False),
    Column("kind", Text, nullable=False),
    Column("visitor_id", Text, nullable=False),
    PrimaryKeyConstraint("day", "kind", "visitor_id"),
    CheckConstraint(_KINDS, name="visits_kind"),
    Index("visits_by_visitor", "visitor_id"),
)
behaviour_counts = Table(
    "behaviour_counts",
    metadata,
    Column("period", Text, nullable=False),
    Column("start", DateTime(timezone=True), nullable=False),
    Column("kind", Text, nullable=False),
    Column("events", BigInteger, nullable=False),
    Column("visitors", BigInteger, nullable=False),
    PrimaryKeyConstraint("period", "start", "kind"),
    CheckConstraint(_PERIODS, name="behaviour_counts_period"),
    CheckConstraint(_KINDS, name="behaviour_counts_kind"),
)

# Who has deleted their account: what is told later of what they did is not written down. It follows from `history`, and
# is no read model for all that: what shoppers did was deleted when it was heard, and isn't made anew.
forgotten_users = Table(
    "forgotten_users",
    metadata,
    Column("user_id", Text, primary_key=True),
    Column("delete_time", DateTime(timezone=True), nullable=False),
)
