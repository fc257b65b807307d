"""From events to mails, by a real SMTP server."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest
from shop.inventory.v1 import events_pb2 as inventory
from shop.notifications.v1 import notifications_pb2 as pb
from shop.orders.v1 import events_pb2 as orders
from shop.payments.v1 import events_pb2 as payments
from shop.shipping.v1 import events_pb2 as shipping
from shop.users.v1 import events_pb2 as users_events
from shop.users.v1 import users_pb2
from sqlalchemy import text as sql

from services.users.__main__ import ensure_admin
from tests.mesh.services.calls import refusal
from tests.mesh.services.notifications.parts import confirmed, euros
from tests.mesh.services.notifications.providers import MailServer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.mesh.services.notifications.parts import Desk

    Eventually = Callable[[Callable[[], Awaitable[bool]]], Awaitable[None]]


async def test_a_shopper_is_told_of_everything_that_happens_to_an_order(
    desk: Desk, mail: MailServer, eventually: Eventually
) -> None:
    ada = await desk.given()
    ids = {"order_id": str(uuid4()), "user_id": ada}

    async with desk.at_work(mail_url=mail.url):
        await desk.hear(users_events.UserRegistered(user_id=ada))
        await desk.hear(confirmed(ada, ids["order_id"]))
        await desk.hear(shipping.ShipmentDispatched(**ids, tracking_number="SIM7"))
        await desk.hear(shipping.ShipmentDelivered(**ids, tracking_number="SIM7"))
        await desk.hear(payments.PaymentRefunded(**ids, amount=euros(5), refunded=euros(5)))
        await desk.hear(orders.OrderCancelled(**ids, reason="PAYMENT_DECLINED", total=euros(5)))
        await desk.hear(orders.OrderCancelled(**ids, reason="CANCELLED_BY_USER", total=euros(5)))
        await eventually(lambda: desk.are("SENT", 6))

    short = ids["order_id"][:8]
    assert {each["Subject"] for each in mail.to("ada@example.com")} == {
        "Welcome to Weft Shop",
        f"Your order {short} is confirmed",
        f"Your order {short} is on its way",
        f"Your order {short} was delivered",
        "We refunded 5.00 EUR",
        f"Your payment for order {short} failed",
    }
    assert len(mail.taken) == 6
    told = {each.template: each for each in await desk.history(ada)}
    assert {each.subject for name, each in told.items() if name != "welcome"} == {ids["order_id"]}
    assert {each["Message-ID"] for each in mail.taken} == {
        f"<{each.notification_id}@example.com>" for each in told.values()
    }
    assert {(each.language, each.attempts, each.failure_reason, each.channel) for each in told.values()} == {
        ("en", 1, "", users_pb2.CHANNEL_EMAIL)
    }
    (bought,) = [each for each in mail.taken if "confirmed" in each["Subject"]]
    text = bought.get_body(("plain",))
    assert text is not None
    assert "2 x Stoneware mug, blue (MUG-BLUE): 29.00 EUR" in text.get_content()


async def test_low_stock_is_told_to_every_administrator_in_their_language_and_to_nobody_else(
    desk: Desk, mail: MailServer, eventually: Eventually
) -> None:
    await desk.given()
    for number in range(3):
        await ensure_admin(desk.users.database, desk.users.passwords, f"admin{number}@example.com", "correct horse")
    async with desk.users.database.transaction() as tx:
        await tx.execute(sql("update users set language = 'de' where email = 'admin1@example.com'"))
        await tx.execute(sql("update users set state = 'deactivated' where email = 'admin2@example.com'"))

    async with desk.at_work(mail_url=mail.url):
        await desk.hear(inventory.StockLow(sku="LAMP", on_hand=3, low_stock_threshold=5))
        await eventually(lambda: desk.are("SENT", 2))

    assert {each["To"]: each["Subject"] for each in mail.taken} == {
        "admin0@example.com": "LAMP is running low",
        "admin1@example.com": "LAMP geht zur Neige",
    }


async def test_a_shop_without_administrators_tells_nobody(desk: Desk, mail: MailServer, eventually: Eventually) -> None:
    async with desk.at_work(mail_url=mail.url):
        await desk.hear(inventory.StockLow(sku="LAMP", on_hand=3, low_stock_threshold=5))

        async def is_settled() -> bool:
            return not await desk.rows("select 1 from notices where due_time is not null")

        await eventually(is_settled)

    assert await desk.history() == []


async def test_an_event_that_comes_again_is_told_once(desk: Desk, mail: MailServer, eventually: Eventually) -> None:
    ada, event_id = await desk.given(), str(uuid4())

    async with AsyncExitStack() as replicas:
        for _ in range(3):
            await replicas.enter_async_context(desk.at_work(mail_url=mail.url))
        await asyncio.gather(*(desk.hear(confirmed(ada, "o"), event_id=event_id) for _ in range(5)))
        await desk.hear(users_events.UserRegistered(user_id=ada))
        await eventually(lambda: desk.are("SENT", 2))
        await desk.hear(confirmed(ada, "o"), event_id=event_id)

    assert len(mail.taken) == len(await desk.history()) == 2


async def test_many_replicas_share_the_work_and_nobody_is_told_twice(
    desk: Desk, mail: MailServer, eventually: Eventually
) -> None:
    ada = await desk.given()
    for _ in range(60):
        await desk.hear(confirmed(ada))

    async with AsyncExitStack() as replicas:
        for _ in range(4):
            await replicas.enter_async_context(desk.at_work(mail_url=mail.url))
        await eventually(lambda: desk.are("SENT", 50))

        async def are_all() -> bool:
            return bool((await desk.rows("select count(*) = 60 from notifications where state = 'sent'"))[0][0])

        await eventually(are_all)

    ids = [each["Message-ID"] for each in mail.taken]
    assert len(ids) == len(set(ids)) == 60


async def test_the_language_is_the_one_preferred_when_it_is_written(
    desk: Desk, mail: MailServer, eventually: Eventually
) -> None:
    await desk.hear(confirmed(await desk.given("a@example.com", language="de-AT"), "o"))
    await desk.hear(confirmed(await desk.given("b@example.com", language="fr"), "o"))

    async with desk.at_work(mail_url=mail.url):
        await eventually(lambda: desk.are("SENT", 2))

    assert {(each["To"], each["Content-Language"]) for each in mail.taken} == {
        ("a@example.com", "de"),
        ("b@example.com", "en"),
    }
    assert {each.language for each in await desk.history()} == {"de", "en"}


async def test_hostile_names_arrive_as_names(desk: Desk, mail: MailServer, eventually: Eventually) -> None:
    ada = await desk.given(first_name="<b>Ada\r\nBcc: eve@example.com")
    await desk.hear(confirmed(ada, "o", name="<img src=x onerror=alert(1)>\r\n\r\n.\r\nMAIL FROM:<eve@example.com>"))

    async with desk.at_work(mail_url=mail.url):
        await eventually(lambda: desk.are("SENT"))

    assert mail.recipients == ["ada@example.com"]
    (one,) = mail.taken
    assert one["Bcc"] is None
    html = one.get_body(("html",))
    assert html is not None
    assert "&lt;img src=x onerror=alert(1)&gt;" in html.get_content()
    assert "<img" not in html.get_content()


async def test_a_marketing_preference_is_about_other_mails(
    desk: Desk, mail: MailServer, eventually: Eventually
) -> None:
    ada = await desk.given(marketing=False)

    async with desk.at_work(mail_url=mail.url):
        await desk.hear(users_events.UserRegistered(user_id=ada))
        await eventually(lambda: desk.are("SENT"))

    assert len(mail.taken) == 1


@pytest.mark.parametrize("user_id", [str(uuid4()), "not-a-uuid"])
async def test_a_user_who_is_not_there_is_a_failure_for_good(
    desk: Desk, mail: MailServer, eventually: Eventually, user_id: str
) -> None:
    async with desk.at_work(mail_url=mail.url):
        await desk.hear(users_events.UserRegistered(user_id=user_id))
        await eventually(lambda: desk.are("FAILED"))

    assert [each.failure_reason for each in await desk.history()] == ["USER_NOT_FOUND"]
    assert mail.taken == []


async def test_as_long_as_users_is_away_events_are_taken_and_nobody_is_forgotten(
    desk: Desk, mail: MailServer, eventually: Eventually
) -> None:
    ada = await desk.given()

    async with desk.at_work(mail_url=mail.url, users_at="127.0.0.1:1"):
        await desk.hear(confirmed(ada))

        async def was_tried() -> bool:
            return bool(await desk.rows("select 1 from notices where attempts > 1"))

        await eventually(was_tried)
    assert mail.taken == []

    async with desk.at_work(mail_url=mail.url):
        await eventually(lambda: desk.are("SENT"))
    assert len(mail.taken) == 1


async def test_administrators_read_who_was_told_what_page_by_page(
    desk: Desk, mail: MailServer, eventually: Eventually
) -> None:
    ada, ben = await desk.given(), await desk.given("ben@example.com")
    async with desk.at_work(mail_url=mail.url):
        for number in range(3):
            await desk.hear(confirmed(ada, f"order-{number}"))
        await desk.hear(confirmed(ben, "order-of-ben"))
        await eventually(lambda: desk.are("SENT", 4))

    pages: list[list[pb.Notification]] = []
    token = ""
    while not pages or token:
        request = pb.ListNotificationsRequest(user_id=ada.upper(), page_size=2, page_token=token)
        page = await desk.admin.ListNotifications(request)
        pages.append(list(page.notifications))
        token = page.next_page_token

    assert [len(page) for page in pages] == [2, 1]
    read = [each for page in pages for each in page]
    assert {each.subject for each in read} == {"order-0", "order-1", "order-2"}
    times = [each.create_time.ToNanoseconds() for each in read]
    assert times == sorted(times, reverse=True)
    assert len(await desk.history()) == 4
    others = (await desk.admin.ListNotifications(pb.ListNotificationsRequest(page_size=2))).next_page_token
    wrong = await refusal(desk.admin.ListNotifications(pb.ListNotificationsRequest(user_id=ada, page_token=others)))
    assert wrong.reason == "PAGE_TOKEN_INVALID"
    assert (await refusal(desk.calls(ada).ListNotifications(pb.ListNotificationsRequest()))).code == "PERMISSION_DENIED"
