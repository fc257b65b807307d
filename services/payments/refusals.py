"""Why this service says no."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from weft.errors import (
    FailedPrecondition,
    Internal,
    InvalidArgument,
    NotFound,
    Unauthenticated,
    Unavailable,
    Violation,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from services.payments.money import Money

__all__ = [
    "CardInvalid",
    "IllegalTransition",
    "InvalidFields",
    "InvoiceDiffers",
    "InvoiceNotFound",
    "PaymentCaptured",
    "PaymentClosed",
    "PaymentDeclined",
    "PaymentDiffers",
    "PaymentNotCaptured",
    "PaymentNotFound",
    "PaymentUncertain",
    "ProviderContradicts",
    "ProviderDown",
    "ProviderNotStripe",
    "RefundRefused",
    "RefundTooLarge",
    "RequestIdReused",
    "SignatureInvalid",
]

RETRY_AFTER_S: Final = 1.0


class PaymentNotFound(NotFound):
    """The order has no payment, or the caller may not know that it has."""

    def __init__(self, order_id: object) -> None:
        super().__init__(f"order {order_id} has no payment", order_id=order_id)


class PaymentDeclined(FailedPrecondition):
    """The provider said no."""

    def __init__(self, order_id: UUID, decline_code: str) -> None:
        super().__init__(
            f"the payment of order {order_id} was declined: {decline_code}",
            order_id=order_id,
            decline_code=decline_code,
        )


class PaymentClosed(FailedPrecondition):
    """The payment was declined or voided; nothing more becomes of it."""

    def __init__(self, order_id: UUID) -> None:
        super().__init__(f"the payment of order {order_id} is closed", order_id=order_id)


class PaymentCaptured(FailedPrecondition):
    """The money was taken; it can only be given back."""

    def __init__(self, order_id: UUID) -> None:
        super().__init__(f"the payment of order {order_id} was captured; refund it", order_id=order_id)


class PaymentNotCaptured(FailedPrecondition):
    """No money was taken that could be given back."""

    def __init__(self, order_id: UUID) -> None:
        super().__init__(f"the payment of order {order_id} is not captured", order_id=order_id)


class PaymentDiffers(InvalidArgument):
    """The order has a payment, of another amount or another user."""

    def __init__(self, order_id: UUID) -> None:
        super().__init__(f"order {order_id} has a different payment", order_id=order_id)


class PaymentUncertain(Unavailable):
    """The provider neither answers nor can be asked. It goes on by itself; a repeat asks again."""

    def __init__(self, order_id: UUID) -> None:
        super().__init__(
            f"what became of the payment of order {order_id} is not known yet; ask again",
            retry_after_s=RETRY_AFTER_S,
            order_id=order_id,
        )


class RefundTooLarge(FailedPrecondition):
    """Less is left."""

    def __init__(self, order_id: UUID, left: Money) -> None:
        super().__init__(f"of the payment of order {order_id} {left} is left", order_id=order_id, left=left)


class RefundRefused(FailedPrecondition):
    """The provider won't give this money back; a person must see to it."""

    def __init__(self, order_id: UUID) -> None:
        super().__init__(f"the provider refuses to refund the payment of order {order_id}", order_id=order_id)


class RequestIdReused(InvalidArgument):
    """The request id has been used for another refund."""

    def __init__(self) -> None:
        super().__init__("this request_id was used for a different request; use a new one")


class InvalidFields(InvalidArgument):
    """A field is not what it must be; `violations` lists them all."""

    def __init__(self, *violations: Violation) -> None:
        super().__init__("the request has invalid fields", violations=violations)


class InvoiceDiffers(InvalidArgument):
    """What was bought is not what is held for it; `violations` lists what doesn't fit."""

    def __init__(self, order_id: UUID, violations: Sequence[Violation]) -> None:
        super().__init__(
            f"lines, shipping and taxes don't fit what is held for order {order_id}",
            violations=violations,
            order_id=order_id,
        )


class InvoiceNotFound(NotFound):
    """There is no such invoice, or the caller may not know that there is."""

    def __init__(self, invoice_number: str) -> None:
        super().__init__(f"there is no invoice {invoice_number}", invoice_number=invoice_number)


class CardInvalid(InvalidArgument):
    """The provider knows no such card."""

    def __init__(self, code: str) -> None:
        super().__init__(f"the provider does not take this card: {code}", code=code)


class ProviderDown(Unavailable):
    """The provider can't be reached; nothing was done."""

    def __init__(self) -> None:
        super().__init__(
            "the payment provider can't be reached", reason="PROVIDER_UNAVAILABLE", retry_after_s=RETRY_AFTER_S
        )


class ProviderNotStripe(FailedPrecondition):
    """Webhooks of Stripe's are for a shop that is paid through Stripe."""

    def __init__(self) -> None:
        super().__init__("payments here don't go through Stripe")


class SignatureInvalid(Unauthenticated):
    """The webhook isn't Stripe's, or is too old."""

    def __init__(self) -> None:
        super().__init__("the signature does not fit this body")


class IllegalTransition(Internal):
    """A payment in this state can't begin that: a mistake of ours."""

    def __init__(self, state: object, operation: object) -> None:
        super().__init__(f"a payment that is {state} can't begin {operation}")


class ProviderContradicts(Internal):
    """What the provider says can't follow from what was done here. A person is to look."""

    def __init__(self, order_id: UUID, state: object, standing: object) -> None:
        super().__init__(f"payment of order {order_id}: {state} here, {standing} at the provider")
        self.state, self.standing = state, standing
