"""Payments: where an order's money is, what may be done with it, and what a provider's word changes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Final
from uuid import UUID, uuid5

from services.payments.money import Money
from services.payments.refusals import (
    IllegalTransition,
    PaymentCaptured,
    PaymentClosed,
    PaymentDeclined,
    PaymentDiffers,
    PaymentNotCaptured,
    PaymentNotFound,
    ProviderContradicts,
    RefundRefused,
    RefundTooLarge,
    RequestIdReused,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "Found",
    "Happening",
    "Operation",
    "Payment",
    "Refund",
    "RefundState",
    "Standing",
    "State",
    "happened",
]


class State(StrEnum):
    """Where an order's money is, as far as it is known here."""

    AUTHORIZING = "authorizing"
    AUTHORIZED = "authorized"
    DECLINED = "declined"
    CAPTURED = "captured"
    VOIDED = "voided"
    REFUNDED = "refunded"


class Operation(StrEnum):
    """What the provider is asked to do. A payment has one at a time that is begun and whose outcome isn't known."""

    AUTHORIZE = "authorize"
    CAPTURE = "capture"
    VOID = "void"
    REFUND = "refund"


class Standing(StrEnum):
    """Where the provider says the money is."""

    UNKNOWN = "unknown"
    """It has never heard of the payment; what was sent may still arrive."""
    OPEN = "open"
    """It knows the payment and holds nothing; what was sent may still arrive."""
    HELD = "held"
    DECLINED = "declined"
    CAPTURED = "captured"
    VOIDED = "voided"


BEGINNINGS: Final = {
    (State.AUTHORIZING, Operation.VOID),  # whatever becomes of the authorisation
    (State.AUTHORIZED, Operation.CAPTURE),
    (State.AUTHORIZED, Operation.VOID),
    (State.CAPTURED, Operation.REFUND),
}
"""What may be begun where; what is missing here is not allowed. A payment is born with AUTHORIZE begun."""

OUTCOMES: Final[Mapping[tuple[State, Standing], State]] = {
    (State.AUTHORIZING, Standing.UNKNOWN): State.AUTHORIZING,
    (State.AUTHORIZING, Standing.OPEN): State.AUTHORIZING,
    (State.AUTHORIZING, Standing.HELD): State.AUTHORIZED,
    (State.AUTHORIZING, Standing.DECLINED): State.DECLINED,
    (State.AUTHORIZING, Standing.CAPTURED): State.CAPTURED,
    (State.AUTHORIZING, Standing.VOIDED): State.VOIDED,
    (State.AUTHORIZED, Standing.HELD): State.AUTHORIZED,
    (State.AUTHORIZED, Standing.CAPTURED): State.CAPTURED,
    (State.AUTHORIZED, Standing.VOIDED): State.VOIDED,  # by us, or because it was held for too long
    (State.DECLINED, Standing.UNKNOWN): State.DECLINED,
    (State.DECLINED, Standing.OPEN): State.DECLINED,
    (State.DECLINED, Standing.DECLINED): State.DECLINED,
    (State.DECLINED, Standing.VOIDED): State.DECLINED,
    (State.CAPTURED, Standing.CAPTURED): State.CAPTURED,
    (State.REFUNDED, Standing.CAPTURED): State.REFUNDED,
    (State.VOIDED, Standing.UNKNOWN): State.VOIDED,
    (State.VOIDED, Standing.OPEN): State.VOIDED,
    (State.VOIDED, Standing.HELD): State.VOIDED,  # it arrived late, and is to be voided there
    (State.VOIDED, Standing.DECLINED): State.VOIDED,
    (State.VOIDED, Standing.VOIDED): State.VOIDED,
}
"""State here, standing there -> state here once that is known. What is missing here is a contradiction."""

_UNDECIDED: Final = {
    Operation.AUTHORIZE: {State.AUTHORIZING},
    Operation.CAPTURE: {State.AUTHORIZED},
    Operation.VOID: {State.AUTHORIZING, State.AUTHORIZED},
}
"""Operation -> states in which it is not over. Whether a refund is over, the provider's list of refunds tells."""

_CLOSABLE: Final = {Standing.OPEN, Standing.HELD}
"""Standings that a void ends."""


