"""What becomes of notifications where something fails: a provider, a channel, the process."""

from __future__ import annotations

import asyncio
import hmac
import json
import mailbox
import sys
from base64 import b64encode
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from prometheus_client import REGISTRY
from shop.users.v1 import users_pb2

from services.notifications.sending import Pace
from tests.mesh.services.notifications.conftest import SECRET
from tests.mesh.services.notifications.parts import confirmed

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.mesh.services.notifications.parts import Desk
    from tests.mesh.services.notifications.providers import MailServer, Receiver

    Eventually = Callable[[Callable[[], Awaitable[bool]]], Awaitable[None]]

ROOT = Path(__file__).parents[4]
SMS = users_pb2.CHANNEL_SMS
PUSH = users_pb2.CHANNEL_PUSH
PHONE = "+4917012345678"


async def test_a_mail_server_that_is_away_or_busy_gets_the_mail_later(
    desk: Desk, mail: MailServer, eventually: Eventually
) -> None:
    await desk.hear(confirmed(await desk.given()))
    mail.to_mails = ["451 try again", "452 no room"]

    async with desk.at_work(mail_url="smtp://127.0.0.1:1"):

        async def failed_once() -> bool:
            return any(each.failure_reason == "SERVER_UNAVAILABLE" for each in await desk.history())

        await eventually(failed_once)
    async with desk.at_work(mail_url=mail.url):
        await eventually(lambda: desk.are("SENT"))

    assert len(mail.taken) == 1
    (told,) = await desk.history()
    assert told.attempts >= 4
    assert told.failure_reason == ""


@pytest.mark.parametrize(
    ("faults", "reason"),
    [
        ({"to_recipients": {"ada@example.com": "550 no such user ada@example.com"}}, "RECIPIENT_REFUSED"),
        ({"to_mails": ["554 looks like spam"]}, "MESSAGE_REFUSED"),
    ],
)
async def test_what_a_server_refuses_for_good_is_not_tried_again(
    desk: Desk, mail: MailServer, eventually: Eventually, faults: dict[str, Any], reason: str
) -> None:
    vars(mail).update(faults)
    await desk.hear(confirmed(await desk.given()))

    async with desk.at_work(mail_url=mail.url):
        await eventually(lambda: desk.are("FAILED"))

    (told,) = await desk.history()
    assert (told.failure_reason, told.attempts) == (reason, 1)
    assert mail.taken == []


async def test_what_was_tried_for_a_day_is_given_up(desk: Desk, eventually: Eventually) -> None:
    await desk.hear(confirmed(await desk.given()))

    async with desk.at_work(mail_url="smtp://127.0.0.1:1"):

        async def was_tried() -> bool:
            return bool(await desk.history())

        await eventually(was_tried)
        await desk.rows("update notifications set create_time = now() - interval '1 day' returning 1")
        await eventually(lambda: desk.are("FAILED"))

    assert (await desk.history())[0].failure_reason == "SERVER_UNAVAILABLE"


async def test_a_channel_that_hangs_holds_nobody_else_up(
    desk: Desk, mail: MailServer, receiver: Receiver, secret_file: Path, eventually: Eventually
) -> None:
    receiver.held.clear()
    by_sms = await desk.given("sms@example.com", channels=[SMS], phone_number=PHONE)
    by_mail = await desk.given("mail@example.com")
    for _ in range(20):
        await desk.hear(confirmed(by_sms))
    for _ in range(20):
        await desk.hear(confirmed(by_mail))

    async with desk.at_work(mail_url=mail.url, sms_url=receiver.url, webhook_secret_file=secret_file):

        async def all_mails() -> bool:
            return len(mail.taken) == 20

        await eventually(all_mails)
        assert {state for (state,) in await desk.rows("select state from notifications where channel = 'sms'")} <= {
            "pending"
        }
        assert len(receiver.posts) <= 4 * 3, "few at a time"
        receiver.held.set()
        await eventually(lambda: desk.are("SENT", 40))

    assert len({headers["idempotency-key"] for headers, _ in receiver.posts}) == 20


