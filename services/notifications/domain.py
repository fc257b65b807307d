"""Who is told what, by which channel, and for how long that is tried."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID, uuid5

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

__all__ = [
    "FALLBACK_LANGUAGE",
    "GIVE_UP_AFTER",
    "NO_SUCH_USER",
    "Channel",
    "Contact",
    "Notice",
    "Notification",
    "State",
    "Template",
    "chosen_channels",
    "is_given_up",
    "languages",
    "notifications_of",
    "retry_wait_s",
    "unreachable",
]

GIVE_UP_AFTER: Final = timedelta(days=1)
"""A notification is tried this long."""
RETRY_BASE_S: Final = 2.0
RETRY_CAP_S: Final = 900.0
FALLBACK_LANGUAGE: Final = "en"
NO_SUCH_USER: Final = "USER_NOT_FOUND"


class Template(StrEnum):
    """What somebody is told."""

    WELCOME = "welcome"
    ORDER_CONFIRMED = "order_confirmed"
    ORDER_SHIPPED = "order_shipped"
    ORDER_DELIVERED = "order_delivered"
    REFUNDED = "refunded"
    PAYMENT_FAILED = "payment_failed"
    STOCK_LOW = "stock_low"


class Channel(StrEnum):
    """By which way."""

    EMAIL = "email"
    SMS = "sms"
    PUSH = "push"


class State(StrEnum):
    """Whether somebody was told."""

    PENDING = "pending"
    SENT = "sent"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """Something that happened and that somebody is to be told: one per event. Nothing in it is personal."""

    event_id: UUID
    template: Template
    user_id: str | None
    """Whom; None means all administrators."""
    subject: str
    """What it is about: an order, a SKU, or empty."""
    facts: Mapping[str, Any]
    """What the template says of it, as JSON has it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Contact:
    """How to reach a user at this moment. Personal, so no `repr` tells it, and it is never kept."""

    user_id: str
    first_name: str = field(repr=False)
    language: str
    channels: tuple[Channel, ...]
    """As the user prefers; at least one."""
    addresses: Mapping[Channel, str] = field(repr=False)
    """Where each channel leads to; without those that lead nowhere."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Notification:
    """One notice for one user by one channel."""

    notification_id: UUID
    event_id: UUID
    user_id: str
    template: Template
    channel: Channel
    language: str
    """In which it was written last; empty before it was."""
    state: State
    attempts: int
    """How often it was tried, the attempt under way included."""
    failure_reason: str
    """Why the last attempt failed: a stable word, or empty."""
    subject: str
    facts: Mapping[str, Any]
    create_time: datetime
    update_time: datetime
    """When its state last changed."""


def notifications_of(
    notice: Notice, contacts: Sequence[Contact], *, served: Collection[Channel], now: datetime
) -> list[Notification]:
    """Return what follows from a notice: a notification for each of *contacts* and each channel that reaches them."""
    return [
        _notification(notice, contact.user_id, channel, now=now)
        for contact in contacts
        for channel in chosen_channels(contact, served)
    ]


def unreachable(notice: Notice, user_id: str, *, now: datetime) -> Notification:
    """Return what is kept of a notice for a user who is not there."""
    return _notification(notice, user_id, Channel.EMAIL, now=now, state=State.FAILED, failure_reason=NO_SUCH_USER)


def chosen_channels(contact: Contact, served: Collection[Channel]) -> list[Channel]:
    """Return those channels of a user's choice that lead somewhere; e-mail where none does.

    What is told here is about orders and money: nobody goes without it for having lost a telephone.
    """
    usable = [channel for channel in contact.channels if channel in served and contact.addresses.get(channel)]
    return usable or [Channel.EMAIL]


def languages(tag: str) -> list[str]:
    """Return in which languages to look for a template, best first: `de-AT` -> `de-at`, `de`, `en`.

    Source: RFC 4647 section 3.4, lookup
    """
    parts = tag.lower().replace("_", "-").split("-")
    wanted = ["-".join(parts[:length]) for length in range(len(parts), 0, -1)]
    return [*dict.fromkeys([*filter(None, wanted), FALLBACK_LANGUAGE])]


def retry_wait_s(attempts: int, *, chance: float) -> float:
    """Return how long to wait after *attempts*, at least 1, that all failed.

    Args:
        attempts: How many there were.
        chance: In [0, 1): spreads out those that failed together.

    Returns:
        Seconds, in [half, one and a half] of two seconds that double with each attempt up to a quarter of an hour.
    """
    return min(RETRY_CAP_S, RETRY_BASE_S * 2.0 ** min(attempts - 1, 32)) * (0.5 + chance)


def is_given_up(create_time: datetime, *, now: datetime) -> bool:
    """Tell whether what was to be told since *create_time*, and just failed again, is not tried any more."""
    return now - create_time >= GIVE_UP_AFTER


def _notification(
    notice: Notice,
    user_id: str,
    channel: Channel,
    *,
    now: datetime,
    state: State = State.PENDING,
    failure_reason: str = "",
) -> Notification:
    return Notification(
        # Follows from what it is, so that nothing that is done twice can give it a second name.
        notification_id=uuid5(notice.event_id, f"{channel}/{user_id}"),
        event_id=notice.event_id,
        user_id=user_id,
        template=notice.template,
        channel=channel,
        language="",
        state=state,
        attempts=0,
        failure_reason=failure_reason,
        subject=notice.subject,
        facts=notice.facts,
        create_time=now,
        update_time=now,
    )
