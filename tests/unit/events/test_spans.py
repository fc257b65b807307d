"""What is recorded of an event, and of whom nothing is."""

from __future__ import annotations

import json
from typing import Any
from uuid import uuid4

import pytest
from mesh.events.v1.event_pb2 import Event

from weft.errors import Unavailable
from weft.events.spans import publishing
from weft.telemetry import RecentSpans, Tracing

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331"


def event(traceparent: str) -> Event:
    return Event(id=str(uuid4()), type="library.v1.BookLent", traceparent=traceparent, data=b"4711-secret")


@pytest.mark.parametrize("traceparent", ["", f"{TRACE}-00"])
def test_an_event_of_a_call_that_is_not_sampled_is_sent_as_it_is_and_costs_nothing(traceparent: str) -> None:
    nobody_asks: Any = None
    sent = event(traceparent)

    with publishing(nobody_asks, "nats", sent):
        pass

    assert sent.traceparent == traceparent


def test_the_span_of_a_failed_attempt_says_why_and_nothing_of_the_payload() -> None:
    spans, sent = RecentSpans(), event(f"{TRACE}-01")

    with pytest.raises(Unavailable), publishing(Tracing("library", exporters=[spans]), "nats", sent):
        raise Unavailable("gone", reason="BROKER_UNAVAILABLE")

    [span] = json.loads(spans.to_json())
    assert span["status"]["status_code"] == "ERROR"
    assert span["attributes"] == {
        "messaging.system": "nats",
        "messaging.operation.name": "publish",
        "messaging.operation.type": "send",
        "messaging.destination.name": "library.v1.BookLent",
        "messaging.message.id": sent.id,
        "error.type": "BROKER_UNAVAILABLE",
    }
    assert span["events"] == []