async def test_sms_and_push_are_posted_signed_and_with_a_key_for_repeats(
    desk: Desk, mail: MailServer, receiver: Receiver, secret_file: Path, eventually: Eventually
) -> None:
    ada = await desk.given(language="de", channels=[SMS, PUSH], phone_number=PHONE, push_token="token-1")
    receiver.answers = [503, 429]
    order_id = str(uuid4())

    settings: dict[str, Any] = {"sms_url": receiver.url, "push_url": receiver.url, "webhook_secret_file": secret_file}
    async with desk.at_work(mail_url=mail.url, **settings):
        await desk.hear(confirmed(ada, order_id))
        await eventually(lambda: desk.are("SENT", 2))

    assert mail.taken == []
    assert len(receiver.posts) == 4
    for headers, body in receiver.posts:
        signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
        mac = b64encode(hmac.digest(SECRET, signed, "sha256")).decode()
        assert headers["webhook-signature"] == f"v1,{mac}"
        assert headers["idempotency-key"] == headers["webhook-id"] == json.loads(body)["notification_id"]
        assert abs(int(headers["webhook-timestamp"]) - datetime.now(UTC).timestamp()) < 60
    by_id = {each["notification_id"]: each for each in receiver.bodies()}
    assert len(by_id) == 2
    assert {(each["channel"], each["to"]) for each in by_id.values()} == {("sms", PHONE), ("push", "token-1")}
    short = f"Ihre Bestellung {order_id[:8]} über 33,90 EUR ist bestätigt."
    assert {(each["text"], each["language"]) for each in by_id.values()} == {(short, "de")}


@pytest.mark.parametrize(("status", "state"), [(400, "FAILED"), (422, "FAILED"), (302, "SENT"), (401, "SENT")])
async def test_a_webhooks_refusal_is_final_only_where_it_is_about_the_message(
    desk: Desk,
    mail: MailServer,
    receiver: Receiver,
    secret_file: Path,
    eventually: Eventually,
    status: int,
    state: str,
) -> None:
    receiver.answers = [status]
    await desk.hear(confirmed(await desk.given(channels=[SMS], phone_number=PHONE)))

    async with desk.at_work(mail_url=mail.url, sms_url=receiver.url, webhook_secret_file=secret_file):
        await eventually(lambda: desk.are(state))


async def test_whoever_prefers_a_channel_that_this_shop_has_not_gets_a_mail(
    desk: Desk, mail: MailServer, eventually: Eventually
) -> None:
    await desk.hear(confirmed(await desk.given(channels=[SMS], phone_number=PHONE)))

    async with desk.at_work(mail_url=mail.url):
        await eventually(lambda: desk.are("SENT"))

    assert len(mail.to("ada@example.com")) == 1


async def test_a_telephone_that_was_forgotten_meanwhile_is_a_failure(
    desk: Desk, mail: MailServer, receiver: Receiver, secret_file: Path, eventually: Eventually
) -> None:
    receiver.held.clear()
    ada = await desk.given(channels=[SMS], phone_number=PHONE)
    await desk.hear(confirmed(ada))
    receiver.answers = [503]

    async with desk.at_work(mail_url=mail.url, sms_url=receiver.url, webhook_secret_file=secret_file):

        async def is_under_way() -> bool:
            return bool(receiver.posts)

        await eventually(is_under_way)
        await desk.users.rows("update users set phone_number = '' returning 1")
        receiver.held.set()
        await eventually(lambda: desk.are("FAILED"))

    assert (await desk.history())[0].failure_reason == "NO_ADDRESS"


async def kill_after_sending(desk: Desk, url: str, channel: str, address: str, settings: Any) -> None:
    """Run a replica in a process that is killed when its first message was taken, and before it notes so."""
    told = {"database": url, "channel": channel, "address": address, "lease_s": 1.0, "settings": settings}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.mesh.services.notifications.worker",
        json.dumps(told),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stdout
        async with asyncio.timeout(30):
            while (line := await process.stdout.readline()) != b"taken\n":
                assert line, "it ended"
    finally:
        process.kill()
        await process.wait()
    ((state, attempts),) = await desk.rows("select state, attempts from notifications")
    assert (state, attempts) == ("pending", 1), "nobody knows that it was sent"


@pytest.fixture(name="url")
def _url(database_url: Callable[[str], str]) -> str:
    return database_url("notifications")


async def test_a_kill_between_sending_and_noting_sends_the_same_mail_again_under_the_same_message_id(
    desk: Desk, mail: MailServer, url: str, eventually: Eventually
) -> None:
    await desk.hear(confirmed(await desk.given()))

    await kill_after_sending(desk, url, "email", "ada@example.com", {"mail_url": mail.url})
    async with desk.at_work(mail_url=mail.url):
        await eventually(lambda: desk.are("SENT"))

    first, second = mail.taken
    assert first["Message-ID"] == second["Message-ID"]
    assert first.as_bytes() == second.as_bytes()
    assert (await desk.history())[0].attempts == 2


