"""Create notices and notifications."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_TIME = sa.DateTime(timezone=True)
_TEMPLATES = (
    "template in ('welcome', 'order_confirmed', 'order_shipped', 'order_delivered', 'refunded', 'payment_failed',"
    " 'stock_low')"
)


def upgrade() -> None:
    op.create_table(
        "notices",
        sa.Column("event_id", sa.Uuid, primary_key=True),
        sa.Column("template", sa.Text, nullable=False),
        sa.Column("user_id", sa.Text),
        sa.Column("subject", sa.Text, nullable=False),
        sa.Column("facts", JSONB, nullable=False),
        sa.Column("create_time", _TIME, nullable=False),
        sa.Column("due_time", _TIME),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.CheckConstraint(_TEMPLATES, name="notices_template"),
    )
    op.create_index("notices_due", "notices", ["due_time"], postgresql_where=sa.text("due_time IS NOT NULL"))
    op.create_table(
        "notifications",
        sa.Column("notification_id", sa.Uuid, primary_key=True),
        sa.Column("event_id", sa.Uuid, nullable=False),
        sa.Column("user_id", sa.Text, nullable=False),
        sa.Column("channel", sa.Text, nullable=False),
        sa.Column("language", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("failure_reason", sa.Text, nullable=False),
        sa.Column("create_time", _TIME, nullable=False),
        sa.Column("update_time", _TIME, nullable=False),
        sa.Column("due_time", _TIME),
        sa.ForeignKeyConstraint(["event_id"], ["notices.event_id"], name="notifications_notice"),
        sa.UniqueConstraint("event_id", "user_id", "channel", name="notifications_once"),
        sa.CheckConstraint("channel in ('email', 'sms', 'push')", name="notifications_channel"),
        sa.CheckConstraint("state in ('pending', 'sent', 'failed')", name="notifications_state"),
        sa.CheckConstraint("(state = 'pending') = (due_time is not null)", name="notifications_due_time"),
    )
    pending = sa.text("state = 'pending'")
    op.create_index("notifications_due", "notifications", ["channel", "due_time"], postgresql_where=pending)
    op.create_index("notifications_pending", "notifications", ["channel", "create_time"], postgresql_where=pending)
    op.create_index("notifications_by_create_time", "notifications", ["create_time", "notification_id"])
    op.create_index("notifications_by_user", "notifications", ["user_id", "create_time", "notification_id"])


def downgrade() -> None:
    op.drop_table("notifications")
    op.drop_table("notices")
