"""Create outbox, inbox and leases, which `weft.events` keeps."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "outbox",
        sa.Column("sequence", sa.BigInteger, sa.Identity(always=True), primary_key=True),
        sa.Column("event_id", sa.Uuid, nullable=False),
        sa.Column("type", sa.Text, nullable=False),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("subject", sa.Text, nullable=False),
        sa.Column("time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("traceparent", sa.Text, nullable=False),
        sa.Column("data", sa.LargeBinary, nullable=False),
        sa.Column("publish_time", sa.DateTime(timezone=True)),
    )
    # Two ways to look at what is not published: oldest first, and subject by subject.
    unpublished = sa.text("publish_time IS NULL")
    op.create_index("outbox_unpublished", "outbox", ["sequence"], postgresql_where=unpublished)
    op.create_index("outbox_unpublished_of_subject", "outbox", ["subject", "sequence"], postgresql_where=unpublished)
    # Its rows change once each and its queries look at a moving end, so the usual share of dead rows is too many.
    op.execute("ALTER TABLE outbox SET (autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.02)")
    op.create_table(
        "inbox",
        sa.Column("subscription", sa.Text, primary_key=True),
        sa.Column("event_id", sa.Uuid, primary_key=True),
        sa.Column("attempts", sa.Integer, nullable=False, server_default="0"),
        sa.Column("is_applied", sa.Boolean, nullable=False),
        sa.Column("update_time", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
    )
    op.create_index("inbox_update_time", "inbox", ["update_time"])
    op.create_table(
        "leases",
        sa.Column("subscription", sa.Text, primary_key=True),
        sa.Column("holder", sa.Text),
        sa.Column("token", sa.BigInteger, nullable=False),
        sa.Column("expire_time", sa.DateTime(timezone=True), nullable=False),
        # Makes the token part of a key: who takes a lease waits for those who hold its row FOR KEY SHARE, who renews it
        # does not.
        sa.UniqueConstraint("subscription", "token", name="leases_token"),
    )


def downgrade() -> None:
    op.drop_table("leases")
    op.drop_table("inbox")
    op.drop_table("outbox")
