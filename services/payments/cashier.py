"""Moves money so that nothing is ever guessed, nor done twice.

What is to be done is committed before the provider is told, what came of it afterwards; no transaction is open in
between. Whoever talks to the provider about a payment holds the payment's claim, a lease in its row: calls for one
payment are served one after another by whichever replica, and a replica that dies leaves a claim that expires and a
payment that is due, which the settling loop of any replica picks up. When the provider doesn't answer it is asked what
it knows; when it can't be asked the caller learns just that, and a repeat asks before it repeats, with the same key.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final
from uuid import UUID, uuid4

from services.payments import store
from services.payments.announcements import Publisher, announce
from services.payments.billing import Billing
from services.payments.budget import Budget
from services.payments.domain import Found, Operation, Payment, Refund, RefundState, Standing, State
from services.payments.provider import Card, Declined, Provider, ProviderTrouble, ProviderUncertain
from services.payments.refusals import (
    CardInvalid,
    PaymentNotFound,
    PaymentUncertain,
    ProviderContradicts,
    ProviderDown,
    RefundRefused,
)
from services.payments.schedule import retry_s, watch_s
from services.payments.store import Claim
from services.payments.timing import timed
from weft.errors import ServiceError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from services.payments.invoices import Bill
    from services.payments.money import Money
    from weft.data import Database

__all__ = ["Cashier"]

FINISH_S: Final = 6.0
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Move:
    """What somebody wants done with the payment of an order."""

    order_id: UUID
    is_done: Callable[[Payment], Awaitable[bool]]
    """Raises a ServiceError where it never will be."""
    next_operation: Callable[[Payment], tuple[Operation, Refund | None]]
    opening: Payment | None = None
    """What to begin with where the order has no payment."""
    payment_method: str | None = None
    bill: Bill | None = None
    """What the money is taken for."""


class Cashier:
    """Does with payments what is asked for, once.

    Work goes on when its caller leaves, until it is known or its time is up: an answer that is on its way is worth
    more than a question later.
    """

    def __init__(
        self,
        database: Database,
        provider: Provider,
        publisher: Publisher,
        *,
        seller: Sequence[str] = (),
        margin_s: float = 1.0,
    ) -> None:
        """Keep payments in *database*; claims outlive their work's time by *margin_s*. *seller*: see `Billing`."""
        self._database, self._provider, self._publisher = database, provider, publisher
        self._billing = Billing(database, seller)
        self._margin_s = margin_s
        self._tasks: set[asyncio.Task[Payment]] = set()

    async def finish(self) -> None:
        """Wait for work whose callers have left, for a few seconds at most; what is left over will be settled later."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=FINISH_S)

    async def create_payment_method(self, card: Card) -> str:
        """Hand *card* to the provider; return its token. Raises CardInvalid or ProviderDown."""
        try:
            return await timed(
                "create_payment_method", self._provider.create_payment_method(card), Budget.of_call().left_s
            )
        except Declined as error:
            raise CardInvalid(error.code) from None
        except ProviderTrouble:
            raise ProviderDown from None

    async def authorize(self, order_id: UUID, user_id: str, amount: Money, payment_method: str) -> Payment:
        """Hold an order's money.

        The token is passed on and kept nowhere: whoever wants it done after all repeats the call, token included.

        Raises:
            PaymentDeclined, PaymentClosed, PaymentDiffers, PaymentUncertain: it isn't held.
        """
        wanted = Payment.new(order_id, user_id, amount, reference=self._reference(order_id), now=datetime.now(UTC))
        return await self._apart(
            _Move(
                order_id=order_id,
                is_done=_known(lambda payment: payment.is_authorized(wanted)),
                next_operation=lambda _: (Operation.AUTHORIZE, None),
                opening=wanted,
                payment_method=payment_method,
            )
        )

    async def capture(self, order_id: UUID, bill: Bill) -> Payment:
        """Take what is held, for *bill*. Raises PaymentNotFound, PaymentClosed, InvoiceDiffers or PaymentUncertain."""

        async def is_done(payment: Payment) -> bool:
            if payment.is_captured():
                await self._billing.make_up(order_id, bill)
                return True
            bill.require_fits(order_id, payment.amount)
            return False

        begin = (Operation.CAPTURE, None)
        return await self._apart(_Move(order_id=order_id, is_done=is_done, next_operation=lambda _: begin, bill=bill))

    async def void(self, order_id: UUID) -> Payment:
        """Let go what is held; see to it that nothing will be. Raises PaymentCaptured or PaymentUncertain."""
        opening = Payment.closed(order_id, reference=self._reference(order_id), now=datetime.now(UTC))
        return await self._apart(
            _Move(
                order_id=order_id,
                is_done=_known(Payment.is_voided),
                next_operation=lambda _: (Operation.VOID, None),
                opening=opening,
            )
        )

    async def refund(self, order_id: UUID) -> Payment:
        """Give back all that is left, or let go what is held.

        Raises:
            PaymentNotFound, RefundRefused, PaymentUncertain: it isn't given back.
        """

        def next_operation(payment: Payment) -> tuple[Operation, Refund | None]:
            if payment.state is State.CAPTURED:
                return Operation.REFUND, Refund(refund_id=uuid4(), minor=payment.remaining_minor)
            return Operation.VOID, None

        move = _Move(order_id=order_id, is_done=_known(Payment.is_given_back), next_operation=next_operation)
        return await self._apart(move)

    async def refund_part(self, order_id: UUID, wanted: Refund) -> Payment:
        """Give back *wanted*, once.

        Raises:
            PaymentNotFound, PaymentNotCaptured, RefundTooLarge, RefundRefused, RequestIdReused, PaymentUncertain:
                it isn't given back.
        """

        async def is_done(payment: Payment) -> bool:
            known = await store.find_refund(self._database, wanted.refund_id)
            return payment.is_part_given_back(wanted, known)

        move = _Move(order_id=order_id, is_done=is_done, next_operation=lambda _: (Operation.REFUND, wanted))
        payment = await self._apart(move)
        # That it is done was read after the payment was, which may lack it.
        return await store.find_payment(self._database, order_id) or payment

    async def settle_due(self, *, limit: int = 20) -> int:
        """Ask the provider about up to *limit* payments that are due, and do what is left to do; return how many."""
        budget = Budget.of_call()
        claim = self._claim(budget)
        due = await store.claim_due(self._database, claim, limit=limit)
        async with asyncio.TaskGroup() as group:
            for payment in due:
                group.create_task(self._settle(payment, claim, budget))
        return len(due)

    async def _settle(self, payment: Payment, claim: Claim, budget: Budget) -> None:
        try:
            await self._work(payment, claim, budget, is_fresh=False)
        except ServiceError as error:
            _log.info("a payment is not settled yet", extra=_facts(payment) | {"reason": error.reason})
        except Exception as error:  # noqa: BLE001  # one payment must not keep the others from being settled
            _log.error("cannot settle a payment", exc_info=error, extra=_facts(payment))
            await self._postpone(payment, claim)

    async def _apart(self, move: _Move) -> Payment:
        """Serve *move* in a task of its own, which goes on when the caller leaves."""
        task = asyncio.create_task(self._serve(move), name=f"payment of order {move.order_id}")
        self._tasks.add(task)
        task.add_done_callback(self._served)
        return await asyncio.shield(task)

    def _served(self, task: asyncio.Task[Payment]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # a caller who has left won't hear of it; what is uncertain then is for settling

    async def _serve(self, move: _Move) -> Payment:
        budget = Budget.of_call()
        while True:
            claim = self._claim(budget)
            payment = await store.find_payment(self._database, move.order_id)
            if payment is None:
                await self._open(move, claim, budget)
            elif await move.is_done(payment):
                return payment
            elif taken := await self._take(payment, claim, move):
                payment, is_fresh = taken
                found = await self._work(payment, claim, budget, is_fresh=is_fresh, payment_method=move.payment_method)
                if is_fresh and payment.refund and payment.refund.refund_id in found.refused_refunds:
                    raise RefundRefused(move.order_id)
            elif not await budget.pause():
                raise PaymentUncertain(move.order_id)

    async def _open(self, move: _Move, claim: Claim, budget: Budget) -> None:
        """Begin with what the order had none of, unless somebody else just did."""
        payment = move.opening
        if payment is None:
            raise PaymentNotFound(move.order_id)
        async with self._database.transaction(independent=True) as tx:
            opened = await store.open_payment(tx, payment, claim)
        if not opened:
            return
        try:
            await self._work(
                payment, claim, budget, is_fresh=payment.pending is not None, payment_method=move.payment_method
            )
        except PaymentUncertain:
            if payment.pending:
                raise
            # A door was closed, and that holds: nothing was ever sent through it. Asking was a precaution, and goes on.

    async def _take(self, payment: Payment, claim: Claim, move: _Move) -> tuple[Payment, bool] | None:
        """Claim *payment* and begin what *move* wants, unless something else is to be finished first.

        Returns:
            The payment, and whether nothing of what it has pending can have reached the provider yet; None when
            somebody else has it, or has changed it meanwhile.
        """
        operation, refund = move.next_operation(payment)
        async with self._database.transaction(independent=True) as tx:
            if not await store.claim_payment(tx, payment, claim):
                return None
            if move.bill:
                await self._billing.keep(tx, payment, move.bill)
            if payment.pending and not payment.can_begin(operation):
                return payment, False
            now = datetime.now(UTC)
            begun = payment.begin(operation, refund=refund, now=now)
            if refund:
                await store.add_refund(tx, begun, refund, now=now)
            await store.save_payment(tx, begun, claim, due_s=claim.lease_s, keep_claim=True)
        return begun, payment.pending is None

    async def _work(
        self, payment: Payment, claim: Claim, budget: Budget, *, is_fresh: bool, payment_method: str | None = None
    ) -> Found:
        """Find out what became of *payment*, doing what is left to do, and write it down; return what is known.

        Raises:
            PaymentUncertain: what is pending still is. It is due again, and free to be claimed.
        """
        try:
            found = await self._outcome(payment, claim, budget, is_fresh=is_fresh, payment_method=payment_method)
            settled = payment.settle(found, now=datetime.now(UTC))
        except (ProviderTrouble, ProviderContradicts) as error:
            level = logging.ERROR if isinstance(error, ProviderContradicts) else logging.WARNING
            _log.log(level, "payment uncertain", extra=_facts(payment) | {"error.type": type(error).__name__})
            await self._postpone(payment, claim)
            raise PaymentUncertain(payment.order_id) from None
        if settled.pending:
            await self._postpone(payment, claim)
            raise PaymentUncertain(payment.order_id)
        await self._record(payment, settled, found, claim)
        return found

    async def _outcome(
        self, payment: Payment, claim: Claim, budget: Budget, *, is_fresh: bool, payment_method: str | None
    ) -> Found:
        """Return what the provider knows in the end. Raises ProviderTrouble or ProviderContradicts."""
        if is_fresh:
            operation = payment.pending
        else:
            found = await self._ask(payment, budget.asking_first_s)
            operation = payment.left_to_do(found)
            if operation is None or (operation is Operation.AUTHORIZE and not payment_method):
                return found
        assert operation
        try:
            if operation is Operation.AUTHORIZE and payment.provider_reference is None:
                payment = await self._name(payment, claim, budget)
            return await self._tell(payment, operation, payment_method, budget.telling_s)
        except Declined as error:
            if operation is Operation.AUTHORIZE:
                return Found(standing=Standing.DECLINED, decline_code=error.code)
            if operation is Operation.REFUND and payment.refund:
                return Found(standing=Standing.CAPTURED, refused_refunds=frozenset({payment.refund.refund_id}))
            return await self._ask(payment, budget.left_s)  # it is not where we thought: where is it?
        except ProviderUncertain:
            return await self._ask(payment, budget.left_s)

    async def _tell(
        self, payment: Payment, operation: Operation, payment_method: str | None, timeout_s: float
    ) -> Found:
        key, reference = payment.idempotency_key(operation), payment.provider_reference
        assert reference  # or there would be nothing to do
        match operation:
            case Operation.AUTHORIZE:
                assert payment_method
                telling = self._provider.authorize(key, reference, payment.amount, payment_method)
            case Operation.CAPTURE:
                telling = self._provider.capture(key, reference, payment.amount)
            case Operation.VOID:
                telling = self._provider.void(key, reference)
            case Operation.REFUND:
                assert payment.refund
                telling = self._provider.refund(key, reference, payment.refund)
        return await timed(operation, telling, timeout_s)

    async def _ask(self, payment: Payment, timeout_s: float) -> Found:
        """Return what the provider knows. Without a name there it was never told to move money."""
        if payment.provider_reference is None:
            return Found(standing=Standing.UNKNOWN)
        return await timed("find", self._provider.find(payment.provider_reference), timeout_s)

    async def _name(self, payment: Payment, claim: Claim, budget: Budget) -> Payment:
        """Have the provider name the payment, and remember the name before any money moves under it."""
        key = f"{payment.payment_id}:prepare"
        preparing = self._provider.prepare(key, payment.order_id, payment.amount)
        named = replace(payment, provider_reference=await timed("prepare", preparing, budget.telling_s))
        async with self._database.transaction(independent=True) as tx:
            if not await store.name_payment(tx, named, claim):
                raise PaymentUncertain(payment.order_id)
        return named

    async def _postpone(self, payment: Payment, claim: Claim) -> None:
        """Have the provider asked again later, by whoever comes first."""
        later = replace(payment, attempts=payment.attempts + 1) if payment.pending else payment
        async with self._database.transaction(independent=True) as tx:
            await store.save_payment(tx, later, claim, due_s=retry_s(later))

    async def _record(self, before: Payment, after: Payment, found: Found, claim: Claim) -> None:
        """Write down what became of a payment, tell the others and issue invoices; unless the claim is lost.

        Then somebody else has taken over, and finds out the same, or has done something since that comes after it.
        """
        if after.state is State.VOIDED and before.state is State.VOIDED:
            after = replace(after, attempts=before.attempts + 1)
        async with self._database.transaction(independent=True) as tx:
            if not await store.save_payment(tx, after, claim, due_s=watch_s(after)):
                return
            if before.refund:
                refused = before.refund.refund_id in found.refused_refunds
                await store.end_refund(
                    tx, before.refund.refund_id, RefundState.REFUSED if refused else RefundState.DONE
                )
            await announce(self._publisher, tx, before, after)
            await self._billing.record(tx, before, after)

    def _claim(self, budget: Budget) -> Claim:
        return Claim(uuid4(), budget.left_s + self._margin_s)

    def _reference(self, order_id: UUID) -> str | None:
        return self._provider.reference_for(order_id)


def _known(is_done: Callable[[Payment], bool]) -> Callable[[Payment], Awaitable[bool]]:
    """Return *is_done* for those who await it."""

    async def answer(payment: Payment) -> bool:
        return is_done(payment)

    return answer


def _facts(payment: Payment) -> dict[str, object]:
    return {
        "order_id": str(payment.order_id),
        "state": payment.state,
        "pending": payment.pending,
        "attempts": payment.attempts,
    }
