"""Notices and notifications as rows. The transaction is the caller's; reads without one are hot and run outside any.

What is due is leased: whoever takes a row has it for a time, which the database's clock tells, and no other replica
sees it until then. A replica that is killed gives it back by that alone.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import DateTime, Float, Integer, Interval, Text, Uuid, bindparam, func, select, text, tuple_, update
from sqlalchemy.dialects.postgresql import insert

from services.notifications.domain import Channel, Notice, Notification, State, Template
from services.notifications.forgetting_store import remembered
from services.notifications.tables import notices, notifications
from weft.data import prepare

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from weft.data import Database, Transaction

__all__ = [
    "add_notice",
    "end",
    "has_due",
    "has_due_notices",
    "lease",
    "lease_notices",
    "list_page",
    "oldest_pending_s",
    "postpone",
    "postpone_notice",
    "settle_notice",
]

_NOTICE: Final = (notices.c.event_id, notices.c.template, notices.c.user_id, notices.c.subject, notices.c.facts)
_NOTIFICATION: Final = (
    notifications.c.notification_id,
    notifications.c.event_id,
    notifications.c.user_id,
    notices.c.template,
    notifications.c.channel,
    notifications.c.language,
    notifications.c.state,
    notifications.c.attempts,
    notifications.c.failure_reason,
    notices.c.subject,
    notices.c.facts,
    notifications.c.create_time,
    notifications.c.update_time,
)
_LIMIT: Final = bindparam("limit", type_=Integer)
_WAIT: Final = bindparam("wait", type_=Interval)
_CHANNEL: Final = bindparam("by_channel", type_=Text)

# As text and not as parameters: only then may every plan use the indexes of what is pending.
_PENDING: Final = text("notifications.state = 'pending'")
_UNSETTLED: Final = text("notices.due_time IS NOT NULL")

_ANY_NOTICE_DUE: Final = prepare(
    select(notices.c.event_id).where(_UNSETTLED, notices.c.due_time <= func.now()).limit(1)
)
_ANY_DUE: Final = prepare(
    select(notifications.c.notification_id)
    .where(_PENDING, notifications.c.channel == _CHANNEL, notifications.c.due_time <= func.now())
    .limit(1)
)
_AGE_S: Final = func.extract("epoch", func.now() - func.min(notifications.c.create_time)).cast(Float)
_OLDEST: Final = prepare(select(notifications.c.channel, _AGE_S).where(_PENDING).group_by(notifications.c.channel))
_OLDEST_NOTICE: Final = prepare(
    select(func.extract("epoch", func.now() - func.min(notices.c.create_time)).cast(Float)).where(_UNSETTLED)
)

_DUE_NOTICES: Final = (
    select(notices.c.event_id)
    .where(_UNSETTLED, notices.c.due_time <= func.now())
    .order_by(notices.c.due_time)
    .limit(_LIMIT)
    .with_for_update(skip_locked=True)
    .cte("due")
)
_LEASE_NOTICES: Final = (
    update(notices)
    .where(notices.c.event_id == _DUE_NOTICES.c.event_id)
    .values(due_time=func.now() + _WAIT, attempts=notices.c.attempts + 1)
    .returning(*_NOTICE, notices.c.attempts)
)
_DUE: Final = (
    select(notifications.c.notification_id)
    .where(_PENDING, notifications.c.channel == _CHANNEL, notifications.c.due_time <= func.now())
    .order_by(notifications.c.due_time)
    .limit(_LIMIT)
    .with_for_update(skip_locked=True)
    .cte("due")
)
_LEASE: Final = (
    update(notifications)
    .where(notifications.c.notification_id == _DUE.c.notification_id, notices.c.event_id == notifications.c.event_id)
    .values(due_time=func.now() + _WAIT, attempts=notifications.c.attempts + 1)
    .returning(*_NOTIFICATION)
)

_NEWEST_FIRST: Final = (notifications.c.create_time.desc(), notifications.c.notification_id.desc())
_ALL: Final = select(*_NOTIFICATION).join_from(notifications, notices).order_by(*_NEWEST_FIRST).limit(_LIMIT)
_OF_USER: Final = notifications.c.user_id == bindparam("user_id", type_=Text)
_AFTER: Final = tuple_(notifications.c.create_time, notifications.c.notification_id) < tuple_(
    bindparam("create_time", type_=DateTime(timezone=True)), bindparam("notification_id", type_=Uuid)
)
_PAGES: Final = {
    (False, False): prepare(_ALL),
    (False, True): prepare(_ALL.where(_AFTER)),
    (True, False): prepare(_ALL.where(_OF_USER)),
    (True, True): prepare(_ALL.where(_OF_USER, _AFTER)),
}
"""Of one user's or everybody's, and the first page or a later one."""


async def add_notice(tx: Transaction, notice: Notice) -> None:
    """Add *notice*, due at once, unless its event has one or it is for a user who is forgotten."""
    if notice.user_id is not None and not await remembered(tx, {notice.user_id}):
        return
    row = {
        "event_id": notice.event_id,
        "template": notice.template.value,
        "user_id": notice.user_id,
        "subject": notice.subject,
        "facts": dict(notice.facts),
        "create_time": func.now(),
        "due_time": func.now(),
        "attempts": 0,
    }
    await tx.execute(insert(notices).values(row).on_conflict_do_nothing())


async def has_due_notices(database: Database) -> bool:
    return await database.fetch_one(_ANY_NOTICE_DUE) is not None


async def lease_notices(tx: Transaction, *, limit: int, lease_s: float) -> list[tuple[Notice, int]]:
    """Take up to *limit* notices that are due, for *lease_s*; return each with the number of this attempt."""
    rows = await tx.all(_LEASE_NOTICES, {"limit": limit, "wait": timedelta(seconds=lease_s)})
    return [(_notice(row), row.attempts) for row in rows]


async def settle_notice(tx: Transaction, notice: Notice, made: Sequence[Notification]) -> None:
    """Add the notifications that *notice* was found to be, but for forgotten users; the first to do so decides."""
    known = await remembered(tx, {each.user_id for each in made})
    settled = update(notices).where(notices.c.event_id == notice.event_id, notices.c.due_time.is_not(None))
    rows = [_row(each) for each in made if each.user_id in known]
    if await tx.execute(settled.values(due_time=None)) and rows:
        await tx.execute(insert(notifications).values(rows).on_conflict_do_nothing())


async def postpone_notice(tx: Transaction, notice: Notice, attempt: int, *, wait_s: float) -> None:
    """Have *notice* tried again in *wait_s*, unless somebody else has it by now."""
    ours = update(notices).where(
        notices.c.event_id == notice.event_id, notices.c.attempts == attempt, notices.c.due_time.is_not(None)
    )
    await tx.execute(ours.values(due_time=func.now() + timedelta(seconds=wait_s)))


async def has_due(database: Database, channel: Channel) -> bool:
    return await database.fetch_one(_ANY_DUE, by_channel=channel.value) is not None


async def lease(tx: Transaction, channel: Channel, *, limit: int, lease_s: float) -> list[Notification]:
    """Take up to *limit* notifications by *channel* that are due, for *lease_s*, and count the attempt."""
    values = {"by_channel": channel.value, "limit": limit, "wait": timedelta(seconds=lease_s)}
    return [_notification(row) for row in await tx.all(_LEASE, values)]


async def end(tx: Transaction, tried: Notification, state: State, *, language: str, failure_reason: str = "") -> bool:
    """Note what became of a notification for good; tell whether that was not known.

    That it was sent is true whoever has it, or has given it up, by now; that it failed is only for the one who still
    has it to say.
    """
    this = update(notifications).where(notifications.c.notification_id == tried.notification_id)
    if state is State.SENT:
        this = this.where(notifications.c.state != State.SENT.value)
    else:
        this = this.where(notifications.c.state == State.PENDING.value, notifications.c.attempts == tried.attempts)
    ended = this.values(
        state=state.value,
        due_time=None,
        language=language,
        failure_reason=failure_reason,
        update_time=func.now(),
    )
    return await tx.execute(ended) == 1


async def postpone(tx: Transaction, tried: Notification, *, language: str, failure_reason: str, wait_s: float) -> bool:
    """Have a notification tried again in *wait_s*, unless somebody else has it by now; tell whether it will be."""
    ours = update(notifications).where(
        notifications.c.notification_id == tried.notification_id,
        notifications.c.state == State.PENDING.value,
        notifications.c.attempts == tried.attempts,
    )
    due_time = func.now() + timedelta(seconds=wait_s)
    return await tx.execute(ours.values(due_time=due_time, language=language, failure_reason=failure_reason)) == 1


async def list_page(
    database: Database, user_id: str | None, limit: int, after: tuple[Any, ...] | None
) -> list[Notification]:
    """Return up to *limit* notifications, newest first, that come after *after*: create_time, notification_id.

    Args:
        database: The service's.
        user_id: Whose; None for everybody's.
        limit: At least 1.
        after: Where the page before ended; None for the first.
    """
    values: dict[str, Any] = {"limit": limit}
    if user_id is not None:
        values["user_id"] = user_id
    if after is not None:
        values["create_time"], values["notification_id"] = after
    page = _PAGES[user_id is not None, after is not None]
    return [_notification(row) for row in await database.fetch_all(page, **values)]


async def oldest_pending_s(database: Database) -> Mapping[Channel | None, float]:
    """Return for how long the oldest that is pending has been, by channel; None for what has no channel yet."""
    ages: dict[Channel | None, float] = {Channel(row[0]): row[1] for row in await database.fetch_all(_OLDEST)}
    unsettled = await database.fetch_one(_OLDEST_NOTICE)
    if unsettled and unsettled[0] is not None:
        ages[None] = unsettled[0]
    return ages


def _notice(row: Iterable[Any]) -> Notice:
    event_id, template, user_id, subject, facts, _ = row
    return Notice(event_id=event_id, template=Template(template), user_id=user_id, subject=subject, facts=facts)


def _notification(row: Iterable[Any]) -> Notification:
    (
        notification_id,
        event_id,
        user_id,
        template,
        channel,
        language,
        state,
        attempts,
        failure_reason,
        subject,
        facts,
        create_time,
        update_time,
    ) = row
    return Notification(
        notification_id=notification_id,
        event_id=event_id,
        user_id=user_id,
        template=Template(template),
        channel=Channel(channel),
        language=language,
        state=State(state),
        attempts=attempts,
        failure_reason=failure_reason,
        subject=subject,
        facts=facts,
        create_time=create_time,
        update_time=update_time,
    )


def _row(made: Notification) -> Mapping[str, object]:
    return {
        "notification_id": made.notification_id,
        "event_id": made.event_id,
        "user_id": made.user_id,
        "channel": made.channel.value,
        "language": made.language,
        "state": made.state.value,
        "attempts": made.attempts,
        "failure_reason": made.failure_reason,
        "create_time": made.create_time,
        "update_time": made.update_time,
        "due_time": made.create_time if made.state is State.PENDING else None,
    }
