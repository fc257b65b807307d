"""Issues invoices and credit notes: as soon as money was taken or given back, in the transaction that says so."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from services.payments import invoice_store, store
from services.payments.domain import Payment, State
from services.payments.invoices import Bill, credit
from services.payments.money import Money

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from services.payments.invoices import Invoice
    from weft.data import Database, Transaction

__all__ = ["Billing"]

_TAKEN: Final = (State.CAPTURED, State.REFUNDED)
_NEVER_TAKEN: Final = (State.DECLINED, State.VOIDED)


class Billing:
    """One invoice for each payment that was captured, and a credit note for whatever was given back of it.

    What was bought is kept before the provider is told to capture, so that the invoice can be issued by whoever learns
    that it did. Captured payments without an invoice are those from before there were invoices, whose refunds have no
    credit notes either, and those that the provider says were captured without our doing: they get theirs when the
    next `CapturePayment` says what was bought.
    """

    def __init__(self, database: Database, seller: Sequence[str]) -> None:
        """Have *seller*, a name and then lines of address and the like, named on what is issued from now on."""
        self._database = database
        self._seller = tuple(seller)

    async def keep(self, tx: Transaction, payment: Payment, bill: Bill) -> None:
        """Keep what *payment* is about to be captured for. Of several the first counts, for it may be done."""
        await invoice_store.keep_bill(tx, payment.order_id, bill)

    async def record(self, tx: Transaction, before: Payment, after: Payment) -> None:
        """Issue what is due now that *before* has become *after*. To be the last in *tx*: see `invoice_store`."""
        if (before.state, before.refunded_minor) == (after.state, after.refunded_minor):
            return
        if after.state in _NEVER_TAKEN:
            await invoice_store.delete_bill(tx, after.order_id)
        elif after.state in _TAKEN:
            bill = None if before.state in _TAKEN else await invoice_store.take_bill(tx, after.order_id)
            issued = await invoice_store.list_of_order(tx, after.order_id) if before.state in _TAKEN else []
            await self._issue(tx, after, issued, bill)

    async def make_up(self, order_id: UUID, bill: Bill) -> None:
        """Issue, for *bill*, what is missing of a captured payment. Raises InvoiceDiffers."""
        if await invoice_store.is_invoiced(self._database, order_id):
            return
        async with self._database.transaction(independent=True) as tx:
            payment = await store.lock_payment(tx, order_id)
            bill.require_fits(order_id, payment.amount)
            await self._issue(tx, payment, await invoice_store.list_of_order(tx, order_id), bill)

    async def _issue(self, tx: Transaction, payment: Payment, issued: Sequence[Invoice], bill: Bill | None) -> None:
        """Issue what is missing of *issued*, if what was bought is known."""
        if not issued:
            if bill is None:
                return
            issued = [await self._add(tx, payment, payment.amount.minor, bill)]
        invoice, *notes = issued
        minor = payment.refunded_minor - sum(note.total.minor for note in notes)
        if minor > 0:
            await self._add(tx, payment, minor, credit(invoice, notes, minor), corrects=invoice)

    async def _add(
        self, tx: Transaction, payment: Payment, minor: int, bill: Bill, *, corrects: Invoice | None = None
    ) -> Invoice:
        return await invoice_store.add_invoice(
            tx,
            bill,
            order_id=payment.order_id,
            user_id=payment.user_id,
            total=Money(payment.amount.currency, minor),
            seller=self._seller,
            corrects=corrects.number if corrects else None,
            now=datetime.now(UTC),
        )
