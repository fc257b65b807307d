"""Runs one saga that this replica holds: attempt, decide, persist, and on to the next step.

State is persisted before and after each step, and what follows one step is what precedes the next: one transaction
says that a step is done and the next begun, runs the local effects of both, and extends the lease. A step without a
peer needs none of its own, so a saga costs one commit for each step with an action, beside its caller's.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from random import random
from types import MappingProxyType
from typing import Final

from opentelemetry.trace import Span, SpanKind, Status, StatusCode

from weft.call import Call, current_call
from weft.data import Database, Transaction
from weft.errors import ServiceError
from weft.saga import metrics, plan, store
from weft.saga.definition import JSON, Definition, Progress, Step, StepCall, request_id
from weft.saga.plan import Entry, Kind, Local, Move, Saga, Trouble
from weft.telemetry import Tracing, parse_traceparent

__all__ = ["Execution", "Settings"]

_log = logging.getLogger(__name__)

_FIRST_WAIT_S: Final = 0.05
_LONGEST_WAIT_S: Final = 0.5
_GIVE_BACK_S: Final = 2.0
_OUTCOMES: Final = {
    Kind.DONE: "done",
    Kind.COMPENSATED: "compensated",
    Kind.REFUSED: "refused",
    Kind.RETRIED: "uncertain",
    Kind.GAVE_UP: "uncertain",
}


class _LeaseLost(Exception):
    """Another replica has the saga, or nobody can tell: this one leaves it."""


class _LocalFailed(Exception):
    """A local effect, number *position* of its transaction, raised *cause*."""

    def __init__(self, position: int, cause: Exception) -> None:
        super().__init__(position)
        self.position, self.cause = position, cause


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What all sagas of a runner share."""

    database: Database
    tracing: Tracing
    holder: str
    """Of leases: this replica."""
    lease_s: float
    """How long a lease outlasts the step that is run under it."""


