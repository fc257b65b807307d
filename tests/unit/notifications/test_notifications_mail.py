from __future__ import annotations

import email
import hmac
from base64 import b64encode
from email import policy
from typing import TYPE_CHECKING

import pytest

from services.notifications.__main__ import Config
from services.notifications.mail import Sender, compose
from services.notifications.maildir import Maildir
from services.notifications.transport import Deferred, Refused
from services.notifications.webhook import signature
from tests.unit.notifications.samples import message
from weft.config import ConfigError, load

if TYPE_CHECKING:
    from email.message import EmailMessage
    from pathlib import Path

SENDER = Sender("Weft Shop <shop@example.com>")


def read(mail: bytes) -> EmailMessage:
    return email.message_from_bytes(mail, policy=policy.default)


def test_a_mail_has_both_forms_and_says_what_it_is() -> None:
    mail = read(compose(message(), SENDER).as_bytes())

    assert mail["From"] == "Weft Shop <shop@example.com>"
    assert mail["To"] == "ada@example.com"
    assert mail["Subject"] == "Ihre Bestellung 3f2a9c1e ist bestätigt"
    assert mail["Message-ID"] == "<00000000-0000-0000-0000-000000000001@example.com>"
    assert mail["Date"] == "Sat, 21 Nov 2026 09:30:00 +0000"
    assert (mail["Auto-Submitted"], mail["Content-Language"]) == ("auto-generated", "de")
    assert mail.get_content_type() == "multipart/alternative"
    assert [part.get_content_type() for part in mail.iter_parts()] == ["text/plain", "text/html"]
    assert "Vielen Dank für Ihre Bestellung" in next(mail.iter_parts()).get_content()


def test_the_same_notification_is_the_same_bytes_and_lines_are_short() -> None:
    mail = compose(message(), SENDER).as_bytes()

    assert compose(message(), SENDER).as_bytes() == mail
    assert max(map(len, mail.splitlines())) <= 998, "RFC 5322 section 2.1.1"


def test_no_name_or_address_adds_a_header() -> None:
    evil = "Ada\r\nBcc: everybody@example.com"

    mail = read(compose(message(first_name=evil, subject=evil), SENDER).as_bytes())

    assert mail.keys() == read(compose(message(), SENDER).as_bytes()).keys()
    assert mail["Bcc"] is None


@pytest.mark.parametrize(
    "address",
    [
        "",
        "ada",
        "@example.com",
        "ada@",
        "ada@example.com\r\nBcc: b@example.com",
        "ada@example.com, b@example.com",
        "Ada <ada@example.com>",
        "ada@exa mple.com",
        f"ada@{'a' * 70}.com",
    ],
)
def test_what_is_no_address_is_refused_for_good_and_not_repeated(address: str) -> None:
    with pytest.raises(Refused) as refused:
        compose(message(address), SENDER)

    assert refused.value.reason == "ADDRESS_INVALID"
    assert "example" not in str(refused.value)


def test_addresses_beyond_ascii_are_written_as_mail_knows_them() -> None:
    domain = read(compose(message("ada@bücher.example"), SENDER).as_bytes())
    mailbox = compose(message("müller@bücher.example"), SENDER).as_bytes()

    assert domain["To"] == "ada@xn--bcher-kva.example"
    assert "To: müller@xn--bcher-kva.example".encode() in mailbox


@pytest.mark.parametrize("text", ["", "Weft Shop", "shop@", "a b@c d"])
def test_a_sender_needs_an_address(text: str) -> None:
    with pytest.raises(ValueError, match="not an e-mail address"):
        Sender(text)


async def test_a_mail_that_is_sent_again_is_in_its_folder_once(tmp_path: Path) -> None:
    folder = Maildir(tmp_path / "mail", SENDER)

    for _ in range(3):
        await folder.send(message())
    await folder.send(message(number=2))

    (one, two) = sorted((tmp_path / "mail" / "new").iterdir())
    assert (one.stat().st_mode & 0o777, (tmp_path / "mail").stat().st_mode & 0o777) == (0o600, 0o700)
    assert read(one.read_bytes())["Message-ID"] != read(two.read_bytes())["Message-ID"]
    assert b"\r" not in one.read_bytes()
    assert list((tmp_path / "mail" / "tmp").iterdir()) == []


async def test_a_mail_that_was_read_is_not_delivered_again(tmp_path: Path) -> None:
    folder = Maildir(tmp_path, SENDER)
    await folder.send(message())
    (delivered,) = (tmp_path / "new").iterdir()
    delivered.rename(tmp_path / "cur" / f"{delivered.name}:2,S")

    await folder.send(message())

    assert list((tmp_path / "new").iterdir()) == []


async def test_a_folder_that_is_gone_is_tried_again_later(tmp_path: Path) -> None:
    folder = Maildir(tmp_path / "mail", SENDER)
    (tmp_path / "mail" / "tmp").rmdir()

    with pytest.raises(Deferred) as deferred:
        await folder.send(message())

    assert deferred.value.reason == "MAILDIR_UNAVAILABLE"


def test_a_webhook_is_signed_as_standard_webhooks_says() -> None:
    expected = b64encode(hmac.digest(b"secret", b"id.1700000000.{}", "sha256")).decode()

    assert signature(b"secret", "id", "1700000000", b"{}") == f"v1,{expected}"


@pytest.mark.parametrize("url", ["maildir:///var/mail", "smtp://mail.example.com", "smtps://u:p@mail.example.com:465"])
def test_mail_goes_where_the_operator_says(url: str) -> None:
    assert load(Config, {"NOTIFICATIONS_MAIL_URL": url}, "NOTIFICATIONS").mail_url == url


def test_wrong_settings_are_reported_together_and_no_password_is_repeated() -> None:
    env = {
        "NOTIFICATIONS_MAIL_URL": "imap://user:geheim@mail.example.com",
        "NOTIFICATIONS_MAIL_FROM": "nobody",
        "NOTIFICATIONS_SMS_URL": "ftp://user:geheim@sms.example.com",
    }

    with pytest.raises(ConfigError) as wrong:
        load(Config, env, "NOTIFICATIONS")

    assert len(wrong.value.problems) == 4
    assert "geheim" not in str(wrong.value)
    assert "geheim" not in repr(load(Config, {"NOTIFICATIONS_MAIL_URL": "smtp://u:geheim@h"}, "NOTIFICATIONS"))
