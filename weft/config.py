"""Settings from the environment: read once, at the composition root, into a frozen dataclass."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

__all__ = ["ConfigError", "load"]

T = TypeVar("T")
_BOOLEANS = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}


class ConfigError(Exception):
    """The settings are wrong; the operator must change them. Lists every problem, one a line."""

    def __init__(self, problems: typing.Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


def load(cls: type[T], env: Mapping[str, str], prefix: str = "") -> T:
    """Build the dataclass *cls* from the variables `<PREFIX>_<FIELD>` of *env*.

    Fields may be str, int, float, bool, `Path`, or one of them or None. An unset or empty variable takes the field's
    default.

    Raises:
        ConfigError: a variable is missing or malformed, or `__post_init__` raised ValueError; all problems at once.
            A value is never quoted, since it may be a secret.
    """
    hints = typing.get_type_hints(cls)
    values: dict[str, object] = {}
    problems: list[str] = []
    for field in dataclasses.fields(cls):  # type: ignore[arg-type]  # the caller passes a dataclass
        name = f"{prefix}_{field.name}".strip("_").upper()
        text = env.get(name, "").strip()
        if not text:
            if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
                problems.append(f"{name} is not set")
            continue
        kind = _plain_type(hints[field.name])
        try:
            values[field.name] = _BOOLEANS[text.lower()] if kind is bool else kind(text)
        except (KeyError, ValueError):
            problems.append(f"{name} is not a valid {kind.__name__}")
    if problems:
        raise ConfigError(problems)
    try:
        return cls(**values)
    except ValueError as error:
        raise ConfigError(str(error).splitlines()) from error


def _plain_type(hint: object) -> type[typing.Any]:
    """Return `X` for `X | None` and for `X`."""
    if isinstance(hint, types.UnionType):
        hint = next(part for part in typing.get_args(hint) if part is not type(None))
    assert hint in (str, int, float, bool, Path), f"a setting can't be a {hint}"
    return typing.cast("type[typing.Any]", hint)
