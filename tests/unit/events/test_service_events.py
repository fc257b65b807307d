"""A service that could not hear what it subscribes to does not start."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from tests.library import pb
from weft.contract import Subscription
from weft.data import Transaction
from weft.events import Outbox, Received, ServiceEvents
from weft.telemetry import Tracing

LOANS = Subscription(name="archive.loans", service="archive", events=("library.v1.BookLent",))


async def handle(tx: Transaction, received: Received[Any]) -> None:
    del tx, received


def events(*subscriptions: Subscription, handlers: Mapping[type[Any], Any] | None = None) -> ServiceEvents:
    anything: Any = object()
    return ServiceEvents(
        database=anything,
        outbox=Outbox("archive"),
        subscriptions=subscriptions,
        handlers=handlers or {},
        broker=anything,
        tracing=Tracing("archive"),
    )


def test_every_event_of_a_subscription_needs_a_handler() -> None:
    with pytest.raises(ValueError, match=r"archive: library\.v1\.BookLent has no handler"):
        events(LOANS)


def test_every_handler_needs_a_subscription() -> None:
    with pytest.raises(ValueError, match=r"no subscription names library\.v1\.BookReturned"):
        events(LOANS, handlers={pb.BookLent: handle, pb.BookReturned: handle})
