"""Who somebody is, and where, is known to `users` only: mails to a name like no other, then the search."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from prometheus_client import generate_latest
from shop.users.v1 import users_pb2
from sqlalchemy import text

from tests.mesh.services.notifications.parts import confirmed, desk
from weft.telemetry import RecentSpans, Tracing
from weft.telemetry.log import _Json, _Pretty

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    import pytest

    from tests.mesh.services.conftest import Users
    from tests.mesh.services.notifications.providers import MailServer, Receiver
    from weft.data import Database

    Eventually = Callable[[Callable[[], Awaitable[bool]]], Awaitable[None]]

WORDS = ["Xanthippe", "quetzal.coatl", "491709876", "pushtokenzz"]


async def test_who_was_told_is_kept_by_a_number_and_said_nowhere(
    empty_database: Callable[[str], Awaitable[Database]],
    users: Users,
    mail: MailServer,
    receiver: Receiver,
    secret_file: Path,
    eventually: Eventually,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level(logging.DEBUG)
    caplog.set_level(logging.WARNING, "mail.log")  # the tests' own server
    caplog.set_level(logging.WARNING, "asyncio")
    spans = RecentSpans()
    database = await empty_database("notifications")
    mail.to_mails = ["451 quetzal.coatl@example.com is busy", "550 Xanthippe has left"]
    receiver.answers = [500, 400]

    async with desk(database, users, Tracing("test", ratio=1, exporters=[spans])) as shop:
        somebody = await shop.given(
            "quetzal.coatl@example.com",
            first_name=WORDS[0],
            channels=[users_pb2.CHANNEL_EMAIL, users_pb2.CHANNEL_SMS, users_pb2.CHANNEL_PUSH],
            phone_number="+491709876543",
            push_token="pushtokenzz",
        )
        settings: dict[str, Any] = {
            "sms_url": receiver.url,
            "push_url": receiver.url,
            "webhook_secret_file": secret_file,
        }
        async with shop.at_work(mail_url=mail.url, **settings):
            for _ in range(3):
                await shop.hear(confirmed(somebody))

            async def all_ended() -> bool:
                return len(await shop.history()) == 9 and "PENDING" not in {state for _, state in await shop.states()}

            await eventually(all_ended)
        assert {state for _, state in await shop.states()} == {"SENT", "FAILED"}

    assert mail.taken
    assert WORDS[0] in mail.taken[0].as_string()
    assert {each["to"] for each in receiver.bodies()} == {"+491709876543", "pushtokenzz"}
    places = {
        "logs": "\n".join(form.format(record) for record in caplog.records for form in (_Json(), _Pretty())),
        "standard output": "".join(capfd.readouterr()),
        "spans": spans.to_json(),
        "metrics": generate_latest().decode(),
        **await tables(database),
    }
    assert {place: [word for word in WORDS if word in content] for place, content in places.items()} == {
        place: [] for place in places
    }
    assert "a notification failed for good" in places["logs"]
    assert "GetContact" in places["spans"]


async def tables(database: Database) -> dict[str, str]:
    async with database.transaction() as tx:
        names = await tx.all(text("select tablename from pg_tables where schemaname = 'public'"))
        rows = {name: await tx.all(text(f'select t::text from "{name}" t')) for (name,) in names}
    return {f"table {name}": "\n".join(map(str, found)) for name, found in rows.items()}
