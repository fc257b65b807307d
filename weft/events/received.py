"""What a handler is given."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, TypeVar

from google.protobuf.message import Message

from weft.data import Transaction

__all__ = ["Handler", "Received"]

M = TypeVar("M", bound=Message)


@dataclass(frozen=True, slots=True)
class Received(Generic[M]):
    """One event, as a subscription got it."""

    id: str
    """UUID, the same in every copy."""
    type: str
    """Full name of the message."""
    source: str
    """Mesh name of the service that published it."""
    subject: str
    sequence: int
    """Grows from event to event of one source and subject, with gaps."""
    time: datetime
    """When it happened."""
    attempt: int
    """To apply it, from 1 on."""
    event: M


Handler = Callable[[Transaction, Received[Any]], Awaitable[None]]
"""Applies an event in the transaction that notes it as applied; may publish others on it.

What it raises undoes the transaction, and the event is tried again.
"""
