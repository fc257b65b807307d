"""Invoices as rows, and their numbers. The transaction is the caller's; reads without one are hot and run outside any.

A sequence won't do for the numbers: what it has given out stays given out when a transaction rolls back or its process
is killed, and is a gap. So the last number is a row. Whoever takes the next one locks that row until its transaction
ends, and a rollback gives the number back. Numbers are taken one transaction after another, then, and the others wait:
so `add_invoice` is to be the last statement of its transaction. It takes the number and writes the invoice at once,
after which only the commit is left, and the lock is held for one commit's time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import Integer, Text, Uuid, bindparam, delete, func, insert, literal, select, tuple_
from sqlalchemy.dialects.postgresql import insert as upsert

from services.payments.domain import Operation
from services.payments.invoices import Bill, Invoice, InvoiceNumber, Kind, year_of
from services.payments.money import Money
from services.payments.tables import bills, invoice_numbers, invoices, payments
from weft.data import prepare

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime
    from uuid import UUID

    from sqlalchemy import Select

    from weft.data import Database, Prepared, Transaction

__all__ = [
    "add_invoice",
    "delete_bill",
    "find_invoice",
    "forget_bills",
    "is_invoiced",
    "keep_bill",
    "list_of_order",
    "list_of_user",
    "list_of_year",
    "take_bill",
]

_INVOICE: Final = (
    invoices.c.year,
    invoices.c.ordinal,
    invoices.c.kind,
    invoices.c.order_id,
    invoices.c.user_id,
    invoices.c.issue_time,
    invoices.c.corrects_year,
    invoices.c.corrects_ordinal,
    invoices.c.currency,
    invoices.c.total_minor,
    invoices.c.seller,
    invoices.c.content,
)
_NUMBER: Final = tuple_(invoices.c.year, invoices.c.ordinal)
_BEFORE: Final = tuple_(bindparam("year", type_=Integer), bindparam("ordinal", type_=Integer))
_LIMIT: Final = bindparam("limit", type_=Integer)

_BY_NUMBER: Final = prepare(select(*_INVOICE).where(_NUMBER == _BEFORE))
_IS_INVOICED: Final = prepare(select(literal(1)).where(invoices.c.order_id == bindparam("order_id", type_=Uuid)))
_OF_YEAR: Final = prepare(
    select(*_INVOICE)
    .where(
        invoices.c.year == bindparam("year", type_=Integer), invoices.c.ordinal > bindparam("ordinal", type_=Integer)
    )
    .order_by(invoices.c.ordinal)
    .limit(_LIMIT)
)


def _of_user(*, of_order: bool, after: bool) -> Prepared:
    statement: Select[Any] = select(*_INVOICE).where(invoices.c.user_id == bindparam("user_id", type_=Text))
    if of_order:
        statement = statement.where(invoices.c.order_id == bindparam("order_id", type_=Uuid))
    if after:
        statement = statement.where(_NUMBER < _BEFORE)
    return prepare(statement.order_by(invoices.c.year.desc(), invoices.c.ordinal.desc()).limit(_LIMIT))


_OF_USER: Final = {
    (of_order, after): _of_user(of_order=of_order, after=after) for of_order in (False, True) for after in (False, True)
}


async def keep_bill(tx: Transaction, order_id: UUID, bill: Bill) -> None:
    """Keep what an order's money is about to be taken for; what is kept already stays."""
    row = {"order_id": order_id, "content": bill.to_json()}
    await tx.execute(upsert(bills).values(row).on_conflict_do_nothing())


async def take_bill(tx: Transaction, order_id: UUID) -> Bill | None:
    """Delete and return what is kept of an order."""
    content = await tx.scalar(delete(bills).where(bills.c.order_id == order_id).returning(bills.c.content))
    return None if content is None else Bill.from_json(content)


async def delete_bill(tx: Transaction, order_id: UUID) -> None:
    await tx.execute(delete(bills).where(bills.c.order_id == order_id))


async def forget_bills(tx: Transaction, user_id: str) -> int:
    """Delete a user's bills but for those of captures that the provider may have been told of; return how many.

    Such a bill is all that the invoice can be made of, and goes when that is issued. Who keeps a bill has claimed the
    payment, which changes its row. So rows are locked here before they are looked at.
    """
    billed = select(payments.c.payment_id).join(bills, bills.c.order_id == payments.c.order_id)
    billed = billed.where(payments.c.user_id == user_id).order_by(payments.c.payment_id)
    await tx.execute(billed.with_for_update(of=payments))
    idle = select(payments.c.order_id).where(
        payments.c.user_id == user_id, payments.c.pending.is_distinct_from(Operation.CAPTURE.value)
    )
    return await tx.execute(delete(bills).where(bills.c.order_id.in_(idle)))


