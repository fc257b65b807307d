"""Somebody who has deleted their account is told nothing more, and it is forgotten what they were told."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from shop.inventory.v1 import events_pb2 as inventory
from shop.payments.v1 import events_pb2 as payments
from shop.shipping.v1 import events_pb2 as shipping
from shop.users.v1 import events_pb2 as users
from shop.users.v1 import users_pb2
from sqlalchemy import text

from services.notifications import forgetting_store, store
from services.notifications.domain import NO_SUCH_USER, Channel, Contact, notifications_of
from tests.mesh.services.forgetting import somebody_waits
from tests.mesh.services.notifications.parts import confirmed, euros
from tests.mesh.services.notifications.test_notifications_export import MANY_TOLD
from tests.mesh.services.test_statements import filled

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from google.protobuf.message import Message

    from tests.mesh.services.notifications.parts import Desk
    from tests.mesh.services.notifications.providers import MailServer, Receiver

    Eventually = Callable[[Callable[[], Awaitable[bool]]], Awaitable[None]]

NEWS: dict[str, Callable[[str], Message]] = {
    "registered": lambda user_id: users.UserRegistered(user_id=user_id),
    "confirmed": confirmed,
    "dispatched": lambda user_id: shipping.ShipmentDispatched(order_id=str(uuid4()), user_id=user_id),
    "delivered": lambda user_id: shipping.ShipmentDelivered(order_id=str(uuid4()), user_id=user_id),
    "refunded": lambda user_id: payments.PaymentRefunded(
        order_id=str(uuid4()), user_id=user_id, amount=euros(1), refunded=euros(1)
    ),
}


async def gone(desk: Desk, user_id: str) -> None:
    """Have *user_id* delete their account; nobody but users has heard of it yet."""
    await desk.users.as_user(user_id).DeleteMe(users_pb2.DeleteMeRequest())


async def kept(desk: Desk) -> dict[str, int]:
    """Return how many rows there are about what users are told."""
    tables = ("notices", "notifications")
    return {table: (await desk.rows(f"select count(*) from {table}"))[0][0] for table in tables}


async def test_what_was_told_is_forgotten_and_others_keep_theirs(
    desk: Desk, mail: MailServer, eventually: Eventually
) -> None:
    ada, ben = await desk.given(), await desk.given("ben@example.com")
    async with desk.at_work(mail_url=mail.url):
        for user_id in (ada, ada, ben):
            await desk.hear(confirmed(user_id))
        await eventually(lambda: desk.are("SENT", 3))

        await desk.hear(users.UserDeleted(user_id=ada))

    assert [each.user_id for each in await desk.history()] == [ben]
    assert await kept(desk) == {"notices": 1, "notifications": 1}
    assert await desk.rows("select user_id from forgotten_users") == [(ada,)]


async def test_what_waits_to_be_sent_is_dropped(desk: Desk, mail: MailServer, eventually: Eventually) -> None:
    ada, ben = await desk.given(), await desk.given("ben@example.com")
    mail.to_mails = ["451 come back later"] * 500
    async with desk.at_work(mail_url=mail.url):
        await desk.hear(confirmed(ada))
        await eventually(lambda: _has_tried(desk))
    await desk.hear(confirmed(ada))  # and nobody has found out yet whom that reaches
    await desk.hear(confirmed(ben))

    await desk.hear(users.UserDeleted(user_id=ada))
    mail.to_mails = []
    async with desk.at_work(mail_url=mail.url):
        await eventually(lambda: desk.are("SENT"))

    assert mail.recipients == ["ben@example.com"]
    assert [each.user_id for each in await desk.history()] == [ben]


async def _has_tried(desk: Desk) -> bool:
    return any(each.attempts for each in await desk.history())


@pytest.mark.parametrize("news", NEWS)
async def test_what_is_heard_of_them_afterwards_tells_them_nothing(
    desk: Desk, mail: MailServer, eventually: Eventually, news: str
) -> None:
    ada, ben = await desk.given(), await desk.given("ben@example.com")
    await desk.hear(users.UserDeleted(user_id=ada))

    await desk.hear(NEWS[news](ada))
    async with desk.at_work(mail_url=mail.url):
        await desk.hear(NEWS[news](ben))
        await eventually(lambda: desk.are("SENT"))

    assert mail.recipients == ["ben@example.com"]
    assert await kept(desk) == {"notices": 1, "notifications": 1}


async def test_a_deletion_while_a_mail_is_being_sent_waits_for_nobody_and_leaves_nothing(
    desk: Desk, receiver: Receiver, mail: MailServer, secret_file: Path, eventually: Eventually
) -> None:
    """What a provider has been handed can't be taken back; nothing else goes out, and nothing of it is kept."""
    ada = await desk.given(channels=[users_pb2.CHANNEL_SMS], phone_number="+491709876543")
    receiver.held.clear()
    settings: dict[str, Any] = {"sms_url": receiver.url, "webhook_secret_file": secret_file}
    async with desk.at_work(mail_url=mail.url, **settings):
        await desk.hear(confirmed(ada))
        await eventually(lambda: _is_handed_over(receiver))

        await desk.hear(users.UserDeleted(user_id=ada))
        await gone(desk, ada)
        during = await kept(desk)
        receiver.answers = [500]  # after which it would be tried again
        receiver.held.set()
        ben = await desk.given("ben@example.com")
        await desk.hear(confirmed(ben))
        await eventually(lambda: desk.are("SENT"))

    assert during == {"notices": 0, "notifications": 0}
    assert len(receiver.posts) == 1
    assert [each.user_id for each in await desk.history()] == [ben]
    assert mail.recipients == ["ben@example.com"]


