"""What follows an attempt, as a table of cases."""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID

import pytest

from weft import errors
from weft.client import PeerError
from weft.data import Transaction
from weft.saga import PATIENT, Definition, Retry, SagaData, Status, Step, StepCall
from weft.saga.plan import Kind, Move, Saga, Trouble, begun, failed, retry_of, succeeded, with_local

NO = Trouble("SOLD_OUT", "none left", {"sku": "PEN"}, is_definite=True)
PERHAPS = Trouble("UNAVAILABLE", "lost")


async def act(call: StepCall) -> None: ...


async def record(tx: Transaction, given: SagaData) -> None: ...


ORDER = Definition(
    name="order",
    steps=(
        Step(name="check", action=act),
        Step(name="reserve", action=act, compensation=act),
        Step(name="pay", action=act, record=record, compensation=act, record_compensation=record),
        Step(name="confirm", record=record, pivot=True),
        Step(name="capture", action=act),
        Step(name="send", action=act, record=record),
    ),
    record_compensated=record,
)


def at(step: str, definition: Definition = ORDER) -> Saga:
    """Return a saga that has come to *step* without trouble."""
    saga = begun(definition, UUID(int=1), {"sku": "PEN"}, "").saga
    while saga.step != step:
        saga = succeeded(definition, saga).saga
    return saga


def said(move: Move) -> list[tuple[str, str]]:
    return [(entry.step, entry.kind.value) for entry in move.entries]


def effects(move: Move) -> list[str]:
    return [local.step for local in move.local]


def undo_all(move: Move, definition: Definition = ORDER) -> list[str]:
    """Return the steps that are compensated from *move* on, by peers or here, in order."""
    undone = []
    while move.saga.status is Status.COMPENSATING:
        undone.append(move.saga.step)
        move = succeeded(definition, move.saga)
    assert move.saga.status is Status.COMPENSATED
    return undone


def test_a_saga_begins_at_its_first_step_which_may_have_its_effect_from_then_on() -> None:
    move = begun(ORDER, UUID(int=1), {"sku": "PEN"}, "")

    assert (move.saga.step, move.saga.effects, move.saga.attempt) == ("check", ("end", "check"), 1)
    assert said(move) == [("check", "started")]


def test_what_an_action_returns_is_merged_into_the_data_its_record_is_given() -> None:
    move = succeeded(ORDER, at("pay"), {"payment": "p1"})

    assert move.saga.data == {"sku": "PEN", "payment": "p1"}
    assert move.has_new_data
    assert move.local[0].given.data == move.saga.data


def test_the_end_of_a_step_and_the_beginning_of_the_next_are_one_move() -> None:
    move = succeeded(ORDER, at("reserve"))

    assert said(move) == [("reserve", "done"), ("pay", "started")]
    assert move.saga.effects == ("end", "check", "reserve", "pay")


def test_local_steps_that_follow_are_part_of_the_same_move() -> None:
    move = with_local(ORDER, succeeded(ORDER, at("pay")))

    assert said(move) == [
        ("pay", "done"), ("confirm", "started"), ("confirm", "done"), ("capture", "started"),
    ]  # fmt: skip
    assert effects(move) == ["pay", "confirm"]
    assert move.saga.is_pivoted


def test_the_last_step_ends_the_saga() -> None:
    move = succeeded(ORDER, at("send"))

    assert move.saga.status is Status.DONE
    assert effects(move) == ["send"]


def test_a_first_clear_no_undoes_the_steps_before_and_not_the_one_that_did_nothing() -> None:
    move = failed(ORDER, at("pay"), NO)

    assert said(move) == [("pay", "refused"), ("reserve", "compensating")]
    assert undo_all(move) == ["reserve", "end"]
    assert move.saga.failure is not None
    assert (move.saga.failure.step, move.saga.failure.reason) == ("pay", "SOLD_OUT")


def test_an_uncertain_attempt_is_repeated_with_growing_waits() -> None:
    first = failed(ORDER, at("reserve"), PERHAPS, chance=1.0)
    second = failed(ORDER, first.saga, PERHAPS, chance=1.0)

    assert said(first) == [("reserve", "retried")]
    assert (first.saga.attempt, second.saga.attempt) == (2, 3)
    assert (first.wait_s, second.wait_s) == (0.1, 0.2)


def test_a_peer_that_says_when_to_come_back_is_heeded() -> None:
    move = failed(ORDER, at("reserve"), replace(PERHAPS, retry_after_s=7.0))

    assert move.wait_s == 7.0


def test_a_clear_no_after_an_uncertain_attempt_does_not_tell_what_became_of_that() -> None:
    uncertain = failed(ORDER, at("pay"), PERHAPS)

    move = failed(ORDER, uncertain.saga, NO)

    assert undo_all(move) == ["pay", "reserve", "end"]


def test_a_clear_no_that_settles_earlier_attempts_leaves_nothing_to_undo() -> None:
    ask = Definition(name="ask", steps=(Step(name="ask", action=act, pivot=True, refusal_settles=True),))
    uncertain = failed(ask, at("ask", ask), PERHAPS)

    move = failed(ask, uncertain.saga, NO)

    assert uncertain.saga.is_in_doubt
    assert move.saga.status is Status.COMPENSATED


def test_when_no_attempt_is_left_the_uncertain_step_is_undone_too() -> None:
    move = failed(ORDER, replace(at("pay"), attempt=5), PERHAPS)

    assert said(move)[0] == ("pay", "gave_up")
    assert undo_all(move) == ["pay", "reserve", "end"]


