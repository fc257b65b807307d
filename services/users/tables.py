"""The schema of users."""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    ForeignKey,
    Index,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY

__all__ = ["EMAIL_UNIQUE", "metadata", "refresh_tokens", "sessions", "users"]

EMAIL_UNIQUE: Final = "users_normalized_email_unique"

metadata = MetaData()

users = Table(
    "users",
    metadata,
    Column("user_id", Uuid, primary_key=True),
    # Of a deleted account this and all below are as if never given, but for the state and the times.
    Column("email", Text, nullable=False),
    # NULL in deleted accounts, so that the address is free for a new one, and nothing that is typed in finds them.
    Column("normalized_email", Text),
    Column("password_hash", Text, nullable=False),
    Column("first_name", Text, nullable=False),
    Column("last_name", Text, nullable=False),
    Column("roles", ARRAY(Text), nullable=False),
    Column("state", Text, nullable=False),
    Column("language", Text, nullable=False),
    Column("marketing", Boolean, nullable=False),
    Column("channels", ARRAY(Text), nullable=False, server_default="{email}"),
    Column("phone_number", Text, nullable=False, server_default=""),
    Column("push_token", Text, nullable=False, server_default=""),
    Column("create_time", DateTime(timezone=True), nullable=False),
    Column("update_time", DateTime(timezone=True), nullable=False),
    UniqueConstraint("normalized_email", name=EMAIL_UNIQUE),
    CheckConstraint("state in ('active', 'deactivated', 'deleted')", name="users_state"),
    CheckConstraint("(state = 'deleted') = (normalized_email is null)", name="users_deleted"),
    CheckConstraint("channels <@ '{email,sms,push}' and cardinality(channels) between 1 and 3", name="users_channels"),
    Index("users_by_create_time", "create_time", "user_id"),
    Index(
        "users_administrators",
        "create_time",
        "user_id",
        postgresql_where=text("roles @> '{admin}' AND state = 'active'"),
    ),
)

sessions = Table(
    "sessions",
    metadata,
    Column("session_id", Uuid, primary_key=True),
    Column("user_id", Uuid, ForeignKey(users.c.user_id, name="sessions_user", ondelete="CASCADE"), nullable=False),
    Column("create_time", DateTime(timezone=True), nullable=False),
    Column("expire_time", DateTime(timezone=True), nullable=False),
    Column("end_time", DateTime(timezone=True)),
    Index("sessions_by_user", "user_id"),
    Index("sessions_by_expire_time", "expire_time"),
)
"""`end_time` is set when a session ends before it expires."""

refresh_tokens = Table(
    "refresh_tokens",
    metadata,
    Column("digest", LargeBinary, primary_key=True),
    Column(
        "session_id",
        Uuid,
        ForeignKey(sessions.c.session_id, name="refresh_tokens_session", ondelete="CASCADE"),
        nullable=False,
    ),
    Column("expire_time", DateTime(timezone=True), nullable=False),
    Column("use_time", DateTime(timezone=True)),
    Index("refresh_tokens_by_session", "session_id"),
)
"""Used tokens are kept until they expire: a second use must be recognised."""
