"""Find the reservations that were over long ago."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index(
        "reservations_ended",
        "reservations",
        ["update_time"],
        postgresql_where=sa.text("state IN ('committed', 'released', 'returned')"),
    )


def downgrade() -> None:
    op.drop_index("reservations_ended", "reservations")
