"""A service that publishes and one that hears, each in a process of its own: `python -m scripts.lib.bench.eventing`.

Each notes by the machine's monotonic clock, which processes share, what became of an event when: `<number> <time>`, a
line each, of the commit that made it true or of the commit that applied it.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TextIO

import uvloop
from shop.shipping.v1 import events_pb2
from sqlalchemy import text

from weft.config import load
from weft.contract import Subscription
from weft.data import Database, Transaction
from weft.events import Outbox, Received, ServiceEvents, open_broker
from weft.telemetry import Tracing, configure_logging

__all__ = ["SUBJECTS", "TABLE"]

EVENT: Final = events_pb2.ShipmentDispatched
SUBSCRIPTION: Final = Subscription(name="bench.shipments", service="bench", events=(EVENT.DESCRIPTOR.full_name,))
TABLE: Final = "CREATE TABLE effects (number bigint PRIMARY KEY)"
"""Of the hearing service: an event has its effect there, once."""
_EFFECT: Final = text("INSERT INTO effects VALUES (:number)")
SUBJECTS: Final = 100
BATCH: Final = 100
"""Events put into the outbox in one transaction, for `burst`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """`BENCH_<FIELD>` in the environment."""

    kind: str
    """`hear`, `burst` (all events are in the outbox before the relay begins) or `steady` (one a transaction)."""
    ready_fd: int
    """Written to when it works."""
    notes: Path
    broker_url: str
    database_url: str = field(repr=False)
    first: int = 0
    """Number of the first event."""
    events: int = 0
    per_s: float = 0.0
    """Of `steady`."""


async def _main(settings: Settings) -> None:
    configure_logging("WARNING", "json")
    tracing = Tracing("bench", ratio=0.0)
    outbox = Outbox("bench" if settings.kind == "hear" else "shipping")
    async with (
        Database.open(settings.database_url) as database,
        open_broker(settings.broker_url, name=outbox.source) as broker,
    ):
        with settings.notes.open("a", buffering=1) as notes:
            hears = settings.kind == "hear"
            events = ServiceEvents(
                database=database,
                outbox=outbox,
                subscriptions=[SUBSCRIPTION] if hears else [],
                handlers={EVENT: _Hearing(notes).apply} if hears else {},
                broker=broker,
                tracing=tracing,
            )
            if hears:
                await broker.declare(SUBSCRIPTION)  # nothing is published before there is a queue for it
            elif settings.kind == "burst":
                await _fill(database, outbox, settings)
                notes.write(f"begin {time.monotonic()}\n")
            working = asyncio.create_task(events.run())
            with os.fdopen(settings.ready_fd, "w") as ready:
                ready.write("0\n")  # no port
            if settings.kind == "steady":
                await _publish_steadily(database, outbox, settings, notes)
            with suppress(asyncio.CancelledError):
                await working


class _Hearing:
    """Has each event take its effect."""

    def __init__(self, notes: TextIO) -> None:
        self._notes = notes

    async def apply(self, tx: Transaction, received: Received[Any]) -> None:
        number = int(received.event.tracking_number)
        await tx.execute(_EFFECT.bindparams(number=number))

        async def note() -> None:
            self._notes.write(f"{number} {time.monotonic()}\n")

        tx.after_commit(note)


async def _fill(database: Database, outbox: Outbox, settings: Settings) -> None:
    for start in range(0, settings.events, BATCH):
        async with database.transaction() as tx:
            for number in range(start, min(start + BATCH, settings.events)):
                await outbox.publish(tx, _event(settings.first + number))


async def _publish_steadily(database: Database, outbox: Outbox, settings: Settings, notes: TextIO) -> None:
    loop = asyncio.get_running_loop()
    began = loop.time()
    for number in range(settings.events):
        await asyncio.sleep(began + number / settings.per_s - loop.time())
        async with database.transaction() as tx:
            await outbox.publish(tx, _event(settings.first + number))
        notes.write(f"{settings.first + number} {time.monotonic()}\n")


def _event(number: int) -> events_pb2.ShipmentDispatched:
    return EVENT(order_id=f"order-{number % SUBJECTS}", user_id="somebody", tracking_number=str(number))


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    uvloop.run(_main(load(Settings, os.environ, "BENCH")))
