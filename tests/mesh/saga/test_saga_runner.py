"""Sagas on one and several replicas, step by step."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
import sqlalchemy as sa

from tests.mesh.saga.harness import QUICK, Killed, MortalDatabase, Peer, Replicas, Sagas, local_marks, mark, unmark
from weft.call import Call, current_call
from weft.data import Database, RequestKey
from weft.data.answers import current_answering
from weft.errors import FailedPrecondition, Unavailable
from weft.saga import (
    Definition,
    Failure,
    Retry,
    SagaData,
    SagaExists,
    SagaNotFound,
    Status,
    Step,
    StepCall,
    timeline,
)
from weft.telemetry import RecentSpans, TraceContext, Tracing

SET_STEP = sa.text("UPDATE sagas SET step = 'inspect' WHERE saga_id = :id").bindparams(
    sa.bindparam("id", type_=sa.Uuid)
)


@pytest.fixture(name="order")
def _order(peer: Peer) -> Definition:
    """Five steps: two that can be undone, a local pivot, and two after it."""
    return Definition(
        name="order",
        steps=(
            Step(name="reserve", action=acting(peer, "reserve"), compensation=undoing(peer, "reserve")),
            Step(name="authorize", action=acting(peer, "authorize"), compensation=undoing(peer, "authorize")),
            Step(name="confirm", record=mark("confirm"), pivot=True),
            Step(name="capture", action=acting(peer, "capture")),
            Step(name="send", action=acting(peer, "send"), record=mark("send")),
        ),
    )


def acting(peer: Peer, step: str) -> Callable[[StepCall], Any]:
    async def act(call: StepCall) -> dict[str, str]:
        await peer.act(call, step)
        return {step: "done"}

    return act


def undoing(peer: Peer, step: str) -> Callable[[StepCall], Any]:
    async def undo(call: StepCall) -> None:
        await peer.undo(call, step)

    return undo


async def refuse(_: StepCall) -> None:
    raise FailedPrecondition("the card was declined", reason="DECLINED", card="visa")


class Gate:
    """An action that waits until it is let through."""

    def __init__(self) -> None:
        self.entered = asyncio.Event()
        self.opened = asyncio.Event()
        self.calls: list[StepCall] = []

    async def __call__(self, call: StepCall) -> None:
        self.calls.append(call)
        self.entered.set()
        await self.opened.wait()


async def test_a_saga_runs_to_its_end_and_leaves_a_timeline(
    order: Definition, peer: Peer, sagas: Sagas, replicas: Replicas, database: Database
) -> None:
    runner = replicas.idle(order, holder="replica-1")

    saga_id = await sagas.start(runner, "order", sku="PEN")
    progress = await runner.run(saga_id)
    status = await sagas.over(saga_id)

    assert progress.pivoted
    assert status is Status.DONE
    assert [(entry.step, entry.kind) for entry in await sagas.log(saga_id)] == [
        ("reserve", "started"), ("reserve", "done"), ("authorize", "started"), ("authorize", "done"),
        ("confirm", "started"), ("confirm", "done"), ("capture", "started"), ("capture", "done"), ("send", "started"),
        ("send", "done"),
    ]  # fmt: skip
    assert {entry.holder for entry in await sagas.log(saga_id)} == {"replica-1"}
    assert await peer.present(saga_id) == {"reserve", "authorize", "capture", "send"}
    assert await local_marks(database, saga_id) == {"confirm": [1], "send": [1]}
    assert (await sagas.row(saga_id)).data == {
        "sku": "PEN", "reserve": "done", "authorize": "done", "capture": "done", "send": "done"
    }  # fmt: skip


async def test_a_saga_costs_one_commit_for_each_remote_step_beside_its_callers(
    order: Definition, sagas: Sagas, replicas: Replicas, database: Database
) -> None:
    counting = MortalDatabase(database)
    runner = replicas.idle(order, database=counting.as_database())

    saga_id = await sagas.start(runner, "order")
    await runner.run(saga_id)
    await sagas.over(saga_id)

    assert counting.count == 4


async def test_a_refusal_undoes_what_was_done_latest_first_and_says_why(
    peer: Peer, sagas: Sagas, replicas: Replicas, database: Database
) -> None:
    given: list[SagaData] = []

    async def cancel(tx: Any, data: SagaData) -> None:
        given.append(data)
        await mark("cancel")(tx, data)

    definition = Definition(
        name="declined",
        steps=(
            Step(name="reserve", action=acting(peer, "reserve"), compensation=undoing(peer, "reserve")),
            Step(name="note", record=mark("note"), record_compensation=unmark("note")),
            Step(name="greet", action=acting(peer, "greet"), compensation=undoing(peer, "greet")),
            Step(name="authorize", action=refuse, compensation=undoing(peer, "authorize")),
        ),
        record_compensated=cancel,
    )
    runner = replicas.idle(definition)

    saga_id = await sagas.start(runner, "declined")
    progress = await runner.run(saga_id)

    assert progress.status is Status.COMPENSATED
    assert progress.failure == Failure("authorize", "DECLINED", "the card was declined", {"card": "visa"})
    assert await sagas.steps(saga_id, "compensated") == ["greet", "note", "reserve", "end"]
    assert [step for step, _ in peer.calls] == ["reserve", "greet", "undo greet", "undo reserve"]
    assert await peer.present(saga_id) == set()
    assert await local_marks(database, saga_id) == {"note": [1, -1], "cancel": [1]}
    assert given[0].failure == progress.failure


async def test_an_uncertain_attempt_is_repeated_under_the_same_request_id(
    peer: Peer, sagas: Sagas, replicas: Replicas
) -> None:
    async def flaky(call: StepCall) -> None:
        await peer.act(call, "reserve")
        if len(peer.calls) < 3:
            raise Unavailable("the answer was lost")

    runner = replicas.idle(Definition(name="flaky", steps=(Step(name="reserve", action=flaky, retry=QUICK),)))

    saga_id = await sagas.start(runner, "flaky")
    progress = await runner.run(saga_id)

    assert progress.status is Status.DONE
    assert len({request_id for _, request_id in peer.calls}) == 1
    assert [(e.kind, e.attempt, e.reason) for e in await sagas.log(saga_id)] == [
        ("started", 1, ""), ("retried", 1, "UNAVAILABLE"), ("started", 2, ""), ("retried", 2, "UNAVAILABLE"),
        ("started", 3, ""), ("done", 3, ""),
    ]  # fmt: skip


async def test_an_attempt_that_takes_too_long_is_uncertain_so_its_step_is_undone_too(
    peer: Peer, sagas: Sagas, replicas: Replicas
) -> None:
    async def endless(_: StepCall) -> None:
        await asyncio.Event().wait()

    step = Step(
        name="reserve",
        action=endless,
        compensation=undoing(peer, "reserve"),
        timeout_s=0.02,
        retry=Retry(max_attempts=1),
    )
    runner = replicas.idle(Definition(name="endless", steps=(step,)))

    saga_id = await sagas.start(runner, "endless")
    progress = await runner.run(saga_id)

    assert progress.status is Status.COMPENSATED
    assert progress.failure is not None
    assert progress.failure.reason == "DEADLINE_EXCEEDED"
    assert await peer.effects(saga_id) == {"reserve": (0, True)}  # a tombstone for what may still arrive


async def test_a_caller_that_leaves_does_not_stop_its_saga(sagas: Sagas, replicas: Replicas) -> None:
    gate = Gate()
    runner = replicas.idle(Definition(name="gated", steps=(Step(name="wait", action=gate),)))
    saga_id = await sagas.start(runner, "gated")
    caller = asyncio.create_task(runner.run(saga_id))
    await gate.entered.wait()

    caller.cancel()
    await asyncio.wait([caller])
    gate.opened.set()

    assert caller.cancelled()
    assert await sagas.over(saga_id) is Status.DONE


async def test_a_caller_in_a_hurry_hears_how_far_it_is(sagas: Sagas, replicas: Replicas) -> None:
    gate = Gate()
    runner = replicas.idle(Definition(name="gated", steps=(Step(name="wait", action=gate),)))
    saga_id = await sagas.start(runner, "gated")

    progress = await runner.run(saga_id, until=asyncio.get_running_loop().time() + 0.02)
    again = await replicas.idle().run(saga_id, until=0.0)
    gate.opened.set()

    assert progress.status is again.status is Status.RUNNING
    assert not progress.pivoted
    assert await sagas.over(saga_id) is Status.DONE


async def test_what_another_replica_runs_is_waited_for_and_not_run_twice(sagas: Sagas, replicas: Replicas) -> None:
    gate = Gate()
    definition = Definition(name="gated", steps=(Step(name="wait", action=gate),))
    one, other = replicas.idle(definition), replicas.idle(definition)
    saga_id = await sagas.start(one, "gated")
    waiting = [asyncio.create_task(runner.run(saga_id)) for runner in (one, other, one, other)]
    await gate.entered.wait()

    gate.opened.set()
    progress = await asyncio.gather(*waiting)

    assert [each.status for each in progress] == [Status.DONE] * 4
    assert len(gate.calls) == 1


async def test_a_saga_of_a_transaction_that_is_rolled_back_never_was(
    order: Definition, replicas: Replicas, database: Database
) -> None:
    runner, saga_id = replicas.idle(order), uuid4()

    with pytest.raises(ZeroDivisionError):
        async with database.transaction() as tx:
            await runner.start(tx, "order", saga_id, {})
            _ = 1 / 0

    with pytest.raises(SagaNotFound):
        await runner.run(saga_id)


async def test_a_saga_is_started_once_and_a_repeat_leaves_its_transaction_usable(
    order: Definition, sagas: Sagas, replicas: Replicas, database: Database
) -> None:
    runner = replicas.idle(order)
    saga_id = await sagas.start(runner, "order", sku="PEN")

    async with database.transaction() as tx:
        with pytest.raises(SagaExists):
            await runner.start(tx, "order", saga_id, {"sku": "MUG"})
        await tx.notify("nothing")

    assert (await sagas.row(saga_id)).data == {"sku": "PEN"}


async def test_nothing_of_the_request_that_starts_a_saga_reaches_its_steps_but_the_trace(
    sagas: Sagas, replicas: Replicas, database: Database
) -> None:
    seen: list[Call | None] = []

    async def look(_: StepCall) -> None:
        assert current_answering.get() is None
        seen.append(current_call.get())

    runner = replicas.idle(Definition(name="look", steps=(Step(name="look", action=look, timeout_s=7.0),)))
    trace = TraceContext("1" * 32, "2" * 16, sampled=False)
    loop = asyncio.get_running_loop()
    current_call.set(
        Call(method="/a/B", request_id="edge", trace=trace, deadline=loop.time() + 1, authorization="Bearer of-a-user")
    )

    async with database.answering(
        RequestKey(method="/a/B", caller="", request_id=str(uuid4()), fingerprint=b"")
    ) as key:
        saga_id = await sagas.start(runner, "look")
        await runner.run(saga_id)
        await key.complete(b"answer")

    [call] = seen
    assert call is not None
    assert (call.trace.trace_id, call.request_id, call.authorization) == (trace.trace_id, str(saga_id), None)
    assert call.trace.span_id != trace.span_id
    remaining_s = call.remaining_s()
    assert remaining_s is not None
    assert 1 < remaining_s <= 7


async def test_each_step_of_a_sampled_trace_is_a_span_without_what_the_saga_holds(
    order: Definition, sagas: Sagas, replicas: Replicas
) -> None:
    spans = RecentSpans()
    runner = replicas.idle(order, tracing=Tracing("test", exporters=[spans]))
    trace = TraceContext("3" * 32, "4" * 16, sampled=True)
    current_call.set(Call(method="/a/B", request_id="edge", trace=trace, deadline=None))

    saga_id = await sagas.start(runner, "order", email="ada@example.com")
    await runner.run(saga_id)
    await sagas.over(saga_id)
    found = json.loads(spans.to_json())

    assert {span["name"] for span in found} == {
        "order/reserve", "order/authorize", "order/confirm", "order/capture", "order/send"
    }  # fmt: skip
    assert {span["context"]["trace_id"] for span in found} == {f"0x{trace.trace_id}"}
    assert {span["parent_id"] for span in found} == {f"0x{trace.span_id}"}
    assert "ada@example.com" not in spans.to_json()


async def test_a_defect_is_logged_without_what_the_saga_holds_and_counts_as_uncertain(
    peer: Peer, sagas: Sagas, replicas: Replicas, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(_: StepCall) -> None:
        raise KeyError("quantity")

    step = Step(name="reserve", action=broken, compensation=undoing(peer, "reserve"), retry=QUICK)
    runner = replicas.idle(Definition(name="broken", steps=(step,)))

    saga_id = await sagas.start(runner, "broken", email="ada@example.com")
    progress = await runner.run(saga_id)

    assert progress.failure == Failure("reserve", "INTERNAL", "internal error", {})
    assert await peer.effects(saga_id) == {"reserve": (0, True)}
    defects = [record for record in caplog.records if record.exc_info]
    assert [record.__dict__["saga.step"] for record in defects] == ["reserve"] * 3
    assert "ada@example.com" not in str([record.__dict__ for record in caplog.records])


async def test_a_call_that_is_cancelled_under_a_step_is_uncertain_and_does_not_stop_the_saga(
    sagas: Sagas, replicas: Replicas
) -> None:
    attempts: list[str] = []

    async def cut_off(call: StepCall) -> None:
        attempts.append(call.request_id)
        if len(attempts) == 1:
            raise asyncio.CancelledError  # as of a call whose channel is closed

    runner = replicas.idle(Definition(name="cut", steps=(Step(name="call", action=cut_off, retry=QUICK),)))

    saga_id = await sagas.start(runner, "cut")
    progress = await runner.run(saga_id)

    assert progress.status is Status.DONE
    assert await sagas.steps(saga_id, "retried") == ["call"]
    assert attempts == [attempts[0]] * 2


async def test_a_result_that_json_can_not_say_is_a_defect_of_its_step(
    peer: Peer, sagas: Sagas, replicas: Replicas
) -> None:
    async def odd(_: StepCall) -> dict[str, object]:
        return {"when": object()}

    step = Step(name="reserve", action=odd, compensation=undoing(peer, "reserve"), retry=QUICK)
    runner = replicas.idle(Definition(name="odd", steps=(step,)))

    saga_id = await sagas.start(runner, "odd")
    progress = await runner.run(saga_id)

    assert progress.status is Status.COMPENSATED
    assert progress.failure is not None
    assert progress.failure.reason == "INTERNAL"


async def test_a_local_effect_that_breaks_a_constraint_at_commit_is_a_defect_of_its_step(
    peer: Peer, sagas: Sagas, replicas: Replicas
) -> None:
    async def clash(tx: Any, _: SagaData) -> None:
        for statement in (
            "CREATE TEMPORARY TABLE clash (n integer UNIQUE DEFERRABLE INITIALLY DEFERRED) ON COMMIT DROP",
            "INSERT INTO clash VALUES (1), (1)",
        ):
            await tx.execute(sa.text(statement))

    definition = Definition(
        name="clash",
        steps=(
            Step(name="reserve", action=acting(peer, "reserve"), compensation=undoing(peer, "reserve")),
            Step(name="clash", record=clash, retry=QUICK),
        ),
    )
    runner = replicas.idle(definition)

    saga_id = await sagas.start(runner, "clash")
    progress = await runner.run(saga_id)

    assert progress.status is Status.COMPENSATED
    assert await sagas.steps(saga_id, "done") == ["reserve"]
    assert await peer.present(saga_id) == set()


class TestSeveralReplicas:
    async def test_a_saga_whose_replica_dies_goes_on_elsewhere_with_the_same_request_id(
        self, sagas: Sagas, replicas: Replicas, database: Database
    ) -> None:
        gate, mortal = Gate(), MortalDatabase(database)
        definition = Definition(
            name="gated",
            steps=(Step(name="wait", action=gate, timeout_s=0.1), Step(name="mark", record=mark("mark"))),
        )
        first = replicas.idle(definition, database=mortal.as_database(), lease_s=0.1, holder="first")
        saga_id = await sagas.start(first, "gated")
        running = asyncio.create_task(first.run(saga_id))
        await gate.entered.wait()

        mortal.kill()
        gate.opened.set()
        replicas.working(definition, lease_s=0.1, holder="second")

        assert await sagas.over(saga_id) is Status.DONE
        assert len(gate.calls) == 2
        assert len({call.request_id for call in gate.calls}) == 1
        assert [(e.step, e.kind, e.attempt, e.holder) for e in await sagas.log(saga_id)] == [
            ("wait", "started", 1, "first"), ("wait", "lease_taken", 2, "second"), ("wait", "done", 2, "second"),
            ("mark", "started", 1, "second"), ("mark", "done", 1, "second"),
        ]  # fmt: skip
        with pytest.raises(Killed):
            await running

    async def test_who_lost_the_lease_writes_nothing_more(
        self, peer: Peer, sagas: Sagas, replicas: Replicas, database: Database
    ) -> None:
        gate = Gate()
        definition = Definition(
            name="gated",
            steps=(
                Step(name="wait", action=gate, record=mark("wait"), timeout_s=5),
                Step(name="after", action=acting(peer, "after")),
            ),
        )
        slow, quick = replicas.idle(definition, holder="slow"), replicas.idle(definition, holder="quick")
        saga_id = await sagas.start(slow, "gated")
        slowly = asyncio.create_task(slow.run(saga_id))
        await gate.entered.wait()
        gate.entered.clear()

        await sagas.expire_lease(saga_id)
        quickly = asyncio.create_task(quick.run(saga_id))
        await gate.entered.wait()
        gate.opened.set()  # for both at once

        assert {(await slowly).status, (await quickly).status} == {Status.DONE}
        assert await sagas.steps(saga_id, "done") == ["wait", "after"]
        assert await local_marks(database, saga_id) == {"wait": [1]}
        assert [step for step, _ in peer.calls] == ["after"]

    async def test_a_replica_that_stops_finishes_its_step_and_gives_the_saga_to_another(
        self, peer: Peer, sagas: Sagas, replicas: Replicas
    ) -> None:
        gate = Gate()
        definition = Definition(
            name="gated",
            steps=(Step(name="wait", action=gate), Step(name="after", action=acting(peer, "after"))),
        )
        leaving = replicas.working(definition, holder="leaving", lease_s=60.0, grace_s=5.0)
        saga_id = await sagas.start(leaving, "gated")
        running = asyncio.create_task(leaving.run(saga_id))
        await gate.entered.wait()

        stopping = asyncio.create_task(replicas.stop(leaving))
        await asyncio.sleep(0)
        gate.opened.set()
        await stopping
        left = await sagas.row(saga_id)
        replicas.working(definition, holder="staying")

        assert (left.step, left.lease_holder) == ("after", None)
        assert (await running).status is Status.DONE  # who still waits there hears of it
        assert [(e.step, e.kind, e.attempt, e.holder) for e in await sagas.log(saga_id)][1:] == [
            ("wait", "done", 1, "leaving"), ("after", "started", 1, "leaving"), ("after", "released", 1, "leaving"),
            ("after", "started", 1, "staying"), ("after", "done", 1, "staying"),
        ]  # fmt: skip

    async def test_a_step_that_outlasts_the_grace_is_cut_and_repeated_elsewhere_at_once(
        self, sagas: Sagas, replicas: Replicas
    ) -> None:
        gate = Gate()
        definition = Definition(name="gated", steps=(Step(name="wait", action=gate, timeout_s=60),))
        leaving = replicas.working(definition, lease_s=60.0, grace_s=0.01)
        saga_id = await sagas.start(leaving, "gated")
        running = asyncio.create_task(leaving.run(saga_id))
        await gate.entered.wait()

        await replicas.stop(leaving)
        gate.opened.set()
        replicas.working(definition)

        assert (await running).status is Status.DONE
        assert [call.request_id for call in gate.calls] == [gate.calls[0].request_id] * 2
        assert await sagas.steps(saga_id, "released") == ["wait"]

    async def test_what_there_is_no_place_for_waits_and_is_run_by_whoever_has_one(
        self, sagas: Sagas, replicas: Replicas
    ) -> None:
        running, most, gate = 0, 0, Gate()

        async def count(call: StepCall) -> None:
            nonlocal running, most
            running += 1
            most = max(most, running)
            await gate(call)
            running -= 1

        definition = Definition(name="crowd", steps=(Step(name="count", action=count),))
        runner = replicas.working(definition, at_most=3)
        ids = [await sagas.start(runner, "crowd") for _ in range(12)]
        callers = [asyncio.create_task(runner.run(saga_id)) for saga_id in ids]
        await gate.entered.wait()

        gate.opened.set()
        progress = await asyncio.gather(*callers)

        assert {each.status for each in progress} == {Status.DONE}
        assert most <= 3
        assert len(gate.calls) == 12

    async def test_a_crowd_of_sagas_is_shared_and_each_run_once(
        self, order: Definition, peer: Peer, sagas: Sagas, replicas: Replicas
    ) -> None:
        starter = replicas.idle(order, lease_s=0.0, holder="starter")
        ids = [await sagas.start(starter, "order") for _ in range(30)]
        for saga_id in ids:
            await sagas.expire_lease(saga_id)

        for number in range(3):
            replicas.working(order, at_most=4, holder=f"worker-{number}")

        assert {await sagas.over(saga_id) for saga_id in ids} == {Status.DONE}
        assert sorted(step for step, _ in peer.calls) == sorted(["reserve", "authorize", "capture", "send"] * 30)

    async def test_sagas_of_another_build_are_left_alone_and_loud(
        self, order: Definition, sagas: Sagas, replicas: Replicas, caplog: pytest.LogCaptureFixture
    ) -> None:
        newer = Definition(
            name="order", steps=(*order.steps[:2], Step(name="inspect", record=mark("inspect")), *order.steps[2:])
        )
        foreign = Definition(name=f"foreign-{uuid4().hex}", steps=(Step(name="wait", record=mark("wait")),))
        starter = replicas.idle(newer, foreign)
        unknown = await sagas.start(starter, foreign.name)
        ahead = await sagas.start(starter, "order")
        async with starter._database.transaction() as tx:
            await tx.execute(SET_STEP.bindparams(id=ahead))
        for saga_id in (unknown, ahead):
            await sagas.expire_lease(saga_id)
        caplog.set_level(logging.WARNING)

        known = await sagas.start(starter, "order")
        await sagas.expire_lease(known)
        replicas.working(order)
        assert await sagas.over(known) is Status.DONE
        async with asyncio.timeout(30):
            while not [record for record in caplog.records if record.__dict__.get("saga.definition") == foreign.name]:
                await asyncio.sleep(0.01)

        for saga_id in (unknown, ahead):
            assert len(await sagas.log(saga_id)) == 1
        replicas.working(newer, foreign)
        assert {await sagas.over(saga_id) for saga_id in (unknown, ahead)} == {Status.DONE}


class TestStuck:
    async def test_after_the_pivot_a_refusal_waits_for_a_person_and_goes_on_when_told(
        self, peer: Peer, sagas: Sagas, replicas: Replicas, database: Database, caplog: pytest.LogCaptureFixture
    ) -> None:
        refuses = True

        async def capture(call: StepCall) -> None:
            if refuses:
                raise FailedPrecondition("expired", reason="HOLD_EXPIRED")
            await peer.act(call, "capture")

        definition = Definition(
            name="late",
            steps=(
                Step(name="reserve", action=acting(peer, "reserve"), compensation=undoing(peer, "reserve")),
                Step(name="confirm", record=mark("confirm"), pivot=True),
                Step(name="capture", action=capture),
            ),
        )
        runner = replicas.working(definition)
        saga_id = await sagas.start(runner, "late")
        progress = await runner.run(saga_id)

        assert progress.pivoted
        assert await sagas.over(saga_id) is Status.STUCK
        assert [r.__dict__["reason"] for r in caplog.records if r.message == "a saga is stuck"] == ["HOLD_EXPIRED"]
        assert await peer.present(saga_id) == {"reserve"}

        refuses = False
        assert await timeline.resume(database, saga_id, who="a person")
        assert await sagas.over(saga_id) is Status.DONE
        assert not await timeline.resume(database, saga_id, who="a person")
        assert await peer.present(saga_id) == {"reserve", "capture"}
        assert [e.kind for e in await sagas.log(saga_id)][-4:] == ["stuck", "resumed", "started", "done"]

    async def test_a_replica_that_dies_again_and_again_at_one_step_does_not_try_for_ever(
        self, peer: Peer, sagas: Sagas, replicas: Replicas, database: Database
    ) -> None:
        gate = Gate()
        step = Step(name="wait", action=gate, compensation=undoing(peer, "wait"), retry=Retry(max_attempts=2))
        definition = Definition(name="deadly", steps=(step,))
        runner = replicas.idle(definition)
        saga_id = await sagas.start(runner, "deadly")
        for _ in range(2):
            mortal = MortalDatabase(database)
            runner = replicas.idle(definition, database=mortal.as_database())
            await sagas.expire_lease(saga_id)
            gate.entered.clear()
            running = asyncio.create_task(runner.run(saga_id))
            await asyncio.wait([asyncio.create_task(gate.entered.wait()), running], return_when="FIRST_COMPLETED")
            if not running.done():
                mortal.kill()
                await sagas.expire_lease(saga_id)

        status = await sagas.over(saga_id)

        assert status is Status.COMPENSATED
        assert (await sagas.row(saga_id)).failure["reason"] == "ATTEMPTS_LOST"
        assert await peer.effects(saga_id) == {"wait": (0, True)}
