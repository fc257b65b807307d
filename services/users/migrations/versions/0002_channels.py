"""Keep how users want to be told, and where that leads; find administrators."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("users", sa.Column("channels", ARRAY(sa.Text), nullable=False, server_default="{email}"))
    op.add_column("users", sa.Column("phone_number", sa.Text, nullable=False, server_default=""))
    op.add_column("users", sa.Column("push_token", sa.Text, nullable=False, server_default=""))
    op.create_check_constraint(
        "users_channels", "users", "channels <@ '{email,sms,push}' and cardinality(channels) between 1 and 3"
    )
    op.create_index(
        "users_administrators",
        "users",
        ["create_time", "user_id"],
        postgresql_where=sa.text("roles @> '{admin}' AND state = 'active'"),
    )


def downgrade() -> None:
    op.drop_index("users_administrators", "users")
    for column in ("push_token", "phone_number", "channels"):
        op.drop_column("users", column)
