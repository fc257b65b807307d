"""The schema of payments and invoices. Nothing of a card, not even its token, is in it."""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
)
from sqlalchemy.dialects.postgresql import JSONB

__all__ = ["ORDER_UNIQUE", "bills", "invoice_numbers", "invoices", "metadata", "payments", "refunds"]

ORDER_UNIQUE: Final = "payments_order_unique"

metadata = MetaData()

payments = Table(
    "payments",
    metadata,
    Column("payment_id", Uuid, primary_key=True),
    Column("order_id", Uuid, nullable=False),
    # The subject of the shopper's token; empty where an order was called off before it was paid.
    Column("user_id", Text, nullable=False),
    Column("currency", Text, nullable=False),
    # Sums are in the currency's smallest unit.
    Column("amount_minor", BigInteger, nullable=False),
    Column("refunded_minor", BigInteger, nullable=False),
    Column("state", Text, nullable=False),
    Column("pending", Text),
    Column("pending_refund_id", Uuid),
    Column("pending_refund_minor", BigInteger),
    Column("decline_code", Text, nullable=False),
    Column("provider_reference", Text),
    Column("attempts", Integer, nullable=False),
    # When the provider is to be asked again; nothing is left to ask about where it is null.
    Column("due_time", DateTime(timezone=True)),
    # Whether somebody, such as the provider, has asked for that.
    Column("is_nudged", Boolean, nullable=False),
    # Who is talking to the provider about this payment, and until when nobody else may.
    Column("claim_id", Uuid),
    Column("claim_expire_time", DateTime(timezone=True)),
    Column("create_time", DateTime(timezone=True), nullable=False),
    Column("update_time", DateTime(timezone=True), nullable=False),
    UniqueConstraint("order_id", name=ORDER_UNIQUE),
    CheckConstraint(
        "state in ('authorizing', 'authorized', 'declined', 'captured', 'voided', 'refunded')", name="payments_state"
    ),
    CheckConstraint("pending in ('authorize', 'capture', 'void', 'refund')", name="payments_pending"),
    CheckConstraint(
        "coalesce(pending = 'refund', false) = (pending_refund_id is not null)"
        " and (pending_refund_id is null) = (pending_refund_minor is null)",
        name="payments_pending_refund",
    ),
    CheckConstraint("refunded_minor between 0 and amount_minor", name="payments_refunded"),
    CheckConstraint(
        "state <> 'authorizing' or coalesce(pending in ('authorize', 'void'), false)", name="payments_authorizing"
    ),
    CheckConstraint("(user_id = '') = (amount_minor = 0)", name="payments_closed_door"),
    Index("payments_by_create_time", "create_time", "payment_id"),
    Index("payments_by_user", "user_id", "create_time", "payment_id"),
)
Index("payments_by_due_time", payments.c.due_time, postgresql_where=payments.c.due_time.is_not(None))

refunds = Table(
    "refunds",
    metadata,
    Column("refund_id", Uuid, primary_key=True),
    Column("payment_id", Uuid, ForeignKey(payments.c.payment_id, name="refunds_payment"), nullable=False),
    Column("amount_minor", BigInteger, nullable=False),
    Column("state", Text, nullable=False),
    Column("create_time", DateTime(timezone=True), nullable=False),
    CheckConstraint("state in ('pending', 'done', 'refused')", name="refunds_state"),
    CheckConstraint("amount_minor > 0", name="refunds_amount"),
    Index("refunds_by_payment", "payment_id"),
)

# What a capture that is under way is for. Personal: it is deleted when the invoice, which says it for ever, is issued,
# when no money will be taken, and, unless the provider has been told to take it, when the buyer deletes their account.
bills = Table(
    "bills",
    metadata,
    Column("order_id", Uuid, ForeignKey(payments.c.order_id, name="bills_order"), primary_key=True),
    Column("content", JSONB, nullable=False),
)

# Rows never change and are never deleted: a trigger refuses it.
invoices = Table(
    "invoices",
    metadata,
    Column("year", Integer, primary_key=True, autoincrement=False),
    Column("ordinal", Integer, primary_key=True, autoincrement=False),
    Column("kind", Text, nullable=False),
    Column("order_id", Uuid, ForeignKey(payments.c.order_id, name="invoices_order"), nullable=False),
    Column("user_id", Text, nullable=False),
    Column("issue_time", DateTime(timezone=True), nullable=False),
    Column("corrects_year", Integer),
    Column("corrects_ordinal", Integer),
    Column("currency", Text, nullable=False),
    Column("total_minor", BigInteger, nullable=False),
    # Who sells: lines of text.
    Column("seller", JSONB, nullable=False),
    # Who buys what.
    Column("content", JSONB, nullable=False),
    ForeignKeyConstraint(
        ["corrects_year", "corrects_ordinal"], ["invoices.year", "invoices.ordinal"], name="invoices_corrects"
    ),
    CheckConstraint("kind in ('invoice', 'credit_note')", name="invoices_kind"),
    CheckConstraint(
        "(kind = 'credit_note') = (corrects_year is not null) and (corrects_year is null) = (corrects_ordinal is null)",
        name="invoices_credit_note",
    ),
    CheckConstraint("ordinal > 0", name="invoices_ordinal"),
    CheckConstraint("total_minor > 0", name="invoices_total"),
    Index("invoices_by_order", "order_id"),
    Index("invoices_by_user", "user_id", "year", "ordinal"),
)
Index("invoices_order_unique", invoices.c.order_id, unique=True, postgresql_where=invoices.c.kind == "invoice")

# The last number of each year. Its row is what makes numbers without gaps: see `invoice_store`.
invoice_numbers = Table(
    "invoice_numbers",
    metadata,
    Column("year", Integer, primary_key=True, autoincrement=False),
    Column("last_ordinal", Integer, nullable=False),
    Column("last_issue_time", DateTime(timezone=True), nullable=False),
)
