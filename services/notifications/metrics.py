"""What is counted of notifications."""

from __future__ import annotations

from typing import Final

from prometheus_client import Counter, Gauge

__all__ = ["ATTEMPTS", "OLDEST_PENDING_S"]

ATTEMPTS: Final = Counter(
    "notifications_attempts_total",
    "Attempts to tell somebody something, by how they ended: sent, failed for good, or to be retried",
    ("channel", "template", "outcome"),
)
OLDEST_PENDING_S: Final = Gauge(
    "notifications_oldest_pending_seconds",
    "For how long the oldest that nobody was told yet has waited; channel `none` is what nobody is chosen for yet",
    ("channel",),
)
