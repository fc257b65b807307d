"""What of the shop can break, and how often each part does."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from scripts.lib.chaos.provider import PROVIDER
from scripts.lib.chaos.schedule import Kind, Part

__all__ = ["BROKER", "POST", "parts"]

BROKER: Final = "broker"
"""Whichever it is; the schedule is the same for both."""
POST: Final = "post"
"""The mail server."""
WEIGHTS: Final = {"orders": 4, "inventory": 2, "payments": 2, "shipping": 2, BROKER: 2, "postgres": 2}
"""More where an order lives; 1 for the rest."""


def parts(services: Iterable[str], replicas: int) -> tuple[Part, ...]:
    """Return every part of a mesh with *replicas* of each of *services*, by the names in its record."""
    found: list[Part] = []
    for service in sorted(services):
        weight = WEIGHTS.get(service, 1)
        names = [service, *(f"{service}.{number}" for number in range(2, replicas + 1))]
        found += [Part(name=name, kind=Kind.REPLICA, weight=weight) for name in names]
        found.append(Part(name=service, kind=Kind.SERVICE))
    for name in ("control", "envoy", "registry", BROKER, "postgres"):
        found.append(Part(name=name, kind=Kind.SUPPORT, weight=WEIGHTS.get(name, 1)))
    found.append(Part(name=PROVIDER, kind=Kind.OUTSIDE, weight=2))
    found.append(Part(name=POST, kind=Kind.OUTSIDE, weight=2))
    return tuple(found)
