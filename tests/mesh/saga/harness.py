"""A peer that keeps what it is asked to do in tables of its own, and replicas that can be killed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from contextvars import Context
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, cast
from uuid import UUID, uuid4

import sqlalchemy as sa

from weft.data import Database, Transaction
from weft.errors import FailedPrecondition, Unavailable
from weft.saga import Definition, Retry, Runner, SagaData, Status, StepCall

__all__ = [
    "QUICK",
    "Entry",
    "Fault",
    "Killed",
    "MortalDatabase",
    "Peer",
    "Replicas",
    "Sagas",
    "local_marks",
    "mark",
    "unmark",
]

QUICK: Final = Retry(max_attempts=3, initial_backoff_s=0.001, max_backoff_s=0.002)

_metadata = sa.MetaData()
requests = sa.Table("peer_requests", _metadata, sa.Column("request_id", sa.Text, primary_key=True))
effects = sa.Table(
    "peer_effects",
    _metadata,
    sa.Column("saga_id", sa.Uuid, primary_key=True),
    sa.Column("step", sa.Text, primary_key=True),
    sa.Column("times", sa.Integer, nullable=False),
    sa.Column("is_undone", sa.Boolean, nullable=False),
)
marks = sa.Table(
    "marks",
    _metadata,
    sa.Column("saga_id", sa.Uuid, nullable=False),
    sa.Column("step", sa.Text, nullable=False),
    sa.Column("change", sa.Integer, nullable=False),
)


def create_tables(url: str) -> None:
    engine = sa.create_engine(url.replace("postgresql:", "postgresql+psycopg2:"))
    _metadata.create_all(engine)
    engine.dispose()


class Peer:
    """Does each request once, whatever is repeated, and nothing that was undone before it came."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.calls: list[tuple[str, str]] = []
        """Step and request id of every call that arrived."""

    async def act(self, call: StepCall, step: str) -> None:
        self.calls.append((step, call.request_id))
        async with self._database.transaction(independent=True) as tx:
            undone = sa.select(effects.c.is_undone).where(effects.c.saga_id == call.saga_id, effects.c.step == step)
            await tx.execute(
                sa.text("SELECT pg_advisory_xact_lock(hashtext(:key))").bindparams(key=f"{call.saga_id}{step}")
            )
            if await tx.scalar(undone):
                raise FailedPrecondition("it was undone", reason="UNDONE")
            added = sa.dialects.postgresql.insert(requests).values(request_id=call.request_id).on_conflict_do_nothing()
            if await tx.execute(added):
                row = sa.dialects.postgresql.insert(effects).values(
                    saga_id=call.saga_id, step=step, times=1, is_undone=False
                )
                await tx.execute(
                    row.on_conflict_do_update(index_elements=["saga_id", "step"], set_={"times": effects.c.times + 1})
                )

    async def refuse(self, call: StepCall, step: str) -> None:
        """Say no for good, to what is still to come too; what was done before is not refused."""
        self.calls.append((step, call.request_id))
        async with self._database.transaction(independent=True) as tx:
            no = sa.dialects.postgresql.insert(effects).values(saga_id=call.saga_id, step=step, times=0, is_undone=True)
            await tx.execute(no.on_conflict_do_nothing())
            undone = sa.select(effects.c.is_undone).where(effects.c.saga_id == call.saga_id, effects.c.step == step)
            is_refused = await tx.scalar(undone)
        if is_refused:
            raise FailedPrecondition("no", reason="NO")

    async def undo(self, call: StepCall, step: str) -> None:
        """Undo the effect, and leave a tombstone for one that is still to come."""
        self.calls.append((f"undo {step}", call.request_id))
        async with self._database.transaction(independent=True) as tx:
            await tx.execute(
                sa.text("SELECT pg_advisory_xact_lock(hashtext(:key))").bindparams(key=f"{call.saga_id}{step}")
            )
            row = sa.dialects.postgresql.insert(effects).values(
                saga_id=call.saga_id, step=step, times=0, is_undone=True
            )
            await tx.execute(row.on_conflict_do_update(index_elements=["saga_id", "step"], set_={"is_undone": True}))

    async def effects(self, saga_id: UUID) -> dict[str, tuple[int, bool]]:
        """Return step -> how often it was done, and whether it was undone."""
        async with self._database.transaction(independent=True) as tx:
            rows = await tx.all(sa.select(effects).where(effects.c.saga_id == saga_id))
        return {row.step: (row.times, row.is_undone) for row in rows}

    async def present(self, saga_id: UUID) -> set[str]:
        return {step for step, (times, undone) in (await self.effects(saga_id)).items() if times and not undone}


def mark(step: str) -> Callable[[Transaction, SagaData], Any]:
    """Return a local effect that adds a row."""

    async def add(tx: Transaction, given: SagaData) -> None:
        await tx.execute(sa.insert(marks).values(saga_id=given.saga_id, step=step, change=1))

    return add


def unmark(step: str) -> Callable[[Transaction, SagaData], Any]:
    async def add(tx: Transaction, given: SagaData) -> None:
        assert given.failure is not None
        await tx.execute(sa.insert(marks).values(saga_id=given.saga_id, step=step, change=-1))

    return add


