"""Who is calling, and what must never be believed about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

__all__ = ["IDENTITY_HEADER_PREFIX", "Identity"]

IDENTITY_HEADER_PREFIX: Final = "x-weft-"
"""The gateway strips every header that begins so: nothing outside the mesh may speak for it."""


@dataclass(frozen=True, slots=True)
class Identity:
    """A caller whose token was verified."""

    subject: str
    roles: frozenset[str] = frozenset()
