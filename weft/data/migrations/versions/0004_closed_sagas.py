"""Let a person close a saga that is stuck: another status, which is over like those that end by themselves."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    _replace(
        statuses="'running', 'compensating', 'done', 'compensated', 'stuck', 'closed'",
        over="'done', 'compensated', 'closed'",
    )


def downgrade() -> None:
    op.execute("UPDATE sagas SET status = 'stuck' WHERE status = 'closed'")
    _replace(statuses="'running', 'compensating', 'done', 'compensated', 'stuck'", over="'done', 'compensated'")


def _replace(*, statuses: str, over: str) -> None:
    op.drop_constraint("sagas_status", "sagas")
    op.create_check_constraint("sagas_status", "sagas", f"status IN ({statuses})")
    op.drop_index("sagas_over", "sagas")
    op.create_index("sagas_over", "sagas", ["update_time"], postgresql_where=sa.text(f"status IN ({over})"))
