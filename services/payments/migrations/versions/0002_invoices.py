"""Create invoices, their numbers, and what captures under way are for.

Payments captured before have no invoice, and their refunds no credit note: what was bought is not known here, and
numbers are given in the order of issue, so none can be added for a day that is over.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "bills",
        sa.Column("order_id", sa.Uuid, primary_key=True),
        sa.Column("content", JSONB, nullable=False),
        sa.ForeignKeyConstraint(["order_id"], ["payments.order_id"], name="bills_order"),
    )
    op.create_table(
        "invoices",
        sa.Column("year", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("ordinal", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("order_id", sa.Uuid, nullable=False),
        sa.Column("user_id", sa.Text, nullable=False),
        sa.Column("issue_time", _TIME, nullable=False),
        sa.Column("corrects_year", sa.Integer),
        sa.Column("corrects_ordinal", sa.Integer),
        sa.Column("currency", sa.Text, nullable=False),
        sa.Column("total_minor", sa.BigInteger, nullable=False),
        sa.Column("seller", JSONB, nullable=False),
        sa.Column("content", JSONB, nullable=False),
        sa.ForeignKeyConstraint(["order_id"], ["payments.order_id"], name="invoices_order"),
        sa.ForeignKeyConstraint(
            ["corrects_year", "corrects_ordinal"], ["invoices.year", "invoices.ordinal"], name="invoices_corrects"
        ),
        sa.CheckConstraint("kind in ('invoice', 'credit_note')", name="invoices_kind"),
        sa.CheckConstraint(
            "(kind = 'credit_note') = (corrects_year is not null)"
            " and (corrects_year is null) = (corrects_ordinal is null)",
            name="invoices_credit_note",
        ),
        sa.CheckConstraint("ordinal > 0", name="invoices_ordinal"),
        sa.CheckConstraint("total_minor > 0", name="invoices_total"),
    )
    op.create_index("invoices_by_order", "invoices", ["order_id"])
    op.create_index("invoices_by_user", "invoices", ["user_id", "year", "ordinal"])
    op.create_index(
        "invoices_order_unique", "invoices", ["order_id"], unique=True, postgresql_where=sa.text("kind = 'invoice'")
    )
    op.create_table(
        "invoice_numbers",
        sa.Column("year", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("last_ordinal", sa.Integer, nullable=False),
        sa.Column("last_issue_time", _TIME, nullable=False),
    )
    # A trigger and no privilege, for the service owns its tables, and an owner grants itself whatever it likes.
    op.execute(
        """
        create function refuse_to_change_invoices() returns trigger language plpgsql as
        $$ begin raise exception 'invoices never change' using errcode = 'restrict_violation'; end $$
        """
    )
    op.execute(
        """
        create trigger invoices_never_change before update or delete on invoices
        for each row execute function refuse_to_change_invoices()
        """
    )


def downgrade() -> None:
    op.drop_table("invoice_numbers")
    op.drop_table("invoices")
    op.execute("drop function refuse_to_change_invoices()")
    op.drop_table("bills")
