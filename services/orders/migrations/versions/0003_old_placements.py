"""Find the placements that are too old for their requests to be repeated."""

from __future__ import annotations

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("placements_by_create_time", "placements", ["create_time"])


def downgrade() -> None:
    op.drop_index("placements_by_create_time", "placements")
