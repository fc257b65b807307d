"""Create sagas and saga_log, which `weft.saga` keeps."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "sagas",
        sa.Column("saga_id", sa.Uuid, primary_key=True),
        sa.Column("definition", sa.Text, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("is_forward", sa.Boolean, nullable=False),
        sa.Column("step", sa.Text, nullable=False),
        sa.Column("effects", ARRAY(sa.Text), nullable=False),
        sa.Column("is_pivoted", sa.Boolean, nullable=False),
        sa.Column("data", JSONB, nullable=False),
        sa.Column("failure", JSONB),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("is_in_doubt", sa.Boolean, nullable=False),
        sa.Column("lease_holder", sa.Text),
        sa.Column("due_time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("log_number", sa.Integer, nullable=False),
        sa.Column("traceparent", sa.Text, nullable=False),
        sa.Column("create_time", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.clock_timestamp()),
        sa.Column("update_time", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.clock_timestamp()),
        sa.CheckConstraint(
            "status in ('running', 'compensating', 'done', 'compensated', 'stuck')", name="sagas_status"
        ),
        sa.CheckConstraint("NOT is_pivoted OR is_forward", name="sagas_pivot_is_final"),
    )
    for name, column, status in (
        ("sagas_due", "due_time", "status IN ('running', 'compensating')"),
        ("sagas_stuck", "update_time", "status = 'stuck'"),
        ("sagas_over", "update_time", "status IN ('done', 'compensated')"),
    ):
        op.create_index(name, "sagas", [column], postgresql_where=sa.text(status))
    # Each row is rewritten once a step, so the usual share of dead rows is too many.
    op.execute("ALTER TABLE sagas SET (autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.02)")
    op.create_table(
        "saga_log",
        sa.Column(
            "saga_id",
            sa.Uuid,
            sa.ForeignKey("sagas.saga_id", name="saga_log_saga", ondelete="CASCADE"),
            primary_key=True,
        ),
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("step", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("holder", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
    )


def downgrade() -> None:
    op.drop_table("saga_log")
    op.drop_table("sagas")
