"""The run's own mail server keeps what it has said yes to, whatever is done to it."""

from __future__ import annotations

import os
import signal
import smtplib
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from scripts.lib.chaos.post import Post, running_post

MAIL = "From: shop@example.com\r\nTo: anna@example.com\r\nMessage-ID: <one@example.com>\r\n\r\nYour order.\r\n"


@pytest.fixture
def post(tmp_path: Path) -> Iterator[Post]:
    with running_post(tmp_path) as running:
        yield running


def send(post: Post, mail: str = MAIL, to: str = "anna@example.com") -> None:
    port = int(post.env["NOTIFICATIONS_MAIL_URL"].rpartition(":")[2])
    with smtplib.SMTP("127.0.0.1", port, timeout=10) as client:
        client.sendmail("shop@example.com", [to], mail)


def until(condition: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline_s
        time.sleep(0.05)


def test_a_mail_that_was_taken_can_be_read(post: Post) -> None:
    send(post)

    (mail,) = post.mails()
    assert (mail.message_id, mail.notification_id) == ("<one@example.com>", "one")
    assert (mail.recipients, mail.to) == (("anna@example.com",), "anna@example.com")


def test_whom_it_was_handed_over_for_is_known_whatever_the_mail_says(post: Post) -> None:
    send(post, to="bert@example.com")

    assert [(mail.recipients, mail.to) for mail in post.mails()] == [(("bert@example.com",), "anna@example.com")]


async def test_an_answer_that_is_lost_leaves_a_mail_that_comes_again(post: Post) -> None:
    await post.misbehave({"lose_ratio": 1.0})
    with pytest.raises(smtplib.SMTPServerDisconnected):
        send(post)
    await post.behave()
    send(post)

    first, second = post.mails()
    assert first == second


async def test_a_mail_that_is_refused_is_not_there(post: Post) -> None:
    await post.misbehave({"refuse_ratio": 1.0})

    with pytest.raises(smtplib.SMTPDataError) as refused:
        send(post)

    assert refused.value.smtp_code == 451
    assert post.mails() == ()


def test_a_kill_loses_nothing_and_the_server_comes_back(post: Post) -> None:
    send(post)
    before = post.find()
    assert before is not None

    os.kill(before.pid, signal.SIGKILL)
    until(lambda: (after := post.find()) is not None and after.pid != before.pid)

    assert len(post.mails()) == 1
