"""Payments as rows. The transaction is the caller's; reads without one are hot and run outside any.

Who talks to the provider about a payment holds its *claim*, a column with an expiry by the database's clock, and no
connection. Everything learned is written under the claim: who has lost it writes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from sqlalchemy import (
    DateTime,
    Integer,
    Text,
    Uuid,
    and_,
    bindparam,
    case,
    func,
    insert,
    null,
    or_,
    select,
    tuple_,
    update,
)
from sqlalchemy.dialects.postgresql import insert as upsert

from services.payments.domain import Operation, Payment, Refund, RefundState, State
from services.payments.money import Money
from services.payments.tables import ORDER_UNIQUE, payments, refunds
from weft.data import prepare

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime

    from sqlalchemy import ColumnElement

    from weft.data import Database, Transaction

__all__ = [
    "Claim",
    "add_refund",
    "claim_due",
    "claim_payment",
    "end_refund",
    "find_payment",
    "find_refund",
    "list_of_user",
    "list_page",
    "lock_payment",
    "name_payment",
    "nudge",
    "open_payment",
    "save_payment",
]

_PAYMENT: Final = (
    payments.c.payment_id,
    payments.c.order_id,
    payments.c.user_id,
    payments.c.currency,
    payments.c.amount_minor,
    payments.c.refunded_minor,
    payments.c.state,
    payments.c.pending,
    payments.c.pending_refund_id,
    payments.c.pending_refund_minor,
    payments.c.decline_code,
    payments.c.provider_reference,
    payments.c.attempts,
    payments.c.create_time,
    payments.c.update_time,
)
_NOW: Final = func.clock_timestamp(type_=DateTime(timezone=True))
_UNCLAIMED: Final = or_(payments.c.claim_expire_time.is_(None), payments.c.claim_expire_time <= _NOW)

_UNCLAIM: Final = {"claim_id": None, "claim_expire_time": None}

_BY_ORDER: Final = prepare(select(*_PAYMENT).where(payments.c.order_id == bindparam("order_id")))
_REFUND: Final = prepare(
    select(refunds.c.refund_id, refunds.c.amount_minor, refunds.c.state).where(
        refunds.c.refund_id == bindparam("refund_id")
    )
)
_ANY_DUE: Final = prepare(select(payments.c.payment_id).where(payments.c.due_time <= func.now(), _UNCLAIMED).limit(1))

_NEWEST_FIRST: Final = (payments.c.create_time.desc(), payments.c.payment_id.desc())
_LIMIT: Final = bindparam("limit", type_=Integer)
_ASKED_FOR: Final = payments.c.user_id != ""
_AFTER: Final = tuple_(payments.c.create_time, payments.c.payment_id) < tuple_(
    bindparam("create_time", type_=DateTime(timezone=True)), bindparam("payment_id", type_=Uuid)
)
_PAGE: Final = select(*_PAYMENT).order_by(*_NEWEST_FIRST).limit(_LIMIT)
_FIRST_PAGE: Final = prepare(_PAGE.where(_ASKED_FOR))
_NEXT_PAGE: Final = prepare(_PAGE.where(_ASKED_FOR, _AFTER))
_OF_USER: Final = payments.c.user_id == bindparam("user_id", type_=Text)
_FIRST_OF_USER: Final = prepare(_PAGE.where(_OF_USER))
_NEXT_OF_USER: Final = prepare(_PAGE.where(_OF_USER, _AFTER))


@dataclass(frozen=True, slots=True)
class Claim:
    """The sole right to talk to the provider about a payment."""

    claim_id: UUID
    lease_s: float


async def find_payment(database: Database, order_id: UUID) -> Payment | None:
    row = await database.fetch_one(_BY_ORDER, order_id=order_id)
    return None if row is None else _payment(row)


async def find_refund(database: Database, refund_id: UUID) -> Refund | None:
    row = await database.fetch_one(_REFUND, refund_id=refund_id)
    if row is None:
        return None
    return Refund(refund_id=row["refund_id"], minor=row["amount_minor"], state=RefundState(row["state"]))


async def list_page(database: Database, limit: int, after: tuple[Any, ...] | None) -> list[Payment]:
    """Return up to *limit* payments, newest first, that come after *after*: create_time, payment_id."""
    if after is None:
        rows = await database.fetch_all(_FIRST_PAGE, limit=limit)
    else:
        rows = await database.fetch_all(_NEXT_PAGE, limit=limit, create_time=after[0], payment_id=after[1])
    return [_payment(row) for row in rows]


async def list_of_user(database: Database, user_id: str, limit: int, after: tuple[Any, ...] | None) -> list[Payment]:
    """Return a user's payments as `list_page` does everybody's."""
    if after is None:
        rows = await database.fetch_all(_FIRST_OF_USER, user_id=user_id, limit=limit)
    else:
        position = {"create_time": after[0], "payment_id": after[1]}
        rows = await database.fetch_all(_NEXT_OF_USER, user_id=user_id, limit=limit, **position)
    return [_payment(row) for row in rows]


async def lock_payment(tx: Transaction, order_id: UUID) -> Payment:
    """Read a payment that exists, and hold its row until the transaction ends."""
    return _payment(await tx.one(select(*_PAYMENT).where(payments.c.order_id == order_id).with_for_update()))


async def open_payment(tx: Transaction, payment: Payment, claim: Claim) -> bool:
    """Add *payment*, claimed, unless its order has one; tell whether it was added."""
    row = _changeable(payment) | {
        "payment_id": payment.payment_id,
        "order_id": payment.order_id,
        "user_id": payment.user_id,
        "currency": payment.amount.currency,
        "amount_minor": payment.amount.minor,
        "provider_reference": payment.provider_reference,
        "create_time": payment.create_time,
        "due_time": _NOW + timedelta(seconds=claim.lease_s),
        "is_nudged": False,
        **_claimed(claim),
    }
    return await tx.execute(upsert(payments).values(row).on_conflict_do_nothing(constraint=ORDER_UNIQUE)) == 1


async def claim_payment(tx: Transaction, payment: Payment, claim: Claim) -> bool:
    """Claim *payment*, unless somebody else has it or it is not as it was; tell whether it is claimed.

    Changing nothing of what it is, a claim that is refused may be tried again.
    """
    free = and_(payments.c.payment_id == payment.payment_id, _UNCLAIMED)
    row = await tx.first(update(payments).where(free).values(_claimed(claim)).returning(*_PAYMENT))
    if row is None:
        return False
    if _payment(row) == payment:
        return True
    await tx.execute(update(payments).where(payments.c.payment_id == payment.payment_id).values(_UNCLAIM))
    return False


async def claim_due(database: Database, claim: Claim, *, limit: int) -> list[Payment]:
    """Claim up to *limit* payments that the provider is to be asked about now, skipping those others are taking."""
    if await database.fetch_one(_ANY_DUE) is None:
        return []
    due = (
        select(payments.c.payment_id)
        .where(payments.c.due_time <= func.now(), _UNCLAIMED)
        .order_by(payments.c.due_time)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    values = {**_claimed(claim), "is_nudged": False}
    statement = update(payments).where(payments.c.payment_id.in_(due)).values(values).returning(*_PAYMENT)
    async with database.transaction(independent=True) as tx:
        return [_payment(row) for row in await tx.all(statement)]


async def save_payment(
    tx: Transaction, payment: Payment, claim: Claim, *, due_s: float | None, keep_claim: bool = False
) -> bool:
    """Write what can change of *payment*, if *claim* still holds it; tell whether it did.

    Args:
        tx: Of the caller.
        payment: As it is now.
        claim: By which it is held; given up unless *keep_claim*.
        due_s: When the provider is to be asked about it, from now; None is never. Whatever it is, a nudge since the
            last time it was asked because it was due has it asked at once.
        keep_claim: Whether the provider is about to be talked to.
    """
    due_time = null() if due_s is None else _NOW + timedelta(seconds=due_s)
    values = _changeable(payment) | {"due_time": case((payments.c.is_nudged, _NOW), else_=due_time)}
    if not keep_claim:
        values |= _UNCLAIM
    return await tx.execute(update(payments).where(_is_held(payment, claim)).values(values)) == 1


async def name_payment(tx: Transaction, payment: Payment, claim: Claim) -> bool:
    """Write what the provider calls *payment*, for ever, if *claim* still holds it; tell whether it did."""
    named = update(payments).where(_is_held(payment, claim)).values(provider_reference=payment.provider_reference)
    return await tx.execute(named) == 1


async def nudge(tx: Transaction, reference: str) -> None:
    """Have the provider asked soon about the payment that it calls *reference*, if there is one."""
    await tx.execute(
        update(payments).where(payments.c.provider_reference == reference).values(due_time=_NOW, is_nudged=True)
    )


async def add_refund(tx: Transaction, payment: Payment, refund: Refund, *, now: datetime) -> None:
    row = {
        "refund_id": refund.refund_id,
        "payment_id": payment.payment_id,
        "amount_minor": refund.minor,
        "state": refund.state.value,
        "create_time": now,
    }
    await tx.execute(insert(refunds).values(row))


async def end_refund(tx: Transaction, refund_id: UUID, state: RefundState) -> None:
    await tx.execute(update(refunds).where(refunds.c.refund_id == refund_id).values(state=state.value))


def _is_held(payment: Payment, claim: Claim) -> ColumnElement[bool]:
    return and_(payments.c.payment_id == payment.payment_id, payments.c.claim_id == claim.claim_id)


def _claimed(claim: Claim) -> Mapping[str, UUID | ColumnElement[datetime]]:
    return {"claim_id": claim.claim_id, "claim_expire_time": _NOW + timedelta(seconds=claim.lease_s)}


def _changeable(payment: Payment) -> dict[str, object]:
    return {
        "state": payment.state.value,
        "pending": payment.pending.value if payment.pending else None,
        "pending_refund_id": payment.refund.refund_id if payment.refund else None,
        "pending_refund_minor": payment.refund.minor if payment.refund else None,
        "refunded_minor": payment.refunded_minor,
        "decline_code": payment.decline_code,
        "attempts": payment.attempts,
        "update_time": payment.update_time,
    }


def _payment(row: Iterable[Any]) -> Payment:
    (
        payment_id,
        order_id,
        user_id,
        currency,
        amount_minor,
        refunded_minor,
        state,
        pending,
        pending_refund_id,
        pending_refund_minor,
        decline_code,
        provider_reference,
        attempts,
        create_time,
        update_time,
    ) = row
    return Payment(
        payment_id=payment_id,
        order_id=order_id,
        user_id=user_id,
        amount=Money(currency, amount_minor),
        state=State(state),
        pending=Operation(pending) if pending else None,
        refund=Refund(refund_id=pending_refund_id, minor=pending_refund_minor) if pending_refund_id else None,
        refunded_minor=refunded_minor,
        decline_code=decline_code,
        provider_reference=provider_reference,
        attempts=attempts,
        create_time=create_time,
        update_time=update_time,
    )