class Execution:
    """One saga in the hands of this replica.

    Args:
        settings: Of the runner.
        definition: Of the saga.
        saga: As it was persisted.
        lease_ends_s: By the event loop's clock.
    """

    def __init__(self, settings: Settings, definition: Definition, saga: Saga, lease_ends_s: float) -> None:
        self.saga = saga
        self.is_stopping = False
        """Set from outside to give the saga back after the step being run."""
        self.wait_s: float | None = None
        """Set when the saga was given back to wait for its next attempt: for how long."""
        self.settled: asyncio.Future[Progress | None] = asyncio.get_running_loop().create_future()
        """What callers wait for: the pivot, or the end; None when the saga left this replica before that."""
        self._settings, self._definition = settings, definition
        self._lease_ends_s = lease_ends_s
        self._holds = True

    async def run(self) -> None:
        """Run the saga until it is over, has to wait, or is lost. Cancelled, it gives the saga back."""
        try:
            self._settle()
            while self._holds and not self.is_stopping and self.saga.step in self._definition.names:
                await self._step()
            if self._holds:
                await self._give_back(is_in_doubt=False)
        except asyncio.CancelledError:
            await self._give_back(is_in_doubt=True)
            raise
        except _LeaseLost:
            _log.info("a saga is left to another replica", extra=self._facts())
        except Exception:  # noqa: BLE001 (a defect of this runner; another build may fare better with the saga)
            _log.exception("a saga was left", extra=self._facts())
        finally:
            if not self.settled.done():
                self.settled.set_result(None)

    async def _step(self) -> None:
        saga, started_s = self.saga, time.perf_counter()
        step = self._definition.step(saga.step)
        trace, span = self._settings.tracing.begin(
            f"{saga.definition}/{step.name}", SpanKind.INTERNAL, parse_traceparent(saga.traceparent)
        )
        deadline = asyncio.get_running_loop().time() + step.timeout_s
        call = Call(
            method=f"saga/{saga.definition}/{step.name}", request_id=str(saga.saga_id), trace=trace, deadline=deadline
        )
        current_call.set(call)
        outcome = "lost"
        try:
            outcome = _OUTCOMES[await self._attempt(step)]
        finally:
            metrics.STEP_SECONDS.labels(saga.definition, step.name, outcome).observe(time.perf_counter() - started_s)
            _end(span, saga, outcome)

    async def _attempt(self, step: Step) -> Kind:
        """Make one attempt of *step* and persist what came of it; return what that was."""
        saga, definition = self.saga, self._definition
        result: Mapping[str, JSON] | None = None
        has_acted = False
        try:
            result = await self._act(step)
            has_acted = True
            return await self._persist(plan.succeeded(definition, saga, result), step)
        except _LeaseLost:
            raise
        except _LocalFailed as failed:
            trouble = self._trouble(failed.cause)
        except Exception as error:  # noqa: BLE001 (an action may raise anything, and return what no column can hold)
            trouble, result = self._trouble(error), None
        chance = random()  # noqa: S311 (jitter is no secret)
        return await self._persist(
            plan.failed(definition, saga, trouble, result=result, has_acted=has_acted, chance=chance),
            step,
        )

    async def _act(self, step: Step) -> Mapping[str, JSON] | None:
        saga = self.saga
        if saga.attempt > plan.retry_of(self._definition, saga).max_attempts:
            raise _AttemptsLost
        part, function = ("action", step.action) if saga.is_forward else ("compensation", step.compensation)
        if function is None:
            return None
        call = StepCall(saga.saga_id, MappingProxyType(dict(saga.data)), request_id(saga.saga_id, step.name, part))
        try:
            async with asyncio.timeout(step.timeout_s):
                return await function(call)
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            # Not we were cancelled, but something the step waited for: a call whose channel was closed, say.
            raise _Cancelled from error

    def _trouble(self, error: Exception) -> Trouble:
        if not isinstance(error, ServiceError | TimeoutError):
            _log.error("a step of a saga has a defect", exc_info=error, extra=self._facts())
        return Trouble.of(error)

    async def _persist(self, move: Move, step: Step) -> Kind:
        """Persist *move*, and with it the local steps that follow if they succeed; return what became of its attempt.

        Raises:
            _LeaseLost: the saga is no longer ours.
            _LocalFailed: a local effect of *move* itself raised.
        """
        if self.is_stopping and move.wait_s is None and not move.saga.status.is_over:
            released = Entry(move.saga.step, Kind.RELEASED, move.saga.attempt)
            await self._write(replace(move, entries=(*move.entries, released)), step, keeps=False)
            return move.entries[0].kind
        whole = plan.with_local(self._definition, move)
        try:
            await self._write(whole, step)
        except _LocalFailed as failed:
            if failed.position < len(move.local) or whole is move:
                raise
            await self._write(move, step)
        return move.entries[0].kind

    async def _write(self, move: Move, step: Step, *, keeps: bool = True) -> None:
        """Write *move*, however often the database has to be asked until the lease is over. Raises as `_persist`."""
        loop, wait_s = asyncio.get_running_loop(), _FIRST_WAIT_S
        may_be_written = False
        while True:
            try:
                return await self._write_once(move, step, keeps=keeps, may_be_written=may_be_written)
            except ServiceError as error:
                _log.warning("cannot persist a saga", extra=self._facts() | {"reason": error.reason})
                may_be_written = True
                if loop.time() + wait_s > self._lease_ends_s:
                    raise _LeaseLost from error
            await asyncio.sleep(wait_s)
            wait_s = min(_LONGEST_WAIT_S, wait_s * 2)

    async def _write_once(self, move: Move, step: Step, *, keeps: bool, may_be_written: bool) -> None:
        settings, names = self._settings, self._definition.names
        keeps = keeps and move.saga.step in names and move.wait_s is None and not move.saga.status.is_over
        lease_s = self._definition.step(move.saga.step).timeout_s + settings.lease_s if keeps else 0.0
        lease_ends_s = asyncio.get_running_loop().time() + lease_s
        position = 0
        try:
            async with settings.database.transaction(independent=True) as tx:
                # First, so that nobody can take the saga before the local effects are committed with it.
                after = await store.persist(tx, self.saga, move, holder=settings.holder, lease_s=lease_s)
                if after is not None:
                    for position, local in enumerate(move.local):
                        await self._do(tx, position, local, step)
        except (ServiceError, _LocalFailed):
            raise
        except Exception as error:
            if not move.local:
                raise
            raise _LocalFailed(position, error) from error  # what it wrote broke a constraint at COMMIT
        if after is None:
            if not may_be_written:
                raise _LeaseLost
            after, lease_ends_s, keeps = await self._find_written(), self._lease_ends_s, True
        else:
            self.wait_s = move.wait_s
        self.saga, self._lease_ends_s, self._holds = after, lease_ends_s, keeps
        self._settle()
        self._tell(move)

    async def _do(self, tx: Transaction, position: int, local: Local, step: Step) -> None:
        """Do a local effect, with a span and a time of its own where it is another step than the one being run."""
        saga, call, started_s = self.saga, current_call.get(), time.perf_counter()
        is_other = local.step != step.name
        span: Span | None = None
        if is_other and call:
            name = f"{saga.definition}/{local.step}"
            call.trace, span = self._settings.tracing.begin(
                name, SpanKind.INTERNAL, parse_traceparent(saga.traceparent)
            )
        outcome = "refused"
        try:
            async with asyncio.timeout(step.timeout_s):
                await local.record(tx, local.given)
            outcome = "compensated" if local.given.failure else "done"
        except Exception as error:
            raise _LocalFailed(position, error) from error
        finally:
            if is_other:
                seconds = time.perf_counter() - started_s
                metrics.STEP_SECONDS.labels(saga.definition, local.step, outcome).observe(seconds)
            _end(span, saga, outcome)

    async def _find_written(self) -> Saga:
        """Return what an earlier COMMIT wrote, whose outcome was not known. Raises _LeaseLost where it wasn't ours."""
        settings = self._settings
        async with settings.database.transaction(independent=True) as tx:
            found = await store.find_held(tx, self.saga.saga_id, holder=settings.holder)
        if found is None or found.version != self.saga.version + 1:
            raise _LeaseLost
        return found

    async def _give_back(self, *, is_in_doubt: bool) -> None:
        """Let another replica take the saga at once; if that fails, when the lease has run out."""
        settings = self._settings
        try:
            async with asyncio.timeout(_GIVE_BACK_S), settings.database.transaction(independent=True) as tx:
                await store.release(tx, self.saga.saga_id, holder=settings.holder, is_in_doubt=is_in_doubt)
        except (ServiceError, TimeoutError) as error:
            _log.warning("cannot give a saga back", extra=self._facts() | {"error.type": type(error).__name__})

    def _settle(self) -> None:
        if (self.saga.is_pivoted or self.saga.status.is_over) and not self.settled.done():
            self.settled.set_result(self.saga.progress)

    def _tell(self, move: Move) -> None:
        if self.saga.status.is_over:
            metrics.ENDED.labels(self.saga.definition, self.saga.status.value).inc()
            if move.entries[-1].kind is Kind.STUCK:
                _log.error("a saga is stuck", extra=self._facts() | {"reason": move.entries[-1].reason})

    def _facts(self) -> dict[str, object]:
        saga = self.saga
        return {
            "saga.definition": saga.definition, "saga.id": str(saga.saga_id), "saga.step": saga.step,
            "saga.attempt": saga.attempt,
        }  # fmt: skip


class _Cancelled(ServiceError):
    """What the step waited for was cancelled."""

    code = "CANCELLED"

    def __init__(self) -> None:
        super().__init__("what the step waited for was cancelled", reason="CANCELLED")


class _AttemptsLost(ServiceError):
    """Replicas ended while they made the last attempts."""

    code = "UNKNOWN"

    def __init__(self) -> None:
        super().__init__("replicas ended while they made the last attempts", reason="ATTEMPTS_LOST")


def _end(span: Span | None, saga: Saga, outcome: str) -> None:
    if span is None:
        return
    span.set_attribute("saga.id", str(saga.saga_id))
    span.set_attribute("saga.attempt", saga.attempt)
    span.set_attribute("saga.outcome", outcome)
    if outcome not in ("done", "compensated"):
        span.set_status(Status(StatusCode.ERROR))
    span.end()
