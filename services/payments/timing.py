"""Calls of the provider: each ends in time, and is counted."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final, TypeVar

from prometheus_client import Histogram

from services.payments.provider import Declined, ProviderUnavailable, ProviderUncertain

if TYPE_CHECKING:
    from collections.abc import Coroutine

__all__ = ["PROVIDER_CALLS", "timed"]

T = TypeVar("T")

PROVIDER_CALLS: Final = Histogram(
    "payment_provider_call_duration_seconds",
    "Time of the calls made to the payment provider",
    ("operation", "outcome"),
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0),
)


async def timed(operation: str, call: Coroutine[object, object, T], timeout_s: float) -> T:
    """Await *call* for *timeout_s* seconds at most.

    Raises:
        ProviderUncertain: time is up, or *call* raised it.
        Declined, ProviderUnavailable: as *call* raised it.
    """
    began_s, outcome = time.perf_counter(), "uncertain"
    try:
        async with asyncio.timeout(timeout_s):
            answer = await call
        outcome = "done"
    except TimeoutError:
        raise ProviderUncertain("time is up") from None
    except Declined:
        outcome = "declined"
        raise
    except ProviderUnavailable:
        outcome = "unavailable"
        raise
    else:
        return answer
    finally:
        PROVIDER_CALLS.labels(operation, outcome).observe(time.perf_counter() - began_s)
