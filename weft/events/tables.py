"""What a service's database keeps of events; made by `weft/data/migrations`."""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Identity,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    func,
)

__all__ = ["inbox", "leases", "outbox"]

_METADATA: Final = MetaData()

outbox: Final = Table(
    "outbox",
    _METADATA,
    # Given out while the subject is locked, so that their order is the order of commits within a subject.
    Column("sequence", BigInteger, Identity(always=True), primary_key=True),
    Column("event_id", Uuid, nullable=False),
    Column("type", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("time", DateTime(timezone=True), nullable=False),
    Column("traceparent", Text, nullable=False),
    Column("data", LargeBinary, nullable=False),
    Column("publish_time", DateTime(timezone=True)),  # NULL until the broker has confirmed it
)

inbox: Final = Table(
    "inbox",
    _METADATA,
    Column("subscription", Text, primary_key=True),
    Column("event_id", Uuid, primary_key=True),
    Column("attempts", Integer, nullable=False, server_default="0"),  # begun, as far as they had to be written down
    Column("is_applied", Boolean, nullable=False),
    Column("update_time", DateTime(timezone=True), nullable=False, server_default=func.now()),
)

leases: Final = Table(
    "leases",
    _METADATA,
    Column("subscription", Text, primary_key=True),
    Column("holder", Text),  # NULL once it was given back
    Column("token", BigInteger, nullable=False),  # grows with every holder
    Column("expire_time", DateTime(timezone=True), nullable=False),
    UniqueConstraint("subscription", "token", name="leases_token"),
)
