"""Number the changes of what shoppers may know of stock."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Nobody was told of any level so far, so the next change of each is told, whether it crosses anything or not.
    op.add_column("stock", sa.Column("revision", sa.BigInteger, nullable=False, server_default="0"))


def downgrade() -> None:
    op.drop_column("stock", "revision")
