"""Remember of whom nothing is written down any more, and find what a user did."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "forgotten_users",
        sa.Column("user_id", sa.Text, primary_key=True),
        sa.Column("delete_time", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_index("behaviour_by_visitor", "behaviour", ["visitor_id", "time", "event_id"])
    op.create_index("visits_by_visitor", "visits", ["visitor_id"])


def downgrade() -> None:
    op.drop_index("visits_by_visitor", "visits")
    op.drop_index("behaviour_by_visitor", "behaviour")
    op.drop_table("forgotten_users")
