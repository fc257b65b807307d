"""The schema of notifications."""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    CheckConstraint,
    Column,
    DateTime,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

__all__ = ["forgotten_users", "metadata", "notices", "notifications"]

TEMPLATES: Final = (
    "template in ('welcome', 'order_confirmed', 'order_shipped', 'order_delivered', 'refunded', 'payment_failed',"
    " 'stock_low')"
)

metadata = MetaData()

# Nothing here says who a user is, or where they can be reached: `users` is asked each time something is sent.
notices = Table(
    "notices",
    metadata,
    Column("event_id", Uuid, primary_key=True),
    Column("template", Text, nullable=False),
    Column("user_id", Text),
    Column("subject", Text, nullable=False),
    Column("facts", JSONB, nullable=False),
    Column("create_time", DateTime(timezone=True), nullable=False),
    # When to find out whom it reaches; null once that is done.
    Column("due_time", DateTime(timezone=True)),
    Column("attempts", Integer, nullable=False),
    CheckConstraint(TEMPLATES, name="notices_template"),
    Index("notices_due", "due_time", postgresql_where=text("due_time IS NOT NULL")),
    Index("notices_by_user", "user_id", postgresql_where=text("user_id IS NOT NULL")),
)
"""One for each event that somebody is told of; without `user_id` it is for all administrators."""

notifications = Table(
    "notifications",
    metadata,
    Column("notification_id", Uuid, primary_key=True),
    Column("event_id", Uuid, ForeignKey(notices.c.event_id, name="notifications_notice"), nullable=False),
    Column("user_id", Text, nullable=False),
    Column("channel", Text, nullable=False),
    Column("language", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("failure_reason", Text, nullable=False),
    Column("create_time", DateTime(timezone=True), nullable=False),
    Column("update_time", DateTime(timezone=True), nullable=False),
    # When to try it next, or how long whoever tries it now has for that; null once it is not tried any more.
    Column("due_time", DateTime(timezone=True)),
    UniqueConstraint("event_id", "user_id", "channel", name="notifications_once"),
    CheckConstraint("channel in ('email', 'sms', 'push')", name="notifications_channel"),
    CheckConstraint("state in ('pending', 'sent', 'failed')", name="notifications_state"),
    CheckConstraint("(state = 'pending') = (due_time is not null)", name="notifications_due_time"),
    Index("notifications_due", "channel", "due_time", postgresql_where=text("state = 'pending'")),
    Index("notifications_pending", "channel", "create_time", postgresql_where=text("state = 'pending'")),
    Index("notifications_by_create_time", "create_time", "notification_id"),
    Index("notifications_by_user", "user_id", "create_time", "notification_id"),
)
"""A notice for one user by one channel. What it says is in its notice."""

# Who has deleted their account: what is heard of them later is no reason to tell them anything.
forgotten_users = Table(
    "forgotten_users",
    metadata,
    Column("user_id", Text, primary_key=True),
    Column("delete_time", DateTime(timezone=True), nullable=False),
)