async def _is_handed_over(receiver: Receiver) -> bool:
    return bool(receiver.posts)


async def test_a_mail_to_somebody_whom_users_has_forgotten_is_not_tried_again(
    desk: Desk, mail: MailServer, eventually: Eventually
) -> None:
    """The account is gone already, and nobody has told us."""
    ada = await desk.given()
    mail.to_mails = ["451 come back later"] * 500
    async with desk.at_work(mail_url=mail.url):
        await desk.hear(confirmed(ada))
        await eventually(lambda: _has_tried(desk))
        await gone(desk, ada)
        await eventually(lambda: desk.are("FAILED"))
        [failed] = await desk.history()

        await desk.hear(users.UserDeleted(user_id=ada))

    assert failed.failure_reason == NO_SUCH_USER
    assert mail.taken == []
    assert await kept(desk) == {"notices": 0, "notifications": 0}


async def test_an_administrator_who_leaves_is_told_nothing_of_stock(desk: Desk) -> None:
    """Their notice is everybody's: it stays, with what the others were told."""
    root, other = str(uuid4()), str(uuid4())
    await desk.hear(inventory.StockLow(sku="MUG", on_hand=1, low_stock_threshold=5))
    async with desk.database.transaction() as tx:
        [(notice, _)] = await store.lease_notices(tx, limit=1, lease_s=60)
    contacts = [
        Contact(user_id=each, first_name="Ada", language="en", channels=(Channel.EMAIL,), addresses={})
        for each in (root, other)
    ]
    made = notifications_of(notice, contacts, served=[Channel.EMAIL], now=datetime.now(UTC))

    await desk.hear(users.UserDeleted(user_id=root))
    async with desk.database.transaction() as tx:
        await store.settle_notice(tx, notice, made)

    assert [each.user_id for each in await desk.history()] == [other]
    await desk.hear(users.UserDeleted(user_id=other))
    assert await kept(desk) == {"notices": 1, "notifications": 0}


async def test_whoever_hears_of_them_while_they_are_forgotten_comes_before_or_after(desk: Desk) -> None:
    first, second = str(uuid4()), str(uuid4())

    async with desk.database.transaction() as tx:
        assert await forgetting_store.remembered(tx, {first}) == {first}
        forgetting = asyncio.create_task(desk.hear(users.UserDeleted(user_id=first)))
        await somebody_waits(desk.database)
        await tx.execute(
            text(
                "insert into notices values (gen_random_uuid(), 'welcome', :id, '', '{}', now(), now(), 0)"
            ).bindparams(id=first)
        )
    await forgetting
    async with desk.database.transaction() as tx:
        await forgetting_store.forget(tx, second)
        hearing = asyncio.create_task(desk.hear(confirmed(second)))
        await somebody_waits(desk.database)
    await hearing

    assert await kept(desk) == {"notices": 0, "notifications": 0}


async def test_hearing_it_again_changes_nothing_and_thousands_of_rows_go_at_once(desk: Desk) -> None:
    ada = str(uuid4())
    many_notices = f"""
        insert into notices
        select gen_random_uuid(), 'welcome', case when n % 2 = 0 then '{ada}' else 'u' || n end, '', '{{}}', now(),
               null, 1
        from generate_series(1, 6000) n
    """
    await filled(desk.database, many_notices, MANY_TOLD)

    event_id = await desk.hear(users.UserDeleted(user_id=ada))
    for again in (event_id, ""):
        await desk.hear(users.UserDeleted(user_id=ada), event_id=again)

    assert await kept(desk) == {"notices": 3000, "notifications": 3000}
