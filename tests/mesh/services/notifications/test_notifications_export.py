"""What notifications says it holds about somebody."""

from __future__ import annotations

from datetime import UTC
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from shop.notifications.v1 import notifications_pb2 as pb
from shop.notifications.v1 import notifications_pb2_grpc
from shop.users.v1 import events_pb2 as users

from services.exporting import EXPORT_PAGE
from tests.mesh.services.calls import Calls, refusal
from tests.mesh.services.forgetting import exported
from tests.mesh.services.notifications.parts import confirmed
from tests.mesh.services.test_statements import filled

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.mesh.services.notifications.parts import Desk
    from tests.mesh.services.notifications.providers import MailServer


MANY_TOLD = """
    insert into notifications
    select gen_random_uuid(), event_id, user_id, 'email', 'en', 'sent', 1, '', create_time, create_time, null
    from notices
"""


async def export(desk: Desk, user_id: str) -> list[Any]:
    stub = notifications_pb2_grpc.NotificationsServiceStub(desk.server.channel)
    asked = Calls(stub, desk.server.service_token("users"))
    return await exported(asked, pb.ExportUserDataRequest(user_id=user_id), pb.Notification)


async def test_everything_somebody_was_told_is_exported_newest_first(
    desk: Desk, mail: MailServer, eventually: Callable[[Callable[[], Awaitable[bool]]], Awaitable[None]]
) -> None:
    ada, ben = await desk.given(), await desk.given("ben@example.com")
    async with desk.at_work(mail_url=mail.url):
        for number, user_id in enumerate((ada, ben, ada), 1):
            await desk.hear(confirmed(user_id))
            await eventually(lambda count=number: desk.are("SENT", count))  # type: ignore[misc]  # its default is its type

    found = await export(desk, ada)

    assert found == await desk.history(ada)
    assert len(found) == 2
    assert await export(desk, ada.upper()) == found
    await desk.hear(users.UserDeleted(user_id=ada))
    assert await export(desk, ada) == await export(desk, str(uuid4())) == []


async def test_only_users_may_ask(desk: Desk) -> None:
    ada = await desk.given()
    stub = notifications_pb2_grpc.NotificationsServiceStub(desk.server.channel)
    for calls in (desk.calls(ada), desk.admin, Calls(stub, desk.server.service_token("orders"))):
        stream = calls.ExportUserData(pb.ExportUserDataRequest(user_id=ada))
        assert (await refusal(stream.read())).code in {"PERMISSION_DENIED", "UNAUTHENTICATED"}


async def test_thousands_are_exported_in_pages_each_once(desk: Desk) -> None:
    ada = str(uuid4())
    many_notices = f"""
        insert into notices
        select gen_random_uuid(), 'welcome', case when n % 2 = 0 then '{ada}' else 'u' || n end, '', '{{}}',
               now() - n / 7 * interval '1 minute', null, 1
        from generate_series(1, 5000) n
    """
    await filled(desk.database, many_notices, MANY_TOLD)

    found = await export(desk, ada)

    assert len(found) == len({each.notification_id for each in found}) == 2500 > 10 * EXPORT_PAGE
    assert {each.user_id for each in found} == {ada}
    times = [each.create_time.ToDatetime(UTC) for each in found]
    assert times == sorted(times, reverse=True)
