from __future__ import annotations

import math

import pytest

from scripts.lib.bench.result import BenchFailed, Budget, compared, interleaved, measured, p99


def test_a_comparison_takes_the_median_of_the_rounds_ratios_and_shows_their_spread() -> None:
    slow_minute = (4.0, 2.0)

    result = compared("tax", "public", "ms", [(1.2, 1.0), (1.1, 1.0), slow_minute], baseline="the other")

    assert result.ratio == pytest.approx(1.2)
    assert result.spread == (1.1, 2.0)
    assert (result.ours, result.theirs) == (1.2, 1.0)
    assert result.samples == ((1.2, 1.0), (1.1, 1.0), slow_minute)


def test_a_comparison_with_nothing_on_the_other_side_is_a_failure() -> None:
    with pytest.raises(BenchFailed, match="tax, public"):
        compared("tax", "public", "ms", [(1.0, 0.0)], baseline="the other")


@pytest.mark.parametrize(
    ("bound", "value", "met"),
    [
        ("at most", 1.25, True),
        ("at most", 1.26, False),
        ("at least", 1.25, True),
        ("at least", 1.24, False),
        ("under", 1.24, True),
        ("under", 1.25, False),
    ],
)
def test_a_budget_holds_up_to_its_limit_as_its_bound_says(bound: str, value: float, met: bool) -> None:
    budget = Budget(limit=1.25, bound=bound)  # type: ignore[arg-type]  # the table's column is of strings

    assert budget.holds(value) is met


def test_a_budget_of_a_comparison_is_about_the_ratio() -> None:
    budget = Budget(limit=3.0, bound="at least")

    result = compared("gateway", "reads", "requests/s", [(3100.0, 1000.0)], baseline="the other", budget=budget)

    assert result.met is True


def test_a_budget_of_one_side_is_about_its_value() -> None:
    result = measured("startup", "warm", "s", [7.0, 9.0, 8.5], budget=Budget(limit=8.0, bound="under"))

    assert result.ours == 8.5
    assert result.met is False


def test_a_line_without_a_budget_has_no_verdict() -> None:
    assert measured("startup", "warm", "s", [7.0]).met is None


@pytest.mark.parametrize(
    ("samples", "expected"),
    [([5.0], 5.0), ([float(n) for n in range(1, 100)], 99.0), ([float(n) for n in range(1, 201)], 198.0)],
)
def test_p99_is_a_value_that_was_measured(samples: list[float], expected: float) -> None:
    assert p99(samples[::-1]) == expected


def test_sides_take_turns_and_the_first_round_does_not_count() -> None:
    order = []

    def side(name: str) -> float:
        order.append(name)
        return math.inf if len(order) <= 2 else len(order)

    rounds = interleaved({"ours": lambda: side("ours"), "theirs": lambda: side("theirs")}, 2)

    assert order == ["ours", "theirs", "theirs", "ours", "ours", "theirs"]
    assert rounds == [{"theirs": 3, "ours": 4}, {"ours": 5, "theirs": 6}]