class RefundState(StrEnum):
    """What became of one refund."""

    PENDING = "pending"
    DONE = "done"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True, kw_only=True)
class Refund:
    """Money given back, or to be given back, once."""

    refund_id: UUID
    minor: int
    state: RefundState = RefundState.PENDING

    @classmethod
    def asked_by(cls, payment_id: UUID, caller: str, request_id: str, minor: int) -> Refund:
        """Return the refund of a request: the same for each of its repeats."""
        return cls(refund_id=uuid5(payment_id, f"{caller}/{request_id}"), minor=minor)


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What the provider knows of one payment."""

    standing: Standing
    decline_code: str = ""
    refunded_minor: int = 0
    """In all, by whoever asked for it."""
    refunds: frozenset[UUID] = frozenset()
    """Those of ours that it did."""
    refused_refunds: frozenset[UUID] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Payment:
    """The money of one order. One without a user is a closed door: the order was called off before it was paid."""

    payment_id: UUID
    order_id: UUID
    user_id: str
    amount: Money
    state: State
    pending: Operation | None = None
    refund: Refund | None = None
    """The refund that is pending."""
    refunded_minor: int = 0
    decline_code: str = ""
    provider_reference: str | None = None
    """The payment's name at the provider; None until the provider has given it one, before which no money moves."""
    attempts: int = 0
    """Times the provider was asked in vain, or asked about a voided payment."""
    create_time: datetime
    update_time: datetime

    @classmethod
    def new(cls, order_id: UUID, user_id: str, amount: Money, *, reference: str | None, now: datetime) -> Payment:
        """Return a payment about to be authorised. Its id follows from the order's: an order has one payment."""
        return cls(
            payment_id=uuid5(order_id, "payment"),
            order_id=order_id,
            user_id=user_id,
            amount=amount,
            state=State.AUTHORIZING,
            pending=Operation.AUTHORIZE,
            provider_reference=reference,
            create_time=now,
            update_time=now,
        )

    @classmethod
    def closed(cls, order_id: UUID, *, reference: str | None, now: datetime) -> Payment:
        """Return what stands for an order that is not to be paid any more, and of which nothing is known."""
        payment = cls.new(order_id, "", Money("", 0), reference=reference, now=now)
        return replace(payment, state=State.VOIDED, pending=None)

    @property
    def is_closed_door(self) -> bool:
        return not self.user_id

    @property
    def remaining_minor(self) -> int:
        """How much can be given back, if it was taken."""
        return self.amount.minor - self.refunded_minor

    def idempotency_key(self, operation: Operation) -> str:
        """Return by what the provider knows repeats of *operation*."""
        key = f"{self.payment_id}:{operation}"
        return f"{key}:{self.refund.refund_id}" if operation is Operation.REFUND and self.refund else key

    def can_begin(self, operation: Operation) -> bool:
        """Tell whether *operation* may be begun now."""
        return self.pending in (None, Operation.AUTHORIZE) and (self.state, operation) in BEGINNINGS

    def begin(self, operation: Operation, *, refund: Refund | None = None, now: datetime) -> Payment:
        """Return the payment with *operation* begun. A void takes the place of an authorisation under way.

        Raises:
            IllegalTransition: it can't be begun now.
        """
        if not self.can_begin(operation):
            raise IllegalTransition(self.state, operation)
        return replace(self, pending=operation, refund=refund, attempts=0, update_time=now)

    def settle(self, found: Found, *, now: datetime) -> Payment:
        """Return the payment in the light of what the provider knows; the same one where that is nothing new.

        Raises:
            ProviderContradicts: it can't be.
        """
        state = OUTCOMES.get((self.state, found.standing))
        if state is None:
            raise ProviderContradicts(self.order_id, self.state, found.standing)
        if self.pending is Operation.VOID and found.standing is Standing.UNKNOWN:
            state = State.VOIDED
        refunded = max(self.refunded_minor, found.refunded_minor)
        if state is State.CAPTURED and refunded >= self.amount.minor:
            state = State.REFUNDED
        pending, refund = self.pending, self.refund
        if refund:
            over = refund.refund_id in found.refunds | found.refused_refunds
        else:
            over = pending is not None and state not in _UNDECIDED.get(pending, {self.state})
        settled = replace(
            self,
            state=state,
            refunded_minor=refunded,
            decline_code=found.decline_code if state is State.DECLINED else self.decline_code,
            pending=None if over else pending,
            refund=None if over else refund,
        )
        return self if settled == self else replace(settled, attempts=0, update_time=now)

    def left_to_do(self, found: Found) -> Operation | None:
        """Return what the provider must be told now that *found* is known: what is pending, and no late arrivals."""
        if self.state is State.VOIDED and found.standing in _CLOSABLE:
            return Operation.VOID
        return self.settle(found, now=self.update_time).pending

    def is_authorized(self, wanted: Payment) -> bool:
        """Tell whether *wanted* was authorised, if not yet refused.

        Raises:
            PaymentClosed, PaymentDiffers, PaymentDeclined: it was refused for good.
        """
        if not self.is_closed_door and (self.amount, self.user_id) != (wanted.amount, wanted.user_id):
            raise PaymentDiffers(self.order_id)
        if self.state is State.VOIDED or self.pending is Operation.VOID:
            raise PaymentClosed(self.order_id)
        if self.state is State.DECLINED:
            raise PaymentDeclined(self.order_id, self.decline_code)
        return self.state is not State.AUTHORIZING

    def is_captured(self) -> bool:
        """Raises PaymentClosed when it never will be."""
        if self.state in (State.DECLINED, State.VOIDED):
            raise PaymentClosed(self.order_id)
        return self.state in (State.CAPTURED, State.REFUNDED)

    def is_voided(self) -> bool:
        """Raises PaymentCaptured when it never will be."""
        if self.state in (State.CAPTURED, State.REFUNDED):
            raise PaymentCaptured(self.order_id)
        return self.state in (State.VOIDED, State.DECLINED)

    def is_given_back(self) -> bool:
        """Raises PaymentNotFound when nothing was ever asked for."""
        if self.is_closed_door:
            raise PaymentNotFound(self.order_id)
        return self.state in (State.REFUNDED, State.VOIDED, State.DECLINED)

    def is_part_given_back(self, wanted: Refund, known: Refund | None) -> bool:
        """Tell whether *wanted* is done; *known* is the same refund as it is stored.

        Raises:
            RequestIdReused, RefundRefused, PaymentNotFound, PaymentNotCaptured, RefundTooLarge: it won't be.
        """
        if self.is_closed_door:
            raise PaymentNotFound(self.order_id)
        if known:
            if known.minor != wanted.minor:
                raise RequestIdReused
            if known.state is RefundState.REFUSED:
                raise RefundRefused(self.order_id)
            return known.state is RefundState.DONE
        if self.pending not in (None, Operation.AUTHORIZE):
            return False  # what is pending decides what is left
        if self.state not in (State.CAPTURED, State.REFUNDED):
            raise PaymentNotCaptured(self.order_id)
        if wanted.minor > self.remaining_minor:
            raise RefundTooLarge(self.order_id, Money(self.amount.currency, self.remaining_minor))
        return False


class Happening(StrEnum):
    """What others hear of."""

    AUTHORIZED = "authorized"
    DECLINED = "declined"
    CAPTURED = "captured"
    VOIDED = "voided"
    REFUNDED = "refunded"


_ALONG: Final = (State.AUTHORIZING, State.AUTHORIZED, State.CAPTURED, State.REFUNDED)
"""The way money goes when nothing comes between."""


def happened(before: Payment, after: Payment) -> tuple[Happening, ...]:
    """Return what others must hear of, in order, once *before* has become *after*.

    A payment that is voided before anybody heard that it was authorised is no news.
    """
    news: list[Happening] = []
    if before.state in _ALONG and after.state in _ALONG:
        passed = _ALONG[_ALONG.index(before.state) + 1 : _ALONG.index(after.state) + 1]
        news += [Happening(state) for state in passed if state is not State.REFUNDED]
    elif before.state is State.AUTHORIZED and after.state is State.VOIDED:
        news.append(Happening.VOIDED)
    elif before.state is State.AUTHORIZING and after.state is State.DECLINED:
        news.append(Happening.DECLINED)
    if after.refunded_minor > before.refunded_minor:
        news.append(Happening.REFUNDED)
    return tuple(news)
