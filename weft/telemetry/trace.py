"""Trace contexts as the W3C writes them, and spans for the calls that are sampled.

A call that isn't sampled costs two random numbers and a string: the OpenTelemetry SDK is asked only for the others.
"""

from __future__ import annotations

import json
import re
from collections import deque
from collections.abc import Sequence
from random import getrandbits, random
from typing import Final, NamedTuple

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import NonRecordingSpan, Span, SpanContext, SpanKind, TraceFlags, set_span_in_context

__all__ = ["RecentSpans", "TraceContext", "Tracing", "parse_traceparent"]

_TRACEPARENT: Final = re.compile(
    r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?"
)


class TraceContext(NamedTuple):
    """Where a call stands in its trace.

    Source: https://www.w3.org/TR/trace-context/
    """

    trace_id: str
    """32 hex digits."""
    span_id: str
    """16 hex digits."""
    sampled: bool

    def traceparent(self) -> str:
        return f"00-{self.trace_id}-{self.span_id}-{'01' if self.sampled else '00'}"


def parse_traceparent(text: str | None) -> TraceContext | None:
    """Return what a `traceparent` header says, or None where it is absent or malformed."""
    found = _TRACEPARENT.fullmatch(text) if text else None
    return TraceContext(found[1], found[2], bool(int(found[3], 16) & 1)) if found else None


class Tracing:
    """Begins spans.

    The caller's decision to sample is followed; a root is sampled with probability *ratio* in [0, 1].
    """

    def __init__(self, service: str, *, ratio: float = 0.0, exporters: Sequence[SpanExporter] = ()) -> None:
        self._ratio = ratio
        self._provider = TracerProvider(
            sampler=ALWAYS_ON,  # only asked for sampled calls
            resource=Resource.create({"service.name": service}),
            span_limits=SpanLimits(max_attributes=32, max_events=8, max_links=4),
            shutdown_on_exit=False,
        )
        for exporter in exporters:
            in_memory = isinstance(exporter, RecentSpans)
            self._provider.add_span_processor(
                SimpleSpanProcessor(exporter) if in_memory else BatchSpanProcessor(exporter)
            )
        self._tracer = self._provider.get_tracer("weft")

    def begin(self, name: str, kind: SpanKind, parent: TraceContext | None) -> tuple[TraceContext, Span | None]:
        """Return the new context, and its span where the trace is sampled; the caller ends that."""
        sampled = parent.sampled if parent else random() < self._ratio  # noqa: S311 (sampling is no secret)
        if not sampled:
            return TraceContext(
                parent.trace_id if parent else f"{getrandbits(128):032x}", f"{getrandbits(64):016x}", False
            ), None
        above = None
        if parent:
            remote = SpanContext(
                int(parent.trace_id, 16), int(parent.span_id, 16), is_remote=True, trace_flags=TraceFlags(1)
            )
            above = set_span_in_context(NonRecordingSpan(remote))
        span = self._tracer.start_span(name, context=above, kind=kind)
        made = span.get_span_context()
        return TraceContext(f"{made.trace_id:032x}", f"{made.span_id:016x}", True), span

    def close(self) -> None:
        """Export what is left, waiting at most 5 s."""
        self._provider.force_flush(5000)
        self._provider.shutdown()


class RecentSpans(SpanExporter):
    """The latest *limit* spans, kept in memory so that a mesh without a collector can still be asked."""

    def __init__(self, limit: int = 1000) -> None:
        self._spans: deque[ReadableSpan] = deque(maxlen=limit)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self._spans.extend(spans)
        return SpanExportResult.SUCCESS

    def to_json(self) -> str:
        """Return a JSON array of spans in OpenTelemetry's JSON form, oldest first."""
        return f"[{','.join(json.dumps(json.loads(span.to_json(indent=None))) for span in tuple(self._spans))}]"
