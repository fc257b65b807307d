"""Metrics of events. Labels are mesh names and names of subscriptions, both bounded by the contract."""

from __future__ import annotations

from typing import Final

from prometheus_client import Counter, Gauge, Histogram

__all__ = [
    "APPLIED",
    "APPLY_S",
    "CONSUMER_ACTIVE",
    "EVENT_LAG_S",
    "OUTBOX_FAILURES",
    "OUTBOX_LAG_S",
    "OUTBOX_PUBLISHED",
]

OUTBOX_LAG_S: Final = Gauge(
    "weft_outbox_lag_seconds", "Age of the oldest event that no broker has confirmed", ("source",)
)
OUTBOX_PUBLISHED: Final = Counter("weft_outbox_published_total", "Events confirmed by the broker", ("source",))
OUTBOX_FAILURES: Final = Counter(
    "weft_outbox_failures_total", "Events that the broker did not confirm at an attempt", ("source",)
)
APPLIED: Final = Counter(
    "weft_events_applied_total",
    "Ends of attempts: applied, duplicate, failed (to be tried again), postponed (by our own database), buried",
    ("subscription", "outcome"),
)
APPLY_S: Final = Histogram(
    "weft_events_apply_seconds",
    "Time of the attempts that applied an event, commit included",
    ("subscription",),
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0),
)
EVENT_LAG_S: Final = Histogram(
    "weft_event_lag_seconds",
    "Time from when an event happened to when it was applied",
    ("subscription",),
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 3600.0),
)
CONSUMER_ACTIVE: Final = Gauge(
    "weft_events_consumer_active",
    "1 where this process hears a subscription; nobody does where the sum over all processes is 0",
    ("subscription",),
)