def test_what_was_never_recorded_here_is_not_undone_here() -> None:
    of_pay = failed(ORDER, replace(at("pay"), attempt=5), PERHAPS)
    of_confirm = failed(ORDER, at("confirm"), NO)

    assert effects(succeeded(ORDER, of_pay.saga)) == []
    assert effects(succeeded(ORDER, of_confirm.saga)) == ["pay"]


def test_a_step_whose_record_refuses_after_its_action_succeeded_is_undone() -> None:
    move = failed(ORDER, at("pay"), NO, result={"payment": "p1"}, has_acted=True)

    assert undo_all(move) == ["pay", "reserve", "end"]
    assert move.saga.data["payment"] == "p1"


def test_a_local_step_leaves_nothing_behind_when_it_fails() -> None:
    move = failed(ORDER, replace(at("confirm"), attempt=5), PERHAPS)

    assert undo_all(move) == ["pay", "reserve", "end"]
    assert not failed(ORDER, at("confirm"), PERHAPS).saga.is_in_doubt


def test_a_saga_without_anything_to_undo_is_compensated_at_once() -> None:
    bare = Definition(name="bare", steps=(Step(name="check", action=act), Step(name="look", action=act)))

    move = failed(bare, at("look", bare), NO)

    assert move.saga.status is Status.COMPENSATED
    assert said(move) == [("look", "refused")]


@pytest.mark.parametrize("trouble", [NO, PERHAPS])
def test_after_the_pivot_there_is_no_way_but_to_ask(trouble: Trouble) -> None:
    move = failed(ORDER, replace(at("capture"), attempt=PATIENT.max_attempts), trouble)

    assert move.saga.status is Status.STUCK
    assert said(move)[-1] == ("capture", "stuck")
    assert move.saga.failure is not None


@pytest.mark.parametrize("trouble", [NO, PERHAPS])
def test_a_compensation_that_fails_is_asked_about_and_keeps_why_it_was_begun(trouble: Trouble) -> None:
    back = failed(ORDER, at("pay"), NO).saga

    move = failed(ORDER, replace(back, attempt=PATIENT.max_attempts), trouble)

    assert move.saga.status is Status.STUCK
    assert not move.saga.is_forward
    assert move.saga.failure == back.failure


def test_a_pivot_that_can_not_be_undone_is_asked_about_while_it_is_uncertain() -> None:
    charge = Definition(
        name="charge",
        steps=(Step(name="reserve", action=act, compensation=act), Step(name="charge", action=act, pivot=True)),
    )
    uncertain = failed(charge, replace(at("charge", charge), attempt=5), PERHAPS)
    refused = failed(charge, at("charge", charge), NO)

    assert uncertain.saga.status is Status.STUCK
    assert undo_all(refused, charge) == ["reserve"]


def test_only_what_somebody_waits_for_gives_up_soon() -> None:
    assert retry_of(ORDER, at("pay")) == Retry()
    assert retry_of(ORDER, at("confirm")) == Retry()
    assert retry_of(ORDER, at("capture")) == PATIENT
    assert retry_of(ORDER, failed(ORDER, at("pay"), NO).saga) == PATIENT


def test_a_step_of_another_build_is_where_the_way_back_stops() -> None:
    saga = replace(at("pay"), effects=("end", "check", "reserve", "greet", "pay"))

    move = with_local(ORDER, failed(ORDER, saga, NO))

    assert (move.saga.step, move.saga.status) == ("greet", Status.COMPENSATING)


@pytest.mark.parametrize(
    ("error", "reason", "is_definite"),
    [
        (errors.FailedPrecondition("none left", reason="SOLD_OUT"), "SOLD_OUT", True),
        (errors.NotFound("no"), "NOT_FOUND", True),
        (errors.PermissionDenied("no"), "PERMISSION_DENIED", True),
        (errors.Unimplemented("no"), "UNIMPLEMENTED", True),
        (PeerError("payments", "FAILED_PRECONDITION", "declined", reason="DECLINED"), "DECLINED", True),
        (PeerError("payments", "UNAVAILABLE", "gone", reason="UNAVAILABLE"), "UNAVAILABLE", False),
        (PeerError("payments", "UNKNOWN", "?", reason="UNKNOWN"), "UNKNOWN", False),
        (PeerError("payments", "CANCELLED", "?", reason="CANCELLED"), "CANCELLED", False),
        (errors.DeadlineExceeded("late"), "DEADLINE_EXCEEDED", False),
        (errors.Aborted("again", reason="CONFLICT"), "CONFLICT", False),
        (errors.ResourceExhausted("busy"), "RESOURCE_EXHAUSTED", False),
        (errors.Internal("bug"), "INTERNAL", False),
        (TimeoutError(), "DEADLINE_EXCEEDED", False),
        (ZeroDivisionError("4711-secret"), "INTERNAL", False),
    ],
)
def test_only_an_answer_that_nothing_was_done_is_definite(error: Exception, reason: str, is_definite: bool) -> None:
    trouble = Trouble.of(error)

    assert (trouble.reason, trouble.is_definite) == (reason, is_definite)
    assert "secret" not in trouble.message


def test_the_kinds_of_entries_are_stable_words() -> None:
    assert [kind.value for kind in Kind] == [
        "started", "retried", "done", "refused", "gave_up", "compensating", "compensated", "stuck", "resumed",
        "closed", "lease_taken", "released",
    ]  # fmt: skip
