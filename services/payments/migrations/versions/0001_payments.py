"""Create payments and their refunds."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "payments",
        sa.Column("payment_id", sa.Uuid, primary_key=True),
        sa.Column("order_id", sa.Uuid, nullable=False),
        sa.Column("user_id", sa.Text, nullable=False),
        sa.Column("currency", sa.Text, nullable=False),
        sa.Column("amount_minor", sa.BigInteger, nullable=False),
        sa.Column("refunded_minor", sa.BigInteger, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("pending", sa.Text),
        sa.Column("pending_refund_id", sa.Uuid),
        sa.Column("pending_refund_minor", sa.BigInteger),
        sa.Column("decline_code", sa.Text, nullable=False),
        sa.Column("provider_reference", sa.Text),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("due_time", _TIME),
        sa.Column("is_nudged", sa.Boolean, nullable=False),
        sa.Column("claim_id", sa.Uuid),
        sa.Column("claim_expire_time", _TIME),
        sa.Column("create_time", _TIME, nullable=False),
        sa.Column("update_time", _TIME, nullable=False),
        sa.UniqueConstraint("order_id", name="payments_order_unique"),
        sa.CheckConstraint(
            "state in ('authorizing', 'authorized', 'declined', 'captured', 'voided', 'refunded')",
            name="payments_state",
        ),
        sa.CheckConstraint("pending in ('authorize', 'capture', 'void', 'refund')", name="payments_pending"),
        sa.CheckConstraint(
            "coalesce(pending = 'refund', false) = (pending_refund_id is not null)"
            " and (pending_refund_id is null) = (pending_refund_minor is null)",
            name="payments_pending_refund",
        ),
        sa.CheckConstraint("refunded_minor between 0 and amount_minor", name="payments_refunded"),
        sa.CheckConstraint(
            "state <> 'authorizing' or coalesce(pending in ('authorize', 'void'), false)", name="payments_authorizing"
        ),
        sa.CheckConstraint("(user_id = '') = (amount_minor = 0)", name="payments_closed_door"),
    )
    op.create_index("payments_by_create_time", "payments", ["create_time", "payment_id"])
    op.create_index("payments_by_due_time", "payments", ["due_time"], postgresql_where=sa.text("due_time IS NOT NULL"))
    op.create_table(
        "refunds",
        sa.Column("refund_id", sa.Uuid, primary_key=True),
        sa.Column("payment_id", sa.Uuid, nullable=False),
        sa.Column("amount_minor", sa.BigInteger, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("create_time", _TIME, nullable=False),
        sa.ForeignKeyConstraint(["payment_id"], ["payments.payment_id"], name="refunds_payment"),
        sa.CheckConstraint("state in ('pending', 'done', 'refused')", name="refunds_state"),
        sa.CheckConstraint("amount_minor > 0", name="refunds_amount"),
    )
    op.create_index("refunds_by_payment", "refunds", ["payment_id"])


def downgrade() -> None:
    op.drop_table("refunds")
    op.drop_table("payments")
