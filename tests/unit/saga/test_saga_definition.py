from __future__ import annotations

from uuid import UUID

import pytest

from weft.data import Transaction
from weft.saga import Definition, Retry, SagaData, Step, StepCall
from weft.saga.definition import request_id


async def act(call: StepCall) -> None: ...


async def record(tx: Transaction, given: SagaData) -> None: ...


@pytest.mark.parametrize(
    ("steps", "problem"),
    [
        ((), "no steps"),
        ((Step(name="reserve", action=act), Step(name="reserve", action=act)), "reserve more than once"),
        (
            (Step(name="reserve", action=act, pivot=True), Step(name="pay", action=act, pivot=True)),
            "more than one pivot",
        ),
        (
            (Step(name="pay", action=act, pivot=True), Step(name="send", action=act, compensation=act)),
            "send after the pivot with a compensation",
        ),
        (
            (Step(name="pay", action=act, pivot=True), Step(name="send", action=act, record_compensation=record)),
            "send after the pivot with a compensation",
        ),
        ((Step(name="reserve", compensation=act),), "reserve without action and record"),
        ((Step(name="note", record=record, compensation=act),), "note with a compensation of no action"),
        ((Step(name="reserve", action=act, timeout_s=0),), "reserve without time"),
        ((Step(name="", action=act),), "a name is empty"),
        ((Step(name="end", action=act),), "or 'end'"),
    ],
)
def test_a_definition_that_can_not_be_kept_is_refused_with_the_reason(steps: tuple[Step, ...], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        Definition(name="order", steps=steps)


def test_the_pivot_itself_may_be_compensated_while_it_is_uncertain() -> None:
    Definition(name="order", steps=(Step(name="pay", action=act, compensation=act, pivot=True),))


@pytest.mark.parametrize(
    "values", [{"max_attempts": 0}, {"initial_backoff_s": 0}, {"initial_backoff_s": 2, "max_backoff_s": 1}]
)
def test_a_retry_makes_at_least_one_attempt_and_waits_in_between(values: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="at least one attempt"):
        Retry(**values)  # type: ignore[arg-type]


def test_waits_double_up_to_the_longest_and_are_spread_over_their_upper_half() -> None:
    retry = Retry(initial_backoff_s=0.1, max_backoff_s=1.0)

    assert [retry.backoff_s(attempt, 1.0) for attempt in (1, 2, 3, 4, 5, 1000)] == [0.1, 0.2, 0.4, 0.8, 1.0, 1.0]
    assert retry.backoff_s(1, 0.0) == 0.05


def test_a_request_id_differs_by_saga_step_and_direction_and_by_nothing_else() -> None:
    one, other = UUID(int=1), UUID(int=2)

    assert request_id(one, "pay", "action") == request_id(one, "pay", "action")
    ids = {
        request_id(saga, step, part)
        for saga in (one, other)
        for step in ("pay", "reserve")
        for part in ("action", "compensation")
    }
    assert len(ids) == 8