async def local_marks(database: Database, saga_id: UUID) -> dict[str, list[int]]:
    """Return step -> its changes, in order of commits or not."""
    async with database.transaction(independent=True) as tx:
        rows = await tx.all(sa.select(marks).where(marks.c.saga_id == saga_id))
    found: dict[str, list[int]] = {}
    for row in rows:
        found.setdefault(row.step, []).append(row.change)
    return found


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of a saga's log."""

    step: str
    kind: str
    attempt: int
    reason: str
    holder: str


class Sagas:
    """Looks at what the database says, and shortens waits that only time would end."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def start(self, runner: Runner, definition: str, **data: object) -> UUID:
        saga_id = uuid4()
        async with self._database.transaction(independent=True) as tx:
            await runner.start(tx, definition, saga_id, data)
        return saga_id

    async def log(self, saga_id: UUID) -> list[Entry]:
        rows = await self._rows("SELECT * FROM saga_log WHERE saga_id = :saga_id ORDER BY number", saga_id)
        assert [row.number for row in rows] == list(range(1, len(rows) + 1))
        return [Entry(row.step, row.kind, row.attempt, row.reason, row.holder) for row in rows]

    async def steps(self, saga_id: UUID, kind: str) -> list[str]:
        """Return the steps of the log's entries of one kind."""
        return [entry.step for entry in await self.log(saga_id) if entry.kind == kind]

    async def row(self, saga_id: UUID) -> Any:
        (row,) = await self._rows("SELECT * FROM sagas WHERE saga_id = :saga_id", saga_id)
        return row

    async def status(self, saga_id: UUID) -> Status:
        return Status((await self.row(saga_id)).status)

    async def over(self, saga_id: UUID, timeout_s: float = 30.0) -> Status:
        """Wait until nothing more happens by itself."""
        async with asyncio.timeout(timeout_s):
            while not (status := await self.status(saga_id)).is_over:
                await asyncio.sleep(0.005)
        return status

    async def expire_lease(self, saga_id: UUID) -> None:
        """Do what only time does otherwise."""
        async with self._database.transaction(independent=True) as tx:
            await tx.execute(
                sa.text(
                    "UPDATE sagas SET due_time = now() WHERE saga_id = :id AND lease_holder IS NOT NULL"
                ).bindparams(sa.bindparam("id", saga_id, sa.Uuid))
            )

    async def _rows(self, statement: str, saga_id: UUID) -> Sequence[Any]:
        async with self._database.transaction(independent=True) as tx:
            return await tx.all(sa.text(statement).bindparams(sa.bindparam("saga_id", saga_id, sa.Uuid)))


class Killed(BaseException):
    """What happens to a process: nothing in it can do anything about it."""


class Fault(StrEnum):
    """What happens at a transaction."""

    DEATH_BEFORE = "the replica dies before its commit"
    DEATH_AFTER = "the replica dies after its commit"
    LOST_BEFORE = "the connection is lost before its commit"
    LOST_AFTER = "the connection is lost after its commit: nobody knows of it"


class MortalDatabase:
    """A replica's view of the database until the replica is killed.

    Args:
        database: What others go on using.
        faults: Transaction, counted from 1, -> what happens to it.
    """

    def __init__(self, database: Database, faults: Mapping[int, Fault] | None = None) -> None:
        self._database = database
        self._faults = faults or {}
        self.count = 0
        """Transactions so far."""
        self.is_dead = False
        self.died = asyncio.Event()

    def as_database(self) -> Database:
        return cast("Database", self)

    def kill(self) -> None:
        self.is_dead = True
        self.died.set()

    @asynccontextmanager
    async def transaction(self, *, independent: bool = False) -> AsyncIterator[Transaction]:
        assert independent, "of a saga, whatever request is being answered"
        self._live()
        self.count += 1
        fault = self._faults.get(self.count)
        async with self._database.transaction(independent=True) as tx:
            yield tx
            if fault is Fault.DEATH_BEFORE:
                self.kill()
            if fault is Fault.LOST_BEFORE:
                raise Unavailable("the connection was lost", reason="DATABASE_UNAVAILABLE")
            self._live()
        if fault is Fault.DEATH_AFTER:
            self.kill()
        if fault is Fault.LOST_AFTER:
            raise Unavailable("the connection was lost", reason="DATABASE_UNAVAILABLE")
        self._live()

    async def fetch_one(self, *arguments: Any, **parameters: Any) -> Any:
        self._live()
        return await self._database.fetch_one(*arguments, **parameters)

    async def fetch_all(self, *arguments: Any, **parameters: Any) -> Any:
        self._live()
        return await self._database.fetch_all(*arguments, **parameters)

    def _live(self) -> None:
        if self.is_dead:
            raise Killed


class Replicas:
    """Runners of one service, each with its loop."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._loops: dict[Runner, asyncio.Task[None]] = {}

    def idle(self, *definitions: Definition, **options: Any) -> Runner:
        """Return a replica that runs what it is asked to, and looks for nothing."""
        return Runner(
            options.pop("database", self._database), definitions, **{"poll_s": 0.02, "grace_s": 0.5} | options
        )

    def working(self, *definitions: Definition, **options: Any) -> Runner:
        runner = self.idle(*definitions, **options)
        self._loops[runner] = asyncio.create_task(runner.work(), context=Context())
        return runner

    async def stop(self, *runners: Runner) -> None:
        """Stop the loops of some, or of all."""
        loops = [self._loops.pop(runner) for runner in runners or list(self._loops)]
        for loop in loops:
            loop.cancel()
        for loop in loops:
            with suppress(asyncio.CancelledError, Killed):
                await loop
