"""Let accounts be deleted: they keep their id, and nothing that says whose they were."""

from __future__ import annotations

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.alter_column("users", "normalized_email", nullable=True)
    op.drop_constraint("users_state", "users")
    op.create_check_constraint("users_state", "users", "state in ('active', 'deactivated', 'deleted')")
    op.create_check_constraint("users_deleted", "users", "(state = 'deleted') = (normalized_email is null)")


def downgrade() -> None:
    op.execute("DELETE FROM users WHERE state = 'deleted'")
    op.drop_constraint("users_deleted", "users")
    op.drop_constraint("users_state", "users")
    op.create_check_constraint("users_state", "users", "state in ('active', 'deactivated')")
    op.alter_column("users", "normalized_email", nullable=False)
