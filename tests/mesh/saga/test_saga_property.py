"""Whatever the peers answer and whichever replicas die, a saga is done as a whole or undone, or a person is asked."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final, cast
from uuid import UUID

from hypothesis import HealthCheck, event, example, given, note, settings
from hypothesis import strategies as st
from sqlalchemy import text

from tests.mesh.saga.harness import QUICK, Fault, MortalDatabase, Peer, Sagas, local_marks, mark, unmark
from weft.data import Database
from weft.errors import FailedPrecondition, Unavailable
from weft.saga import Definition, Runner, SagaData, Status, Step, StepCall, timeline

EXAMPLES: Final = int(os.environ.get("WEFT_SAGA_EXAMPLES", "120"))
"""Enough to meet most mistakes within days of runs, and few enough to wait for; each is found within 500."""
TIMEOUT_S: Final = 0.15
LEASE_S: Final = 0.15
GRACE_S: Final = 0.04


class Outcome(StrEnum):
    """What becomes of one call to the peer, or of one local effect."""

    OK = "ok"
    REFUSED = "refused"
    LOST_REQUEST = "lost request"
    LOST_ANSWER = "lost answer"
    LATE = "late"
    """The caller hears of a failure, and the request arrives afterwards."""
    SLOW = "slow"
    DEFECT = "defect"
    ROBBED = "robbed"
    """The lease runs out while the call is made, and others may take the saga; the effect comes after that."""
    STOPPED = "stopped"
    """The replica is told to stop while the call is made, which ends in time."""
    CUT = "cut"
    """The replica is told to stop, and the call takes longer than it may."""


LOCAL: Final = (Outcome.OK, Outcome.REFUSED, Outcome.LOST_ANSWER, Outcome.DEFECT)

DEFINITIONS: Final[Mapping[str, Callable[[World], tuple[Step, ...]]]] = {
    "local pivot": lambda world: (
        world.step("first", remote=True, undo=True),
        world.step("second", local=True, undo=True),
        world.step("third", remote=True, local=True, undo=True),
        world.step("fourth", local=True, pivot=True),
        world.step("fifth", remote=True),
        world.step("sixth", remote=True, local=True),
    ),
    "remote pivot": lambda world: (
        world.step("first", local=True, undo=True),
        world.step("second", remote=True, undo=True),
        world.step("third", remote=True, undo=True, pivot=True),
        world.step("fourth", local=True),
        world.step("fifth", remote=True),
    ),
    "pivot that settles": lambda world: (
        world.step("first", remote=True, undo=True),
        world.step("second", remote=True, local=True, undo=True, settles=True),
        world.step("third", remote=True, settles=True, pivot=True),
        world.step("fourth", remote=True),
    ),
    "no pivot": lambda world: (
        world.step("first", remote=True, undo=True),
        world.step("second", remote=True, undo=True),
    ),
}  # fmt: skip


@dataclass
class World:
    """What goes wrong, in which order, until nothing does any more."""

    definition: str
    outcomes: dict[str, list[Outcome]]
    """Action, compensation or local effect -> what becomes of its first calls; the others succeed."""
    faults: list[dict[int, Fault]]
    """For each replica in order of birth: what happens at which of its transactions."""
    database: Database = field(repr=False)
    peer: Peer = field(repr=False)
    sagas: Sagas = field(repr=False)
    late: list[asyncio.Task[None]] = field(default_factory=list, repr=False)
    replicas: dict[Runner, asyncio.Task[None]] = field(default_factory=dict, repr=False)
    turn: asyncio.Lock = field(default_factory=asyncio.Lock, repr=False)

    def step(
        self,
        name: str,
        *,
        remote: bool = False,
        local: bool = False,
        undo: bool = False,
        pivot: bool = False,
        settles: bool = False,
    ) -> Step:
        return Step(
            name=name,
            action=self.remote(name, self.peer.act, settles=settles) if remote else None,
            compensation=self.remote(f"undo {name}", self.peer.undo) if remote and undo else None,
            record=self.local(name, mark(name)) if local else None,
            record_compensation=self.local(f"undo {name}", unmark(name)) if local and undo else None,
            pivot=pivot,
            refusal_settles=settles,
            timeout_s=TIMEOUT_S,
            retry=QUICK,
        )

    def remote(
        self, key: str, do: Callable[[StepCall, str], Any], *, settles: bool = False
    ) -> Callable[[StepCall], Any]:
        step = key.removeprefix("undo ")

        async def call(call: StepCall) -> Any:
            outcome = self.next(key)
            if outcome is Outcome.REFUSED and settles:
                return await self.peer.refuse(call, step)
            if outcome is Outcome.REFUSED:
                raise FailedPrecondition("no", reason="NO")
            if outcome is Outcome.LOST_REQUEST:
                raise Unavailable("lost")
            if outcome is Outcome.DEFECT:
                raise ZeroDivisionError
            if outcome is Outcome.LATE:
                self.late.append(asyncio.create_task(self.arrive_late(do, call, step)))
                raise Unavailable("late")
            if outcome is Outcome.ROBBED:
                await self.rob(call.saga_id)
            if outcome in (Outcome.STOPPED, Outcome.CUT):
                self.late.append(asyncio.create_task(self.replace_all()))
            await do(call, step)
            if outcome is Outcome.CUT:
                await asyncio.sleep(GRACE_S * 2)
            if outcome is Outcome.LOST_ANSWER:
                raise Unavailable("lost")
            if outcome is Outcome.SLOW:
                await asyncio.sleep(TIMEOUT_S * 2)
            return {step: call.request_id} if not key.startswith("undo ") else None

        return call

    def local(self, key: str, do: Callable[[Any, SagaData], Any]) -> Callable[[Any, SagaData], Any]:
        async def record(tx: Any, given: SagaData) -> None:
            outcome = self.next(f"{key} here")
            await do(tx, given)
            if outcome is Outcome.REFUSED:
                raise FailedPrecondition("no", reason="NO")
            if outcome is Outcome.LOST_ANSWER:
                raise Unavailable("lost")
            if outcome is Outcome.DEFECT:
                raise ZeroDivisionError

        return record

    def next(self, key: str) -> Outcome:
        left = self.outcomes.get(key)
        return left.pop(0) if left else Outcome.OK

    async def arrive_late(self, do: Callable[[StepCall, str], Any], call: StepCall, step: str) -> None:
        """Arrive when the saga is over, or as good as."""
        with suppress(TimeoutError):
            await self.sagas.over(call.saga_id, timeout_s=0.1)
        with suppress(FailedPrecondition):
            await do(call, step)

    async def rob(self, saga_id: UUID) -> None:
        """Let the lease run out, and another replica take the saga if there is one that can."""
        holder = (await self.sagas.row(saga_id)).lease_holder
        await self.sagas.expire_lease(saga_id)
        with suppress(TimeoutError):
            async with asyncio.timeout(0.06):
                while (await self.sagas.row(saga_id)).lease_holder == holder:
                    await asyncio.sleep(0.002)

    def be_born(self) -> Runner:
        """Add a replica; when it dies, its lease runs out at once and another takes its place."""
        mortal = MortalDatabase(self.database, self.faults.pop(0) if self.faults else None)
        definition = Definition(
            name=self.definition,
            steps=DEFINITIONS[self.definition](self),
            record_compensated=self.local("undo all", unmark("all")),
        )
        runner = Runner(mortal.as_database(), [definition], lease_s=LEASE_S, poll_s=0.02, grace_s=GRACE_S)
        self.replicas[runner] = asyncio.create_task(self.live(runner, mortal))
        return runner

    async def live(self, runner: Runner, mortal: MortalDatabase) -> None:
        working = asyncio.create_task(runner.work())
        dying = asyncio.create_task(mortal.died.wait())
        try:
            await asyncio.wait([working, dying], return_when=asyncio.FIRST_COMPLETED)
            if mortal.is_dead:
                async with self.database.transaction(independent=True) as tx:
                    await tx.execute(EXPIRE_OF.bindparams(holder=runner.holder))
                self.be_born()
        finally:
            dying.cancel()
            working.cancel()
            await asyncio.wait([working])

    async def replace_all(self) -> None:
        """Do a rolling restart, one at a time."""
        async with self.turn:
            for runner, life in list(self.replicas.items()):
                if not life.done():
                    self.be_born()
                    del self.replicas[runner]
                    life.cancel()
                    await asyncio.wait([life])

    async def end(self) -> None:
        while lives := [life for life in self.replicas.values() if not life.done()]:
            for life in lives:
                life.cancel()
            await asyncio.wait(lives)


EXPIRE_OF: Final = text("UPDATE sagas SET due_time = now() WHERE lease_holder = :holder")


Misfortune = tuple[str, dict[str, list[Outcome]], list[dict[int, Fault]]]


def _keys(name: str) -> list[str]:
    """Return what can go wrong in a saga of that name: `step`, `undo step`, and `step here`, its local effect."""
    steps = DEFINITIONS[name](World(name, {}, [], cast("Any", None), Peer(cast("Any", None)), cast("Any", None)))
    remote = [step.name for step in steps if step.action]
    local = [f"{step.name} here" for step in steps if step.record]
    undo = [f"undo {step.name}" for step in steps if step.compensation]
    undo_local = [f"undo {step.name} here" for step in steps if step.record_compensation]
    return [*remote, *local, *undo, *undo_local, "undo all here"]


@st.composite
def misfortunes(draw: st.DrawFn) -> Misfortune:
    """Draw a definition, what becomes of its calls, and what befalls its replicas."""
    name = draw(st.sampled_from(sorted(DEFINITIONS)))
    outcomes: dict[str, list[Outcome]] = {}
    for key in draw(st.lists(st.sampled_from(_keys(name)), min_size=1, max_size=4, unique=True)):
        kinds = LOCAL if key.endswith(" here") else (*Outcome, Outcome.REFUSED, Outcome.REFUSED)  # many ways to begin
        outcomes[key] = draw(st.lists(st.sampled_from(kinds), min_size=1, max_size=4))
    fault = st.dictionaries(st.integers(1, 8), st.sampled_from(Fault), max_size=2)
    return name, outcomes, draw(st.lists(fault, max_size=5))


@settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(misfortune=misfortunes())
@example(("pivot that settles", {"third": [Outcome.LOST_REQUEST, Outcome.REFUSED]}, []))
@example(("pivot that settles", {"third": [Outcome.LATE, Outcome.REFUSED]}, []))
@example(("pivot that settles", {"third": [Outcome.LOST_ANSWER] * 3}, []))
async def test_a_saga_is_done_as_a_whole_or_undone_or_a_person_is_asked(
    database: Database, peer: Peer, sagas: Sagas, misfortune: Misfortune
) -> None:
    name, outcomes, faults = misfortune
    world = World(name, {key: list(each) for key, each in outcomes.items()}, list(faults), database, peer, sagas)
    asyncio.get_running_loop().set_exception_handler(lambda *_: None)  # tasks of those killed are not heard of again
    first, *_ = [world.be_born() for _ in range(3)]

    saga_id = await sagas.start(first, name, who="Ada")
    running = asyncio.create_task(first.run(saga_id))
    try:
        status = await sagas.over(saga_id)
        event(f"{name}: {status}")
        await judge(world, saga_id, status)
        while status is Status.STUCK:
            world.outcomes.clear()
            assert await timeline.resume(database, saga_id, who="a person")
            status = await sagas.over(saga_id)
            await judge(world, saga_id, status)
        await asyncio.gather(*world.late)
        await judge(world, saga_id, status)
    finally:
        for entry in await sagas.log(saga_id):
            note(f"{entry.step:8} {entry.kind:14} {entry.attempt} {entry.reason:18} {entry.holder[-6:]}")
        running.cancel()
        await asyncio.wait([running])
        await world.end()
        await asyncio.gather(*world.late, return_exceptions=True)


async def judge(world: World, saga_id: UUID, status: Status) -> None:
    """Check what must be true of a saga that is over."""
    row, log, marks = (
        await world.sagas.row(saga_id),
        await world.sagas.log(saga_id),
        await local_marks(world.database, saga_id),
    )
    steps = DEFINITIONS[world.definition](world)
    effects, present = await world.peer.effects(saga_id), await world.peer.present(saga_id)
    times = Counter((entry.step, entry.kind) for entry in log)
    kinds = {entry.kind for entry in log}

    assert all(done <= 1 for done, _ in effects.values()), "an effect more than once"
    assert all(count == 1 for (_, kind), count in times.items() if kind in ("done", "compensated"))
    assert all(sum(changes) in (0, 1) or step == "all" for step, changes in marks.items())
    if row.is_pivoted:
        assert "compensating" not in kinds
    if status is Status.DONE:
        assert present == {step.name for step in steps if step.action}
        assert marks == {step.name: [1] for step in steps if step.record}
    if status is Status.COMPENSATED:
        assert present == set()
        assert all(sum(changes) == 0 for step, changes in marks.items() if step != "all")
        assert marks["all"] == [-1]
    if status is Status.STUCK:
        assert log[-1].kind == "stuck"
        assert log[-1].reason
        final = [step.name for step in steps if step.pivot and step.compensation is None]
        may_be_pivoted = row.step in final and log[-2].kind == "gave_up"
        assert row.is_pivoted or not row.is_forward or may_be_pivoted
    if status is not Status.STUCK:
        assert row.lease_holder is None
        assert row.log_number == len(log)
