"""When the provider is asked again about what nobody is waiting for."""

from __future__ import annotations

from random import uniform
from typing import TYPE_CHECKING, Final

from services.payments.domain import State

if TYPE_CHECKING:
    from services.payments.domain import Payment

__all__ = ["WATCHES", "retry_s", "watch_s"]

FIRST_RETRY_S: Final = 0.5
MAX_RETRY_S: Final = 60.0
TROUBLED_WATCH_S: Final = 30.0
WATCHES: Final = 10
"""Times a voided payment is asked about, each after twice the wait: the last one is some 17 minutes after the void."""


def retry_s(payment: Payment) -> float:
    """Return the wait before the provider, which could not be asked or did not know yet, is asked again."""
    if payment.pending is None:
        return TROUBLED_WATCH_S
    wait_s = min(MAX_RETRY_S, FIRST_RETRY_S * 2.0 ** min(payment.attempts - 1, 16))
    return wait_s * uniform(0.75, 1)  # noqa: S311  # jitter


def watch_s(payment: Payment) -> float | None:
    """Return the wait before the provider is asked about a payment that is settled here; None is never.

    An authorisation that was on its way when its payment was voided may arrive at the provider afterwards: until that
    has become most unlikely it is looked for, to be voided there too.
    """
    if payment.state is not State.VOIDED or payment.attempts >= WATCHES:
        return None
    return float(2**payment.attempts)