async def test_in_a_maildir_it_is_there_once(desk: Desk, tmp_path: Path, url: str, eventually: Eventually) -> None:
    await desk.hear(confirmed(await desk.given()))
    mail_url = (tmp_path / "mail box").as_uri().replace("file:", "maildir:")

    await kill_after_sending(desk, url, "email", "ada@example.com", {"mail_url": mail_url})
    before = mailbox.Maildir(tmp_path / "mail box", create=False).keys()
    async with desk.at_work(mail_url=mail_url):
        await eventually(lambda: desk.are("SENT"))

    box = mailbox.Maildir(tmp_path / "mail box", create=False)
    assert len(before) == 1
    assert box.keys() == before
    assert box[before[0]]["Message-ID"] == f"<{(await desk.history())[0].notification_id}@example.com>"


async def test_by_a_webhook_it_comes_again_under_the_same_key(
    desk: Desk, mail: MailServer, receiver: Receiver, secret_file: Path, url: str, eventually: Eventually
) -> None:
    await desk.hear(confirmed(await desk.given(channels=[SMS], phone_number=PHONE)))
    settings: dict[str, Any] = {"mail_url": mail.url, "sms_url": receiver.url, "webhook_secret_file": str(secret_file)}

    await kill_after_sending(desk, url, "sms", PHONE, settings)
    async with desk.at_work(**settings | {"webhook_secret_file": secret_file}):
        await eventually(lambda: desk.are("SENT"))

    first, second = receiver.posts
    assert first[0]["idempotency-key"] == second[0]["idempotency-key"]
    assert first[1] == second[1]


async def test_a_process_that_is_stopped_notes_what_it_is_just_sending(
    desk: Desk, mail: MailServer, receiver: Receiver, secret_file: Path, eventually: Eventually
) -> None:
    receiver.held.clear()
    await desk.hear(confirmed(await desk.given(channels=[SMS], phone_number=PHONE)))

    async with desk.at_work(mail_url=mail.url, sms_url=receiver.url, webhook_secret_file=secret_file):

        async def is_under_way() -> bool:
            return bool(receiver.posts)

        await eventually(is_under_way)
        asyncio.get_running_loop().call_later(0.1, receiver.held.set)

    assert await desk.are("SENT")


async def test_a_replica_that_is_overtaken_changes_nothing_but_what_it_knows_to_be_sent(
    desk: Desk, mail: MailServer, receiver: Receiver, secret_file: Path, eventually: Eventually
) -> None:
    receiver.held.clear()
    await desk.hear(confirmed(await desk.given(channels=[SMS], phone_number=PHONE)))
    hasty = Pace(lease_s=0.2, send_s=5.0, poll_s=0.05, finish_s=5.0)

    async with desk.at_work(pace=hasty, mail_url=mail.url, sms_url=receiver.url, webhook_secret_file=secret_file):

        async def came_twice() -> bool:
            return len(receiver.posts) >= 2

        await eventually(came_twice)
        receiver.answers = [204, 400, 400, 400, 400]
        receiver.held.set()
        await eventually(lambda: desk.are("SENT"))

    assert len({headers["idempotency-key"] for headers, _ in receiver.posts}) == 1
    assert await desk.are("SENT")


async def test_what_is_counted_is_how_attempts_end_and_how_long_somebody_waits(
    desk: Desk, mail: MailServer, eventually: Eventually
) -> None:
    def count(outcome: str) -> float:
        labels = {"channel": "email", "template": "order_confirmed", "outcome": outcome}
        return REGISTRY.get_sample_value("notifications_attempts_total", labels) or 0.0

    def oldest(channel: str) -> float:
        return REGISTRY.get_sample_value("notifications_oldest_pending_seconds", {"channel": channel}) or 0.0

    before = {outcome: count(outcome) for outcome in ("sent", "failed", "retried")}
    await desk.hear(confirmed(await desk.given()))
    await desk.rows("update notices set create_time = now() - interval '1 hour' returning 1")
    await desk.office({}).measure()
    assert 3600 <= oldest("none") < 3700
    mail.to_mails = ["451 try again"]
    async with desk.at_work(mail_url=mail.url):
        await eventually(lambda: desk.are("SENT"))
    await desk.office({}).measure()

    assert (oldest("none"), oldest("email")) == (0, 0)
    assert {outcome: count(outcome) - before[outcome] for outcome in before} == {"sent": 1, "failed": 0, "retried": 1}
