"""Starts sagas, waits for them, and picks up those that nobody else is running."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Iterable, Mapping
from contextlib import suppress
from contextvars import Context
from random import random, uniform
from secrets import token_hex
from typing import Any, Final
from uuid import UUID

from weft.call import current_call
from weft.data import Database, Transaction
from weft.errors import AlreadyExists, NotFound, ServiceError
from weft.saga import metrics, plan, store
from weft.saga.definition import JSON, Definition, Progress
from weft.saga.execution import Execution, Settings
from weft.saga.plan import Saga
from weft.telemetry import Tracing

__all__ = ["Runner", "SagaExists", "SagaNotFound"]

_log = logging.getLogger(__name__)

_LOOK_S: Final = (0.05, 0.2)
"""Between two looks at a saga that another replica runs: first and longest."""
_SAMPLE_S: Final = 10.0
_SWEEP_S: Final = 600.0
_SWEPT: Final = 1000
"""Sagas that one transaction deletes, at most."""
_BATCH: Final = 32


class SagaExists(AlreadyExists):
    """A saga with this id was started before."""


class SagaNotFound(NotFound):
    """No saga with this id was started, or its transaction is not committed."""


class Runner:
    """The sagas of one service, as this replica runs them.

    Args:
        database: Of the service.
        definitions: Those it knows. Sagas of others, started by another build, are left alone.
        tracing: Of the process.
        holder: What this replica is called in leases and timelines; unique.
        lease_s: How long a lease outlasts the step it is for: time to persist what came of it. A saga whose replica
            dies goes on after that, the rest of the step's timeout, and a moment.
        poll_s: Between two looks at what is due, on average; what this replica has put off itself is not waited for.
        at_most: Sagas to run at the same time. Others wait in the table, for any replica.
        grace_s: How long sagas get to finish their step when the process stops.
        keep_s: How long sagas that are over are kept.
    """

    def __init__(
        self,
        database: Database,
        definitions: Iterable[Definition],
        *,
        tracing: Tracing | None = None,
        holder: str | None = None,
        lease_s: float = 1.5,
        poll_s: float = 1.0,
        at_most: int = 64,
        grace_s: float = 2.0,
        keep_s: float = 30 * 86_400.0,
    ) -> None:
        self.holder = holder or f"{socket.gethostname()}-{os.getpid()}-{token_hex(3)}"
        self._database = database
        self._definitions = {definition.name: definition for definition in definitions}
        self._known = sorted(f"{each.name}/{step}" for each in self._definitions.values() for step in each.names)
        self._settings = Settings(
            database=database, tracing=tracing or Tracing("weft"), holder=self.holder, lease_s=lease_s
        )
        self._claim_s = lease_s + max((each.longest_timeout_s for each in self._definitions.values()), default=0.0)
        self._poll_s, self._at_most, self._grace_s, self._keep_s = poll_s, at_most, grace_s, keep_s
        self._started: dict[UUID, tuple[Saga, float]] = {}
        self._running: dict[UUID, Execution] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self._wake = asyncio.Event()
        self._is_stopping = False
        self._unknown: dict[str, int] = {}
        self._sample_at = self._sweep_at = float("-inf")

    async def start(self, tx: Transaction, definition: str, saga_id: UUID, data: Mapping[str, JSON]) -> None:
        """Add a saga, if and when *tx* commits; `run` then runs it. *data* may be personal: only its steps see it.

        Without a `run`, some replica picks it up when the lease of its first step has run out.

        Raises:
            SagaExists: *saga_id* was started before; *tx* can go on.
            KeyError: there is no such definition.
        """
        known, call = self._definitions[definition], current_call.get()
        timeout_s = known.steps[0].timeout_s
        move = plan.begun(known, saga_id, data, call.trace.traceparent() if call else "")
        lease_s = 0.0 if self._is_stopping else self._settings.lease_s + timeout_s
        lease_ends_s = asyncio.get_running_loop().time() + lease_s
        if not await store.insert(tx, move, holder=self.holder, lease_s=lease_s):
            raise SagaExists(f"saga {saga_id} exists")

        async def remember() -> None:
            loop, latest_s = asyncio.get_running_loop(), lease_ends_s - timeout_s
            if latest_s > loop.time():  # otherwise its first step could outlast the lease
                self._started[saga_id] = move.saga, lease_ends_s
                loop.call_at(latest_s, self._started.pop, saga_id, None)

        tx.after_commit(remember)

    async def run(self, saga_id: UUID, *, until: float | None = None) -> Progress:
        """Run a saga, in a task of its own that goes on when the caller is cancelled.

        Returns when its pivot is done, when it is over, or at *until* (the event loop's clock). What another replica
        runs, or no place is left for, is waited for.

        Raises:
            SagaNotFound: nothing of it is committed.
            Unavailable: DATABASE_UNAVAILABLE.
        """
        loop, (wait_s, longest_s) = asyncio.get_running_loop(), _LOOK_S
        while True:
            execution = self._take_up(saga_id)
            if execution is not None:
                await asyncio.wait(
                    [execution.settled], timeout=None if until is None else max(0.0, until - loop.time())
                )
                if not execution.settled.done():
                    return execution.saga.progress
                if (progress := execution.settled.result()) is not None:
                    return progress
            standing = await store.standing(self._database, saga_id)
            if standing is None:
                raise SagaNotFound(f"no saga {saga_id}")
            remaining_s = float("inf") if until is None else until - loop.time()
            if standing.progress.pivoted or standing.progress.status.is_over or remaining_s <= 0:
                return standing.progress
            if standing.due_s <= 0 and self._room and await self._claim(1, saga_id):
                continue
            due_s = standing.due_s if standing.due_s > 0 else longest_s
            await asyncio.sleep(min(wait_s * uniform(0.75, 1.25), remaining_s, due_s))  # noqa: S311 (jitter)
            wait_s = min(longest_s, wait_s * 1.5)

    async def work(self) -> None:
        """Pick up, for ever, sagas whose retry is due or whose replica has died. Cancelled, it stops as `stop` does."""
        try:
            while True:
                wait_s = self._poll_s * uniform(0.75, 1.25)  # noqa: S311 (jitter)
                try:
                    wait_s = min(wait_s, await self._pick_up())
                    await self._look_around()
                except Exception as error:  # noqa: BLE001 (whatever it is, the next time may do)
                    is_defect = not isinstance(error, ServiceError)
                    _log.warning(
                        "cannot look for sagas", exc_info=is_defect, extra={"error.type": type(error).__name__}
                    )
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._wake.wait(), wait_s)
                self._wake.clear()
        finally:
            await self.stop()

    async def stop(self) -> None:
        """Let running sagas finish their step, within the grace; give back all of them, for others to go on at once."""
        self._is_stopping = True
        for execution in self._running.values():
            execution.is_stopping = True
        for saga_id in list(self._started):
            self._take_up(saga_id)
        loop = asyncio.get_running_loop()
        ends_s = loop.time() + self._grace_s
        while self._tasks and loop.time() < ends_s:  # one that was claiming may launch others
            await asyncio.wait(self._tasks, timeout=ends_s - loop.time())
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    @property
    def _room(self) -> int:
        """Number of sagas that may be taken up."""
        return 0 if self._is_stopping else max(0, self._at_most - len(self._running))

    def _take_up(self, saga_id: UUID) -> Execution | None:
        """Return the execution of a saga that is run here, or that was started here and can be."""
        if saga_id not in self._running and saga_id in self._started and (self._room or self._is_stopping):
            self._launch(*self._started.pop(saga_id))
        return self._running.get(saga_id)

    def _launch(self, saga: Saga, lease_ends_s: float) -> None:
        execution = Execution(self._settings, self._definitions[saga.definition], saga, lease_ends_s)
        execution.is_stopping = self._is_stopping
        self._running[saga.saga_id] = execution
        self._spawn(self._run(execution))

    async def _run(self, execution: Execution) -> None:
        metrics.RUNNING.inc()
        try:
            await execution.run()
        finally:
            metrics.RUNNING.dec()
            if not self._room:
                self._wake.set()  # there is room for one that waits
            if self._running.get(execution.saga.saga_id) is execution:
                del self._running[execution.saga.saga_id]
            if execution.wait_s is not None:
                asyncio.get_running_loop().call_later(execution.wait_s, self._wake.set)

    def _spawn(self, work: Any) -> asyncio.Task[Any]:
        task = asyncio.create_task(work, context=Context())  # not a caller's, whose request will be over
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _claim(self, at_most: int, only: UUID | None = None) -> int:
        """Take and launch up to *at_most* sagas that are due; return how many. Goes on when the caller is cancelled."""
        claiming = self._spawn(self._claim_and_launch(at_most, only))
        try:
            return int(await asyncio.shield(claiming))
        except asyncio.CancelledError:
            if claiming.cancelled():  # by `stop`, which is nothing to the caller
                return 0
            raise

    async def _claim_and_launch(self, at_most: int, only: UUID | None) -> int:
        lease_ends_s = asyncio.get_running_loop().time() + self._claim_s
        async with self._database.transaction(independent=True) as tx:
            sagas = await store.claim(
                tx,
                holder=self.holder,
                lease_s=self._claim_s,
                known=self._known,
                running=self._running,
                at_most=at_most,
                only=only,
            )
        for saga in sagas:
            self._launch(saga, lease_ends_s)
        return len(sagas)

    async def _pick_up(self) -> float:
        """Take up what is due; return the seconds until more may be."""
        if not self._room:
            return self._poll_s
        due_s = await store.due_in_s(self._database, self._known)
        if due_s is None:
            return self._poll_s
        if due_s > 0:
            return due_s + random() * 0.1  # noqa: S311 (whoever put it off comes first)
        return 0.0 if await self._claim(min(self._room, _BATCH)) else self._poll_s

    async def _look_around(self) -> None:
        """Tell how many sagas wait for a person or for another build, and forget those that were over long ago."""
        now = asyncio.get_running_loop().time()
        if now >= self._sample_at:
            self._sample_at = now + _SAMPLE_S
            waiting = await store.count_waiting(self._database, self._known)
            for name in {*self._definitions, *waiting, *self._unknown}:
                stuck, unknown = waiting.get(name, (0, 0))
                metrics.STUCK.labels(name).set(stuck)
                metrics.UNKNOWN.labels(name).set(unknown)
                if unknown and unknown != self._unknown.get(name):
                    _log.warning(
                        "sagas wait for a build that knows them", extra={"saga.definition": name, "count": unknown}
                    )
                self._unknown[name] = unknown
        if now >= self._sweep_at:
            self._sweep_at = now + _SWEEP_S * uniform(0.5, 1.5)  # noqa: S311 (jitter)
            async with self._database.transaction(independent=True) as tx:
                deleted = await store.delete_over(tx, keep_s=self._keep_s, at_most=_SWEPT)
            if deleted == _SWEPT:  # there may be more, for the next look
                self._sweep_at = now
