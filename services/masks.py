"""Which fields an update changes, the same in every service of the shop.

Source: https://google.aip.dev/161
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from weft.errors import InvalidArgument, Violation

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

__all__ = ["InvalidFields", "changed_fields"]

_CAPITAL: Final = re.compile("(?<=[a-z0-9])[A-Z]")
_UNDERSCORED: Final = re.compile("_([a-z])")


class InvalidFields(InvalidArgument):
    """The request names fields that can't be changed, or gives values they can't have; `violations` lists them all."""


def changed_fields(
    mask: Sequence[str], populated: Collection[str], changeable: Mapping[str, tuple[str, ...]]
) -> frozenset[str]:
    """Return the fields to change.

    Args:
        mask: paths as `first_name`, or `firstName` as REST callers write them; empty means all that are set.
        populated: fields that are set in the request.
        changeable: path -> the fields it stands for: itself, or those below it.

    Raises:
        InvalidFields: *mask* names a path that is not in *changeable*.
    """
    if not mask:
        return frozenset(populated)
    paths = [_CAPITAL.sub(lambda match: f"_{match[0].lower()}", path) for path in mask]
    violations = [
        Violation(f"updateMask.paths[{index}]", f"must be one of {', '.join(map(_json_name, changeable))}")
        for index, path in enumerate(paths)
        if path not in changeable
    ]
    if violations:
        raise InvalidFields("the update mask names fields that can't be changed", violations=violations)
    return frozenset(field for path in paths for field in changeable[path])


def _json_name(path: str) -> str:
    return _UNDERSCORED.sub(lambda match: match[1].upper(), path)
