"""Find a user's payments."""

from __future__ import annotations

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("payments_by_user", "payments", ["user_id", "create_time", "payment_id"])


def downgrade() -> None:
    op.drop_index("payments_by_user", "payments")
