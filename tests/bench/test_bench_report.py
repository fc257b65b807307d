from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from scripts.lib.bench import __main__ as command
from scripts.lib.bench.report import document, table
from scripts.lib.bench.result import BenchFailed, Budget, Effort, Result, compared, measured

MET = compared(
    "tax",
    "public method",
    "CPU ms/call",
    [(0.3, 0.25), (0.31, 0.25)],
    baseline="a bare handler",
    budget=Budget(limit=1.25, bound="at most"),
    notes=["a word on how"],
)
NOT_MET = measured(
    "memory", "3 services", "MB", [1234.5], budget=Budget(limit=900, bound="under"), notes=["a word on how"]
)


def test_the_table_shows_both_sides_the_ratio_the_budget_and_the_verdict() -> None:
    header, tax, memory, *notes = table([MET, NOT_MET]).splitlines()

    assert header.split() == ["what", "unit", "ours", "theirs", "ratio", "rounds", "budget"]
    assert " ".join(tax.split()) == "tax: public method CPU ms/call 0.305 0.250 1.22 1.20 to 1.24 at most 1.25 met"
    assert " ".join(memory.split()) == "memory: 3 services MB 1,234 under 900 NOT MET"
    assert notes == ["  - theirs is a bare handler", "  - a word on how"]


def test_where_the_other_side_differs_the_table_says_which_is_which() -> None:
    other = compared("tax", "with token", "ms", [(1.0, 1.0)], baseline="another handler")

    lines = table([MET, other]).splitlines()

    assert "  - public method: theirs is a bare handler" in lines
    assert "  - with token: theirs is another handler" in lines


def test_the_document_is_json_with_every_round_and_the_verdict() -> None:
    started = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)

    written = json.loads(json.dumps(document([MET], left_out={"gateway": "no node"}, failed={}, started=started)))

    assert written["started"] == "2026-01-02T03:04:05+00:00"
    assert written["machine"].keys() == {"cpus", "load", "system", "python"}
    assert written["left_out"] == {"gateway": "no node"}
    assert written["failed"] == {}
    (result,) = written["results"]
    assert result["samples"] == [[0.3, 0.25], [0.31, 0.25]]
    assert result["budget"] == {"limit": 1.25, "bound": "at most"}
    assert result["met"] is True


def measures(*results: Result) -> Callable[[Effort], list[Result]]:
    return lambda _: list(results)


def fails(_: Effort) -> list[Result]:
    raise BenchFailed("the mesh did not come up")


def breaks(_: Effort) -> list[Result]:
    raise ZeroDivisionError


@pytest.fixture
def benches(monkeypatch: pytest.MonkeyPatch) -> dict[str, command.Bench]:
    """The benches the command knows, empty."""
    known: dict[str, command.Bench] = {}
    monkeypatch.setattr(command, "BENCHES", known)
    monkeypatch.setattr("signal.signal", lambda *_: None)  # pytest's own
    return known


def test_a_budget_that_is_not_met_is_reported_and_is_no_failure(
    benches: dict[str, command.Bench], capsys: pytest.CaptureFixture[str]
) -> None:
    benches["memory"] = command.Bench(measure=measures(NOT_MET), summary="")

    assert command.main([]) == 0

    assert "NOT MET" in capsys.readouterr().out


def test_a_quick_run_judges_nothing(benches: dict[str, command.Bench], capsys: pytest.CaptureFixture[str]) -> None:
    benches["memory"] = command.Bench(measure=measures(NOT_MET), summary="")

    assert command.main(["--quick"]) == 0

    printed = capsys.readouterr().out
    assert "1,234" in printed
    assert "NOT MET" not in printed


def test_a_bench_that_fails_does_not_lose_what_the_others_found(
    benches: dict[str, command.Bench], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    benches["startup"] = command.Bench(measure=fails, summary="")
    benches["read"] = command.Bench(measure=breaks, summary="")
    benches["tax"] = command.Bench(measure=measures(MET), summary="")

    assert command.main(["--json", str(tmp_path / "bench.json")]) == 1

    written = json.loads((tmp_path / "bench.json").read_text())
    assert written["failed"] == {"startup": "the mesh did not come up", "read": "ZeroDivisionError()"}
    assert [result["bench"] for result in written["results"]] == ["tax"]
    assert "startup: failed, the mesh did not come up" in capsys.readouterr().out


def test_a_bench_without_its_tools_is_left_out_and_fails_only_a_command_that_named_it(
    benches: dict[str, command.Bench], capsys: pytest.CaptureFixture[str]
) -> None:
    benches["gateway"] = command.Bench(measure=breaks, summary="", needs=("no-such-program",))

    assert command.main([]) == 0
    assert command.main(["gateway"]) == 1

    assert "gateway: left out, no-such-program is missing" in capsys.readouterr().out


def test_an_unknown_name_is_refused_with_the_names_there_are(
    benches: dict[str, command.Bench], capsys: pytest.CaptureFixture[str]
) -> None:
    benches["tax"] = command.Bench(measure=measures(MET), summary="")

    with pytest.raises(SystemExit) as refused:
        command.main(["taxes"])

    assert refused.value.code == 2
    assert "no bench taxes; there are tax" in capsys.readouterr().err
