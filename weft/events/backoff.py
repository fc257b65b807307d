"""How long to wait before trying again."""

from __future__ import annotations

import random

__all__ = ["backoff_s", "jittered"]


def backoff_s(attempt: int, *, base_s: float, cap_s: float) -> float:
    """Return the full-jitter wait before retry *attempt* (1 is the first retry).

    Returns:
        Seconds, uniform in `[0, min(cap_s, base_s * 2 ** (attempt - 1))]`.

    Source: M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
    """
    return random.uniform(0, min(cap_s, base_s * 2 ** min(attempt - 1, 32)))  # noqa: S311 (jitter is no secret)


def jittered(seconds: float) -> float:
    """Return a time around *seconds*, so that replicas started together spread out."""
    return seconds * random.uniform(0.75, 1.25)  # noqa: S311 (as above)
