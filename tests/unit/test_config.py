"""Settings are read once, checked, and their problems told together."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from weft.config import ConfigError, load


@dataclass(frozen=True)
class Settings:
    url: str = field(repr=False)
    size: int = 5
    wait_s: float = 1.5
    verbose: bool = False
    folder: Path | None = None

    def __post_init__(self) -> None:
        if self.size < 1:
            raise ValueError("BOOKS_SIZE must be at least 1")


def test_variables_carry_the_prefix_and_the_fields_name() -> None:
    env = {"BOOKS_URL": "u", "BOOKS_SIZE": "7", "BOOKS_WAIT_S": "0.5", "BOOKS_VERBOSE": "true", "BOOKS_FOLDER": "/x"}

    assert load(Settings, env, "BOOKS") == Settings("u", 7, 0.5, verbose=True, folder=Path("/x"))


def test_unset_and_empty_variables_take_the_default() -> None:
    assert load(Settings, {"BOOKS_URL": "u", "BOOKS_SIZE": ""}, "BOOKS") == Settings("u")


def test_all_problems_are_told_at_once_without_the_values() -> None:
    with pytest.raises(ConfigError) as refused:
        load(Settings, {"BOOKS_SIZE": "s3cret", "BOOKS_VERBOSE": "perhaps"}, "BOOKS")

    assert refused.value.problems == (
        "BOOKS_URL is not set",
        "BOOKS_SIZE is not a valid int",
        "BOOKS_VERBOSE is not a valid bool",
    )
    assert "s3cret" not in str(refused.value)


def test_what_the_settings_refuse_is_a_problem_too() -> None:
    with pytest.raises(ConfigError, match="BOOKS_SIZE must be at least 1"):
        load(Settings, {"BOOKS_URL": "u", "BOOKS_SIZE": "0"}, "BOOKS")
