"""A replica in a process of its own, to be killed and stopped: `python -m tests.mesh.events.delivery.worker JSON`.

Says on standard output what it does, a line each: `began NUMBER` for each attempt, and its log.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

from mesh.events.v1.event_pb2 import Event

from tests.library import pb
from tests.mesh.events.delivery.harness import Loans, record
from weft.contract import Subscription
from weft.data import Database, Transaction
from weft.events import Received, ServiceEvents, open_broker
from weft.telemetry import Tracing, configure_logging


async def main(told: dict[str, Any]) -> None:
    configure_logging()
    may_go = Path(told["go"])
    subscriptions = [Subscription(**(each | {"events": tuple(each["events"])})) for each in told["subscriptions"]]

    async def handle(tx: Transaction, received: Received[Any]) -> None:
        if not received.subject.endswith(told["mark"]):
            return
        number = received.event.number
        sys.stdout.write(f"began {number}\n")
        sys.stdout.flush()
        if number == told["fail"]:
            raise ZeroDivisionError
        while number == told["hold"] and not may_go.exists():  # noqa: ASYNC240 (of no interest to others here)
            await asyncio.sleep(0.01)
        await record(tx, received)

    async with (
        Database.open(told["database"]) as database,
        open_broker(told["broker"], name="archive") as broker,
    ):
        if told["die_after_confirmation"]:
            publish = broker.publish

            async def publish_and_die(event: Event) -> None:
                await publish(event)
                os.kill(os.getpid(), signal.SIGKILL)

            broker.publish = publish_and_die  # type: ignore[method-assign]
        loans = Loans(database, mark=told["mark"])
        events = ServiceEvents(
            database=database,
            outbox=loans.outbox,
            subscriptions=subscriptions,
            handlers={pb.BookLent: handle} if subscriptions else {},
            broker=broker,
            tracing=Tracing("archive"),
            lease_s=told["lease_s"],
        )
        await events.run()


if __name__ == "__main__":
    asyncio.run(main(json.loads(sys.argv[1])))
