"""Metrics of sagas. Labels are names from definitions, never what a saga holds."""

from __future__ import annotations

from typing import Final

from prometheus_client import Counter, Gauge, Histogram

__all__ = ["ENDED", "RUNNING", "STEP_SECONDS", "STUCK", "UNKNOWN"]

_BUCKETS_S: Final = (0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

ENDED: Final = Counter("weft_saga_ended", "Sagas that this process brought to an end", ("definition", "status"))
STUCK: Final = Gauge(
    "weft_saga_stuck", "Sagas of the database that wait for a person; every replica reports the same", ("definition",)
)
UNKNOWN: Final = Gauge(
    "weft_saga_unknown", "Sagas of the database that are due, and that this build can't run", ("definition",)
)
STEP_SECONDS: Final = Histogram(
    "weft_saga_step_seconds",
    "Time of a step's attempts, persisting included",
    ("definition", "step", "outcome"),
    buckets=_BUCKETS_S,
)
RUNNING: Final = Gauge("weft_saga_running", "Sagas that this process is running")
