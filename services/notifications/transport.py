"""A way out of the shop, as notifications knows it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from services.notifications.domain import Notification
    from services.notifications.rendering import Rendered

__all__ = ["Deferred", "Message", "Refused", "Transport"]


class Refused(Exception):
    """The message will never be taken.

    Args:
        reason: Stable UPPER_SNAKE_CASE word. What a provider says is not passed on: it may quote an address.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Deferred(Exception):
    """The message was not taken, or it is not known whether it was; a later attempt may do.

    Args:
        reason: As of Refused.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """What is handed over. Personal, so no `repr` tells what or to whom."""

    notification: Notification
    address: str = field(repr=False)
    """Where the channel leads to."""
    rendered: Rendered = field(repr=False)


class Transport(Protocol):
    """Hands messages over. Knows each by its notification's id, so that whoever takes it recognises a repeat."""

    async def send(self, message: Message) -> None:
        """Return when whoever is responsible from here on has taken *message*. May be cancelled.

        Raises:
            Refused, Deferred: they have not.
        """