async def add_invoice(
    tx: Transaction,
    bill: Bill,
    *,
    order_id: UUID,
    user_id: str,
    total: Money,
    seller: Sequence[str],
    corrects: InvoiceNumber | None = None,
    now: datetime,
) -> Invoice:
    """Issue an invoice, or a credit note where it *corrects* one; its number is the year's next.

    The clocks of replicas differ, the numbers don't go back in time: it is issued *now*, or when the one before it was
    if that is later.
    """
    fresh = upsert(invoice_numbers).values(year=year_of(now), last_ordinal=1, last_issue_time=now)
    taken = (
        fresh.on_conflict_do_update(
            index_elements=[invoice_numbers.c.year],
            set_={
                "last_ordinal": invoice_numbers.c.last_ordinal + 1,
                "last_issue_time": func.greatest(invoice_numbers.c.last_issue_time, fresh.excluded.last_issue_time),
            },
        )
        .returning(invoice_numbers.c.year, invoice_numbers.c.last_ordinal, invoice_numbers.c.last_issue_time)
        .cte("taken")
    )
    given = {
        invoices.c.kind: Kind.CREDIT_NOTE if corrects else Kind.INVOICE,
        invoices.c.order_id: order_id,
        invoices.c.user_id: user_id,
        invoices.c.corrects_year: corrects.year if corrects else None,
        invoices.c.corrects_ordinal: corrects.ordinal if corrects else None,
        invoices.c.currency: total.currency,
        invoices.c.total_minor: total.minor,
        invoices.c.seller: list(seller),
        invoices.c.content: bill.to_json(),
    }
    columns = (invoices.c.year, invoices.c.ordinal, invoices.c.issue_time, *given)
    row = select(*taken.c, *(literal(value, column.type) for column, value in given.items()))
    statement = insert(invoices).from_select(columns, row).add_cte(taken).returning(*_INVOICE)
    return _invoice(await tx.one(statement))


async def list_of_order(tx: Transaction, order_id: UUID) -> list[Invoice]:
    """Return an order's invoice, if it has one, and then its credit notes in order."""
    order = (invoices.c.kind.desc(), invoices.c.year, invoices.c.ordinal)
    statement = select(*_INVOICE).where(invoices.c.order_id == order_id).order_by(*order)
    return [_invoice(row) for row in await tx.all(statement)]


async def is_invoiced(database: Database, order_id: UUID) -> bool:
    return await database.fetch_one(_IS_INVOICED, order_id=order_id) is not None


async def find_invoice(database: Database, number: InvoiceNumber) -> Invoice | None:
    row = await database.fetch_one(_BY_NUMBER, year=number.year, ordinal=number.ordinal)
    return None if row is None else _invoice(row)


async def list_of_user(
    database: Database, user_id: str, limit: int, *, order_id: UUID | None, after: InvoiceNumber | None
) -> list[Invoice]:
    """Return up to *limit* of a user's invoices, or of one of their orders', newest first, that come after *after*."""
    values: dict[str, Any] = {"user_id": user_id, "limit": limit}
    if order_id:
        values["order_id"] = order_id
    if after:
        values |= {"year": after.year, "ordinal": after.ordinal}
    rows = await database.fetch_all(_OF_USER[order_id is not None, after is not None], **values)
    return [_invoice(row) for row in rows]


async def list_of_year(database: Database, year: int, limit: int, *, after: int) -> list[Invoice]:
    """Return up to *limit* of a year's invoices by number, from the one after number *after* on."""
    return [_invoice(row) for row in await database.fetch_all(_OF_YEAR, year=year, limit=limit, ordinal=after)]


def _invoice(row: Iterable[Any]) -> Invoice:
    (
        year,
        ordinal,
        kind,
        order_id,
        user_id,
        issue_time,
        corrects_year,
        corrects_ordinal,
        currency,
        total_minor,
        seller,
        content,
    ) = row
    return Invoice(
        number=InvoiceNumber(year, ordinal),
        kind=Kind(kind),
        order_id=order_id,
        user_id=user_id,
        issue_time=issue_time,
        corrects=InvoiceNumber(corrects_year, corrects_ordinal) if corrects_year is not None else None,
        total=Money(currency, total_minor),
        seller=tuple(seller),
        bill=Bill.from_json(content),
    )
