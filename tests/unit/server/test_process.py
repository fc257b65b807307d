"""A service that could not do with events what its contract says does not start, and says what to change."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from tests.library import pb
from weft.config import ConfigError
from weft.contract import Contract, Service, Subscription
from weft.events import Outbox
from weft.server import Parts
from weft.server.process import Settings, _events, _heard
from weft.telemetry import Tracing

ANYTHING: Any = object()


async def handle(*_: object) -> None: ...


@pytest.mark.parametrize(
    ("database", "problem"),
    [
        (None, "library has events and keeps no data: give its Parts a database"),
        (ANYTHING, "library has events: set WEFT_BROKER_URL to nats://… or amqp://…"),
    ],
)
async def test_a_service_with_events_needs_a_database_and_a_broker(database: Any, problem: str) -> None:
    runtime: Any = SimpleNamespace(name="library", outbox=Outbox("library"))
    built: Any = SimpleNamespace(contract=SimpleNamespace(services=()))
    parts = Parts(servicers={}, database=database, handlers={pb.BookLent: handle})

    with pytest.raises(ConfigError) as refused:
        async with _events(runtime, parts, built, Settings(), Tracing("library")):
            pass

    assert refused.value.problems == (problem,)


def test_what_others_hear_whose_messages_a_service_uses_is_not_taken_from_them() -> None:
    services = [
        Service(
            name=name,
            full_name=f"example.{name}.v1.Service",
            file=f"{name}.proto",
            methods=(),
            subscriptions=(Subscription(name=f"{name}.lending", service=name, events=("BookLent",)),),
        )
        for name in ("archive", "library")
    ]
    built: Any = SimpleNamespace(contract=Contract(services=tuple(services)))
    parts = Parts(servicers={"example.library.v1.Service": ANYTHING})

    assert [each.name for each in _heard(parts, built)] == ["library.lending"]
