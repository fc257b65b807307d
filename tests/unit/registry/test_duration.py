from __future__ import annotations

import pytest

from weft.registry.duration import format_duration, parse_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("0", 0), ("1s", 1), ("250ms", 0.25), ("1m30s", 90), ("1.5h", 5400), (".5s", 0.5), ("+2s", 2), ("-1s", -1)],
)
def test_a_duration_is_read_as_go_reads_it(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "5", "s", "soon", "1 s", "1s soon", "--1s", "1d", "1..5s", "-"])
def test_what_go_does_not_read_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="invalid duration"):
        parse_duration(text)


@pytest.mark.parametrize("seconds", [0, 0.001, 0.25, 1, 90, 600])
def test_what_is_written_reads_the_same(seconds: float) -> None:
    assert parse_duration(format_duration(seconds)) == pytest.approx(seconds)
