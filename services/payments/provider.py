"""What a payment provider is to this service, whoever it is."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from uuid import UUID

    from services.payments.domain import Found, Refund
    from services.payments.money import Money

__all__ = ["Card", "Declined", "Provider", "ProviderTrouble", "ProviderUnavailable", "ProviderUncertain"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """A card on its way to the provider. Nothing of it shows when it is printed."""

    number: str = field(repr=False)
    expiry_month: int = field(repr=False)
    expiry_year: int = field(repr=False)
    security_code: str = field(repr=False)


class Declined(Exception):  # an answer, and as final as a yes
    """The provider said no: nothing was done, and the same will never be."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class ProviderTrouble(Exception):  # see its two kinds
    """The provider did not answer."""


class ProviderUnavailable(ProviderTrouble):
    """For sure nothing was done: no connection was made, or it turned the request away unread."""


class ProviderUncertain(ProviderTrouble):
    """It may have been done, may still be, or not: time is up, the connection was lost, or it failed while at it."""


class Provider(Protocol):
    """Moves money. Repeats with the same *key* are one request.

    Whoever calls bounds the time of each call; leaving one by a cancellation counts as `ProviderUncertain`.

    Raises:
        Declined: it said no.
        ProviderUnavailable, ProviderUncertain: it did not answer.
    """

    def reference_for(self, order_id: UUID) -> str | None:
        """Return how the payment of *order_id* will be called there, or None where the provider gives the name."""

    async def create_payment_method(self, card: Card) -> str:
        """Leave a card in the provider's care; return a token for it."""

    async def prepare(self, key: str, order_id: UUID, amount: Money) -> str:
        """Return the provider's name for a new payment, moving no money. Not called where `reference_for` has it."""

    async def authorize(self, key: str, reference: str, amount: Money, payment_method: str) -> Found:
        """Hold money."""

    async def capture(self, key: str, reference: str, amount: Money) -> Found:
        """Take what is held."""

    async def void(self, key: str, reference: str) -> Found:
        """Let go what is held."""

    async def refund(self, key: str, reference: str, refund: Refund) -> Found:
        """Give back."""

    async def find(self, reference: str) -> Found:
        """Return what it knows now. Changes nothing."""
