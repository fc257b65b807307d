"""The whole way: an account is made, users tells of it by a real broker, and a mail arrives. And how rows are found."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from shop.notifications.v1 import notifications_pb2
from sqlalchemy import text

from services.notifications import store
from tests.mesh.events.conftest import NatsServer
from tests.mesh.services.test_statements import filled, plan
from weft.contract import read_contract
from weft.events import Outbox, ServiceEvents, open_broker

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from tests.mesh.services.notifications.parts import Desk
    from tests.mesh.services.notifications.providers import MailServer
    from weft.data import Database

    Eventually = Callable[[Callable[[], Awaitable[bool]]], Awaitable[None]]

MANY_NOTICES = """
    insert into notices
    select gen_random_uuid(), 'welcome', 'user-' || n % 100, '', '{}', now() - n * interval '1 minute',
           case when n % 100 = 0 then now() end, 1
    from generate_series(1, 5000) n
"""
MANY_NOTIFICATIONS = """
    insert into notifications
    select gen_random_uuid(), event_id, user_id, 'email', 'en',
           case when due_time is null then 'sent' else 'pending' end, 1, '', create_time, create_time, due_time
    from notices
"""


@pytest.fixture(scope="module", name="nats")
def _nats() -> Iterator[NatsServer]:
    with TemporaryDirectory() as folder:
        server = NatsServer(Path(folder))
        server.start()
        yield server
        server.kill()


async def test_whoever_registers_is_welcomed_once_however_often_the_broker_tells_of_it(
    desk: Desk, mail: MailServer, nats: NatsServer, eventually: Eventually
) -> None:
    file = FileDescriptorProto()
    notifications_pb2.DESCRIPTOR.CopyToProto(file)
    (service,) = read_contract([file]).services
    async with (
        open_broker(nats.url, name="users") as of_users,
        open_broker(nats.url, name="notifications") as of_notifications,
        desk.at_work(mail_url=mail.url) as office,
        asyncio.TaskGroup() as group,
    ):
        said = ServiceEvents(
            database=desk.users.database,
            outbox=Outbox("users"),
            subscriptions=(),
            handlers={},
            broker=of_users,
            tracing=desk.tracing,
        )
        heard = ServiceEvents(
            database=desk.database,
            outbox=Outbox("notifications"),
            subscriptions=service.subscriptions,
            handlers=office.handlers,
            broker=of_notifications,
            tracing=desk.tracing,
        )
        loops = [group.create_task(each.run()) for each in (said, heard)]
        user_id = await desk.given()
        await eventually(lambda: desk.are("SENT"))
        await desk.users.rows("update outbox set publish_time = null returning 1")
        other = await desk.given("ben@example.com")
        await eventually(lambda: desk.are("SENT", 2))
        for loop in loops:
            loop.cancel()

    assert [each["Subject"] for each in mail.to("ada@example.com")] == ["Welcome to Weft Shop"]
    assert {each.user_id for each in await desk.history()} == {user_id, other}


async def test_what_is_due_and_what_was_told_is_read_from_indexes(
    empty_database: Callable[[str], Awaitable[Database]],
) -> None:
    database = await filled(await empty_database("notifications"), MANY_NOTICES, MANY_NOTIFICATIONS)
    after = {"create_time": datetime.now(UTC), "notification_id": uuid4()}

    assert "notices_due" in await plan(database, store._ANY_NOTICE_DUE)
    assert "Seq Scan" not in await plan(database, store._ANY_DUE, by_channel="email")
    assert "Seq Scan on notifications" not in await plan(database, store._OLDEST)
    for page in (
        await plan(database, store._PAGES[False, False], limit=51),
        await plan(database, store._PAGES[False, True], limit=51, **after),
    ):
        assert "notifications_by_create_time" in page
        assert "Sort" not in page
    for page in (
        await plan(database, store._PAGES[True, False], limit=51, user_id="user-7"),
        await plan(database, store._PAGES[True, True], limit=51, user_id="user-7", **after),
    ):
        assert "notifications_by_user" in page
    async with database.transaction() as tx:
        leased = await store.lease_notices(tx, limit=10, lease_s=60)
        again = await store.lease_notices(tx, limit=1000, lease_s=60)
        told = await tx.all(text("select count(*) from notices where attempts = 2"))
    assert (len(leased), len(again), told) == (10, 40, [(50,)])
