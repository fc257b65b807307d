"""What a service's database keeps of sagas; made by `weft/data/migrations`."""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    Boolean,
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
    func,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

__all__ = ["saga_log", "sagas"]

_METADATA: Final = MetaData()

sagas: Final = Table(
    "sagas",
    _METADATA,
    Column("saga_id", Uuid, primary_key=True),
    Column("definition", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("is_forward", Boolean, nullable=False),
    # By name, not by number: replicas of two builds run the same sagas while one replaces the other.
    Column("step", Text, nullable=False),
    Column("effects", ARRAY(Text), nullable=False),
    Column("is_pivoted", Boolean, nullable=False),
    Column("data", JSONB, nullable=False),
    Column("failure", JSONB),
    Column("attempt", Integer, nullable=False),
    Column("is_in_doubt", Boolean, nullable=False),
    Column("lease_holder", Text),  # NULL while nobody runs it
    # The end of the holder's lease; without a holder, the time of the next attempt.
    Column("due_time", DateTime(timezone=True), nullable=False),
    Column("version", Integer, nullable=False),
    Column("log_number", Integer, nullable=False),
    Column("traceparent", Text, nullable=False),
    Column("create_time", DateTime(timezone=True), nullable=False, server_default=func.clock_timestamp()),
    Column("update_time", DateTime(timezone=True), nullable=False, server_default=func.clock_timestamp()),
    CheckConstraint(
        "status IN ('running', 'compensating', 'done', 'compensated', 'stuck', 'closed')", name="sagas_status"
    ),
    CheckConstraint("NOT is_pivoted OR is_forward", name="sagas_pivot_is_final"),
    Index("sagas_due", "due_time", postgresql_where=text("status IN ('running', 'compensating')")),
    Index("sagas_stuck", "update_time", postgresql_where=text("status = 'stuck'")),
    Index("sagas_over", "update_time", postgresql_where=text("status IN ('done', 'compensated', 'closed')")),
)

saga_log: Final = Table(
    "saga_log",
    _METADATA,
    Column("saga_id", Uuid, ForeignKey(sagas.c.saga_id, name="saga_log_saga", ondelete="CASCADE"), primary_key=True),
    Column("number", Integer, primary_key=True),  # from 1 on
    Column("time", DateTime(timezone=True), nullable=False),
    Column("step", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("holder", Text, nullable=False),
    Column("reason", Text, nullable=False),
)
