from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from scripts.lib.bench import events as bench
from scripts.lib.bench.events import Notes, Run
from scripts.lib.bench.processes import Served
from scripts.lib.bench.result import BenchFailed

US = Served(pid=os.getpid(), port=0)


class Mesh:
    """A publishing service whose events are applied in *lag_s*, except for the last *lost* of each stream.

    An event is committed every second from 100 s on.
    """

    def __init__(self, files: Path, *, lag_s: float = 0.25, lost: int = 0) -> None:
        self._applied, self._lag_s, self._lost = files / "applied", lag_s, lost
        self._applied.touch()

    @contextmanager
    def publishing(
        self, kind: str, log: Path, *, notes: Path, first: int, events: int, **_: object
    ) -> Iterator[Served]:
        numbers = range(first, first + events)
        committed = {number: 100.0 + number for number in numbers}
        lines = [f"{number} {time_s}\n" for number, time_s in committed.items()]
        notes.write_text("".join(["begin 100.0\n"] if kind == "burst" else lines))
        with self._applied.open("a") as applied:
            for number in numbers[: len(numbers) - self._lost]:
                applied.write(f"{number} {committed[number] + self._lag_s}\n")
        yield US


def test_a_burst_lasts_from_its_beginning_until_the_last_event_is_applied(tmp_path: Path) -> None:
    run = Run(tmp_path, US, Mesh(tmp_path, lag_s=1.0).publishing)

    burst = run.burst(5)

    assert burst.per_s == 5 / (4 + 1.0)
    assert burst.cpu_ms >= 0


def test_a_burst_counts_its_own_events_only(tmp_path: Path) -> None:
    run = Run(tmp_path, US, Mesh(tmp_path, lag_s=1.0).publishing)

    run.burst(5)
    second = run.burst(10)

    assert second.per_s == 10 / (14 + 1.0)


def test_the_lag_is_that_of_each_event_once_the_stream_is_warm(tmp_path: Path) -> None:
    run = Run(tmp_path, US, Mesh(tmp_path, lag_s=0.25).publishing)

    lags_ms = run.steady(20)

    assert lags_ms == [250.0] * 20


def test_an_effect_that_is_noted_before_its_cause_has_no_lag(tmp_path: Path) -> None:
    run = Run(tmp_path, US, Mesh(tmp_path, lag_s=-0.25).publishing)

    assert run.steady(3) == [0.0] * 3


def test_events_that_are_not_applied_are_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "APPLIED_S", 0.1)
    run = Run(tmp_path, US, Mesh(tmp_path, lost=2).publishing)

    with pytest.raises(BenchFailed, match="2 events were not applied"):
        run.burst(5)


def test_notes_are_read_line_by_whole_line_while_they_are_written(tmp_path: Path) -> None:
    path = tmp_path / "notes"
    path.write_text("0 1.5\n1 2.")
    notes = Notes(path)

    first = dict(notes.read())
    with path.open("a") as file:
        file.write("25\nbegin 3.0\n")
    second = dict(notes.read())

    assert first == {"0": 1.5}
    assert second == {"0": 1.5, "1": 2.25, "begin": 3.0}
