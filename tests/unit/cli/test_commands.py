from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from weft.cli.commands import CommandFailed, ask, command_server
from weft.cli.state import MeshRecord, ProcessRecord


def record(port: int, token: str) -> MeshRecord:
    weft = ProcessRecord(name="weft", pid=1, started=0.0, stop_signal=15)
    return MeshRecord(supervisor=weft, phase="ready", command_port=port, command_token=token, urls={})


async def count(to: int) -> AsyncIterator[int]:
    for number in range(to):
        yield number


async def refuse() -> AsyncIterator[int]:
    yield 1
    raise CommandFailed("no such service")


async def asked(port: int, command: str, token: str = "right", **arguments: object) -> list[Any]:
    items: list[Any] = []
    await asyncio.to_thread(ask, record(port, token), command, items.append, **arguments)
    return items


async def test_items_arrive_in_order() -> None:
    async with command_server("right", {"count": count}) as port:
        assert await asked(port, "count", to=3) == [0, 1, 2]


@pytest.mark.parametrize(
    ("command", "token", "arguments", "message"),
    [
        ("count", "wrong", {"to": 3}, "wrong token"),
        ("shout", "right", {}, "not a command"),
        ("count", "right", {"until": 3}, "not a command"),
        ("refuse", "right", {}, "no such service"),
    ],
)
async def test_what_is_asked_wrongly_or_refused_fails_with_the_reason(
    command: str, token: str, arguments: dict[str, object], message: str
) -> None:
    async with command_server("right", {"count": count, "refuse": refuse}) as port:
        with pytest.raises(CommandFailed, match=message):
            await asked(port, command, token, **arguments)


async def test_a_supervisor_that_is_gone_does_not_answer() -> None:
    async with command_server("right", {}) as port:
        pass

    with pytest.raises(CommandFailed, match="does not answer"):
        await asked(port, "count")
