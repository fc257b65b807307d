"""Load shedding: an instance that has enough under way refuses at once, while refusing is still cheap."""

from __future__ import annotations

from typing import Final

from weft.errors import ResourceExhausted
from weft.telemetry import SERVER_IN_FLIGHT

__all__ = ["Gate"]

_RETRY_AFTER_S: Final = 0.5


class Overloaded(ResourceExhausted):
    """This instance has as many calls under way as its contract allows."""


class Gate:
    """Counts the calls of one service in one process."""

    def __init__(self, service: str, limit: int) -> None:
        self.limit = limit
        self.in_flight = 0
        SERVER_IN_FLIGHT.labels(service).set_function(lambda: self.in_flight)

    def enter(self) -> None:
        """Count a call in. Raises Overloaded; every call that enters leaves."""
        if self.in_flight >= self.limit:
            raise Overloaded("too many calls under way; try again", retry_after_s=_RETRY_AFTER_S, limit=self.limit)
        self.in_flight += 1

    def leave(self) -> None:
        self.in_flight -= 1
