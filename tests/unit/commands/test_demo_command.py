"""`weft demo` where it doesn't come to its end, and the parts that it is made of."""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from collections.abc import AsyncIterator
from io import StringIO
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer, unused_port

from services.commands import demo
from services.commands.demo.client import Person, Refused
from services.commands.demo.mails import read_mail
from services.commands.demo.stage import Stage
from services.local import prepare
from weft.cli.added import CommandContext, CommandFailed
from weft.cli.terminal import Terminal

REFUSAL = {
    "code": 9,
    "message": "the cart is another now",
    "details": [
        {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "CART_CHANGED"},
        {
            "@type": "type.googleapis.com/google.rpc.BadRequest",
            "fieldViolations": [{"field": "expectedTotal", "description": "is 2.00 EUR now"}],
        },
    ],
}


def run(state: Path, gateway_url: str | None, *arguments: str, terminal: Terminal | None = None) -> int:
    parser = ArgumentParser()
    demo.add_arguments(parser)
    context = CommandContext(terminal=terminal or Terminal(StringIO(), {}), state=state, gateway_url=gateway_url)
    return demo.run(parser.parse_args(arguments), context)


@pytest.fixture(name="shop")
async def _shop() -> AsyncIterator[Person]:
    """A person at a shop that has changed their cart, and whose front is broken."""

    async def check_out(_request: web.Request) -> web.Response:
        return web.json_response(REFUSAL, status=400)

    async def watch(_request: web.Request) -> web.Response:
        return web.Response(text='{"order": 1}\n{"order": 2}\n')

    async def broken(_request: web.Request) -> web.Response:
        return web.Response(text="<html>", status=502)

    app = web.Application()
    app.router.add_post("/checkOut", check_out)
    app.router.add_get("/watch", watch)
    app.router.add_get("/broken", broken)
    async with TestServer(app) as server, aiohttp.ClientSession(server.make_url("/")) as session:
        yield Person(session, "token")


def test_without_a_mesh_it_says_how_to_start_one(tmp_path: Path) -> None:
    with pytest.raises(CommandFailed, match=r"no mesh runs from .*: start it with weft up"):
        run(tmp_path, None)


def test_with_json_nothing_else_is_on_stdout(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    script = Terminal(sys.stdout, {})
    with pytest.raises(CommandFailed):
        run(tmp_path, None, "--json", terminal=script)
    script.fail("as `weft` says it")

    told = capsys.readouterr()
    assert (told.out, told.err) == ("", "✗ as `weft` says it\n")


@pytest.mark.parametrize("timeout", ["0", "-1", "inf", "nan"])
def test_it_wants_an_end(tmp_path: Path, timeout: str) -> None:
    with pytest.raises(CommandFailed, match="--timeout must be"):
        run(tmp_path, "http://127.0.0.1:1", "--timeout", timeout)


def test_the_step_that_failed_is_named_with_its_reason(tmp_path: Path) -> None:
    prepare(tmp_path)

    with pytest.raises(CommandFailed, match=r"^the owner's log-in failed: Cannot connect to host"):
        run(tmp_path, f"http://127.0.0.1:{unused_port()}")


def test_a_state_without_an_administrator_is_said_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(CommandFailed, match=r"^the owner's log-in failed: .*No such file"):
        run(tmp_path, f"http://127.0.0.1:{unused_port()}")


async def test_a_refusal_says_what_was_asked_and_why_not(shop: Person) -> None:
    with pytest.raises(Refused) as caught:
        await shop.post("/checkOut", {})

    assert str(caught.value) == "POST /checkOut was refused with CART_CHANGED (the cart is another now)"
    assert (caught.value.reason, caught.value.violations) == (
        "CART_CHANGED",
        [{"field": "expectedTotal", "description": "is 2.00 EUR now"}],
    )


async def test_what_is_no_word_of_the_shops_is_a_refusal_too(shop: Person) -> None:
    with pytest.raises(Refused, match=r"^GET /broken was refused with Bad Gateway \(502\)$"):
        await shop.get("/broken")


async def test_a_stream_is_read_by_lines(shop: Person) -> None:
    assert [said async for said in shop.watch("/watch")] == [{"order": 1}, {"order": 2}]


async def test_who_waits_asks_until_it_holds() -> None:
    answers, stage = iter([1, 2, 3]), Stage(Terminal(StringIO(), {}))
    awaited = []

    async def ask() -> int:
        awaited.append(stage.awaited)
        return next(answers)

    assert await stage.until(ask, lambda answer: answer == 3, "three") == 3
    assert awaited == ["three"] * 3
    assert stage.awaited == ""


@pytest.mark.parametrize("place", ["new/1.abc.weft", "cur/1.abc.weft:2,S"])
def test_a_mail_is_found_wherever_its_reader_has_put_it(tmp_path: Path, place: str) -> None:
    path = tmp_path / place
    path.parent.mkdir()
    path.write_text(
        "To: mina@example.com\nSubject: =?utf-8?q?best=C3=A4tigt?=\n"
        "Content-Language: de\nContent-Type: text/plain\n\nHallo\n"
    )

    mail = read_mail(tmp_path, "abc")

    assert mail == {
        "notificationId": "abc",
        "to": "mina@example.com",
        "subject": "bestätigt",
        "language": "de",
        "file": str(path),
    }
    assert read_mail(tmp_path, "another") is None
