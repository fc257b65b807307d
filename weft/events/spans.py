"""Spans of events, named as OpenTelemetry names those of messages. What isn't sampled costs a comparison.

Source: https://opentelemetry.io/docs/specs/semconv/messaging/messaging-spans/
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Final

from mesh.events.v1.event_pb2 import Event
from opentelemetry.trace import Span, SpanKind, Status, StatusCode

from weft.errors import ServiceError
from weft.telemetry import Tracing, parse_traceparent

__all__ = ["processing", "publishing", "reason_of"]

_UNSAMPLED: Final = nullcontext()
_SAMPLED: Final = "-01"
"""How the outbox ends the trace context of a call that is sampled."""


def publishing(tracing: Tracing, system: str, event: Event) -> AbstractContextManager[None]:
    """Record the block as the publishing of *event* on *system*; whoever applies the event continues from there."""
    if not event.traceparent.endswith(_SAMPLED):
        return _UNSAMPLED
    trace, span = tracing.begin(f"publish {event.type}", SpanKind.PRODUCER, parse_traceparent(event.traceparent))
    event.traceparent = trace.traceparent()
    return _recorded(span, _attributes("publish", "send", system, event)) if span else _UNSAMPLED


def processing(span: Span | None, system: str, event: Event, subscription: str) -> AbstractContextManager[None]:
    """Record the block, and end *span* with it, as the application of *event* by a subscription."""
    if span is None:
        return _UNSAMPLED
    heard = {"messaging.destination.subscription.name": subscription}
    return _recorded(span, _attributes("process", "process", system, event) | heard)


def reason_of(error: BaseException) -> str:
    """Return a stable word. An unknown exception's text may say anything, so it is not told."""
    if isinstance(error, ServiceError):
        return error.reason
    return "DEADLINE_EXCEEDED" if isinstance(error, TimeoutError) else type(error).__name__


def _attributes(name: str, kind: str, system: str, event: Event) -> dict[str, str]:
    return {
        "messaging.system": system,
        "messaging.operation.name": name,
        "messaging.operation.type": kind,
        "messaging.destination.name": event.type,
        "messaging.message.id": event.id,
    }


@contextmanager
def _recorded(span: Span, attributes: Mapping[str, str]) -> Iterator[None]:
    span.set_attributes(attributes)
    try:
        yield
    except BaseException as error:
        span.set_attribute("error.type", reason_of(error))
        span.set_status(Status(StatusCode.ERROR))
        raise
    finally:
        span.end()
