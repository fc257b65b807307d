"""The schema of shipping."""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    DateTime,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
)
from sqlalchemy.dialects.postgresql import ARRAY

__all__ = ["ORDER_UNIQUE", "forgotten_users", "metadata", "shipments"]

ORDER_UNIQUE: Final = "shipments_order_unique"
PARCEL: Final = (
    "user_id, tracking_number, rate_currency, rate_units, rate_nanos, recipient, street_lines, postal_code, city,"
    " country_code, create_time"
)

metadata = MetaData()

# No row is deleted. A parcel is shown to its recipient for as long as the order that it carries, and orders stay. A
# row without one is all that keeps a parcel from being booked for an order that was called off, however late.
shipments = Table(
    "shipments",
    metadata,
    Column("shipment_id", Uuid, primary_key=True),
    Column("order_id", Uuid, nullable=False),
    Column("state", Text, nullable=False),
    Column("update_time", DateTime(timezone=True), nullable=False),
    # The parcel: all of it, or nothing where the order was called off before it was booked.
    Column("user_id", Text),
    Column("tracking_number", Text),
    Column("rate_currency", Text),
    Column("rate_units", BigInteger),
    Column("rate_nanos", Integer),
    # Personal: for the carrier, the recipient and administrators. All but the country are empty once the user has
    # deleted their account and the parcel is at rest.
    Column("recipient", Text),
    Column("street_lines", ARRAY(Text)),
    Column("postal_code", Text),
    Column("city", Text),
    Column("country_code", Text),
    Column("create_time", DateTime(timezone=True)),
    UniqueConstraint("order_id", name=ORDER_UNIQUE),
    UniqueConstraint("tracking_number", name="shipments_tracking_number_unique"),
    CheckConstraint("state in ('created', 'in_transit', 'delivered', 'returned', 'cancelled')", name="shipments_state"),
    CheckConstraint(
        f"num_nulls({PARCEL}) = 0 or (state = 'cancelled' and num_nonnulls({PARCEL}) = 0)", name="shipments_parcel"
    ),
    CheckConstraint("rate_units >= 0 and rate_nanos between 0 and 999999999", name="shipments_rate"),
)
Index(
    "shipments_by_create_time",
    shipments.c.create_time,
    shipments.c.shipment_id,
    postgresql_where=shipments.c.tracking_number.is_not(None),
)
Index(
    "shipments_by_user",
    shipments.c.user_id,
    shipments.c.create_time,
    shipments.c.shipment_id,
    postgresql_where=shipments.c.user_id.is_not(None),
)
Index(
    "shipments_under_way",
    shipments.c.update_time,
    postgresql_where=shipments.c.state.in_(["created", "in_transit"]),
)

# Who has deleted their account, so that a parcel which is under way then loses its address when it comes to rest.
forgotten_users = Table(
    "forgotten_users",
    metadata,
    Column("user_id", Text, primary_key=True),
    Column("delete_time", DateTime(timezone=True), nullable=False),
)
