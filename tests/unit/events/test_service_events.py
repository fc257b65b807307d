"""A service that could not hear what it subscribes to does not start."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from tests.library import pb
from weft.contract import Subscription
from weft.data import Transaction
from weft.events import BrokerMissing, Outbox, Received, ServiceEvents
from weft.telemetry import Tracing

LOANS = Subscription(name="archive.loans", service="archive", events=("library.v1.BookLent",))


async def handle(tx: Transaction, received: Received[Any]) -> None:
    del tx, received


def events(
    *subscriptions: Subscription,
    handlers: Mapping[type[Any], Any] | None = None,
    broker: Any = None,
    publishes: bool = False,
) -> ServiceEvents:
    anything: Any = object()
    return ServiceEvents(
        database=anything,
        outbox=Outbox("archive"),
        subscriptions=subscriptions,
        handlers=handlers or {},
        broker=broker,
        publishes=publishes,
        tracing=Tracing("archive"),
    )


def test_every_event_of_a_subscription_needs_a_handler() -> None:
    with pytest.raises(ValueError, match=r"archive: library\.v1\.BookLent has no handler"):
        events(LOANS, broker=object())


def test_every_handler_needs_a_subscription() -> None:
    with pytest.raises(ValueError, match=r"no subscription names library\.v1\.BookReturned"):
        events(LOANS, handlers={pb.BookLent: handle, pb.BookReturned: handle}, broker=object())


@pytest.mark.parametrize("hears", [True, False])
def test_whoever_publishes_or_hears_needs_a_broker(hears: bool) -> None:
    with pytest.raises(BrokerMissing, match="archive has events: set WEFT_BROKER_URL"):
        events(*[LOANS] * hears, handlers={pb.BookLent: handle} if hears else {}, publishes=not hears)


def test_whoever_has_no_events_needs_none() -> None:
    events()
    events(broker=object())
