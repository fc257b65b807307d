"""A library that publishes and an archive that hears, with every effect written down."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol
from uuid import uuid4

import sqlalchemy as sa
from mesh.events.v1.event_pb2 import Event

from tests.library import pb
from weft.contract import Subscription
from weft.data import Database, Transaction
from weft.data.migrate import migrate
from weft.errors import Unavailable
from weft.events import Outbox, Received, ServiceEvents, open_broker
from weft.telemetry import Tracing

ROOT: Final = Path(__file__).parents[4]
LENT: Final = "library.v1.BookLent"
RETURNED: Final = "library.v1.BookReturned"
EFFECTS: Final = """
    CREATE TABLE effects (
        position bigserial PRIMARY KEY, event_id uuid NOT NULL, subject text NOT NULL, number int NOT NULL,
        shelf int, CONSTRAINT one_on_a_shelf UNIQUE (shelf) DEFERRABLE INITIALLY DEFERRED
    )
"""


def prepare_database(url: str) -> None:
    migrate(url)
    engine = sa.create_engine(url.replace("postgresql:", "postgresql+psycopg2:"))
    with engine.begin() as connection:
        connection.execute(sa.text(EFFECTS))
    engine.dispose()


def subscription(**changes: Any) -> Subscription:
    """Return one that fails fast, whose name nobody else has."""
    values: dict[str, Any] = {
        "name": f"archive.loans-{uuid4().hex[:8]}",
        "service": "archive",
        "events": (LENT,),
        "timeout_s": 2.0,
        "max_attempts": 3,
        "initial_backoff_s": 0.01,
        "max_backoff_s": 0.05,
    }
    return Subscription(**(values | changes))


@asynccontextmanager
async def running(*loops: Callable[[], Coroutine[object, object, None]]) -> AsyncIterator[None]:
    """Run what never ends until the block is left; what ends it nevertheless fails the test."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(loop()) for loop in loops]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()


@dataclass
class Loans:
    """Events about a test's own books. A broker may still tell of those of earlier tests; they are not recorded."""

    database: Database
    outbox: Outbox = field(default_factory=lambda: Outbox("library"))
    mark: str = field(default_factory=lambda: uuid4().hex[:8])

    def book(self, name: str) -> str:
        return f"{name}-{self.mark}"

    def lent(self, name: str, number: int) -> Any:
        return pb.BookLent(book_id=self.book(name), number=number)

    async def publish(self, *events: tuple[str, int]) -> None:
        """Publish (book, number) pairs, each in a transaction of its own."""
        for name, number in events:
            async with self.database.transaction() as tx:
                await self.outbox.publish(tx, self.lent(name, number))

    async def record(self, tx: Transaction, received: Received[Any]) -> None:
        """Handle an event by writing down that it was."""
        if received.subject.endswith(self.mark):
            await record(tx, received)

    async def applied(self) -> dict[str, list[int]]:
        """Return book -> numbers of the events applied, in the order they were."""
        return await applied(self.database)

    async def unpublished(self) -> int:
        async with self.database.transaction() as tx:
            return int(await tx.scalar(sa.text("SELECT count(*) FROM outbox WHERE publish_time IS NULL")))

    def are_applied(self, expected: dict[str, list[int]]) -> Callable[[], Coroutine[object, object, bool]]:
        """Return a condition: as many events as *expected* have been applied."""

        async def condition() -> bool:
            count = sum(map(len, (await self.applied()).values()))
            return count >= sum(map(len, expected.values()))

        return condition


async def record(tx: Transaction, received: Received[Any]) -> None:
    statement = sa.text("INSERT INTO effects (event_id, subject, number) VALUES (CAST(:id AS uuid), :subject, :number)")
    await tx.execute(statement.bindparams(id=received.id, subject=received.subject, number=received.event.number))


async def applied(database: Database) -> dict[str, list[int]]:
    found: dict[str, list[int]] = defaultdict(list)
    async with database.transaction() as tx:
        for row in await tx.all(sa.text("SELECT subject, number FROM effects ORDER BY position")):
            found[row.subject.rpartition("-")[0]].append(row.number)
    return dict(found)


@dataclass
class Recorder:
    """Stands for a broker of which only publishing is wanted, and can be told to fail."""

    system = "recorder"
    events: list[Event] = field(default_factory=list)
    is_away: bool = False
    refused: set[int] = field(default_factory=set)
    """Numbers of the events that it does not confirm."""

    async def publish(self, event: Event) -> None:
        await asyncio.sleep(0)
        if self.is_away or pb.BookLent.FromString(event.data).number in self.refused:
            raise Unavailable("the broker is away", reason="BROKER_UNAVAILABLE")
        self.events.append(event)

    def numbers(self, subject: str) -> Sequence[int]:
        return [pb.BookLent.FromString(event.data).number for event in self.events if event.subject == subject]


class BrokerServer(Protocol):
    """A broker that a test may kill and start again; it keeps what it has confirmed."""

    url: str

    def kill(self) -> None: ...

    def start(self) -> None: ...


Handle = Callable[[Transaction, Received[Any]], Awaitable[None]]


@asynccontextmanager
async def replica(
    loans: Loans,
    broker_url: str,
    *subscriptions: Subscription,
    handle: Handle | None = None,
    lease_s: float = 2.0,
    tracing: Tracing | None = None,
) -> AsyncIterator[None]:
    """Run a service that publishes what is in the outbox, and hears of it, until the block is left."""
    messages = {LENT: pb.BookLent, RETURNED: pb.BookReturned}
    heard = {event for each in subscriptions for event in each.events}
    async with open_broker(broker_url, name="archive") as broker:
        for each in subscriptions:  # what is published before nobody has to keep
            await broker.declare(each)
        events = ServiceEvents(
            database=loans.database,
            outbox=loans.outbox,
            subscriptions=subscriptions,
            handlers={messages[event]: handle or loans.record for event in heard},
            broker=broker,
            tracing=tracing or Tracing("archive"),
            lease_s=lease_s,
        )
        async with running(events.run):
            yield


class Worker:
    """A replica in a process of its own; see `worker.py`."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.lines: list[str] = []

    @classmethod
    @asynccontextmanager
    async def started(
        cls, loans: Loans, broker_url: str, *subscriptions: Subscription, **told: Any
    ) -> AsyncIterator[Worker]:
        """Start one; kill it when the block is left, whatever state it is in."""
        values = {
            "database": loans.database._url,
            "broker": broker_url,
            "mark": loans.mark,
            "subscriptions": [asdict(each) for each in subscriptions],
            "fail": None,
            "hold": None,
            "go": "/nowhere",
            "die_after_confirmation": False,
            "lease_s": 2.0,
        }
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.mesh.events.delivery.worker", json.dumps(values | told)),
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'gen'}"},
            stdout=asyncio.subprocess.PIPE,
        )
        worker = cls(process)
        try:
            yield worker
        finally:
            if process.returncode is None:
                process.kill()
            while await worker._read():
                pass
            await process.wait()

    async def says(self, words: str) -> None:
        """Return when it has said *words*, now or before."""
        async with asyncio.timeout(60):
            while not any(words in line for line in self.lines):
                assert await self._read(), f"ended without {words!r}: {self.lines}"

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    async def _read(self) -> bool:
        assert self.process.stdout is not None
        line = (await self.process.stdout.readline()).decode()
        self.lines.append(line)
        return bool(line)
