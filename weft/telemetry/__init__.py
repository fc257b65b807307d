"""Metrics, traces and logs."""

from weft.telemetry.log import LineWriter, configure_logging, timestamp
from weft.telemetry.metrics import CLIENT_CALLS, SERVER_CALLS, SERVER_IN_FLIGHT, metrics_page
from weft.telemetry.trace import RecentSpans, TraceContext, Tracing, parse_traceparent

__all__ = [
    "CLIENT_CALLS",
    "SERVER_CALLS",
    "SERVER_IN_FLIGHT",
    "LineWriter",
    "RecentSpans",
    "TraceContext",
    "Tracing",
    "configure_logging",
    "metrics_page",
    "parse_traceparent",
    "timestamp",
]
