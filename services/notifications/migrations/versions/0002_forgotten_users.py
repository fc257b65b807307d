"""Remember who is told nothing any more, and find a user's notices."""

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
    op.create_index("notices_by_user", "notices", ["user_id"], postgresql_where=sa.text("user_id IS NOT NULL"))


def downgrade() -> None:
    op.drop_index("notices_by_user", "notices")
    op.drop_table("forgotten_users")
