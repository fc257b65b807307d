"""One connection for all who need it, made again when it was lost."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field

import pytest

from weft.events.brokers.link import Link, heeding_cancellation, ignored


@dataclass
class Server:
    """Connections are numbers; those in `open` are of use."""

    open: set[int] = field(default_factory=set)
    made: int = 0
    lets_in: asyncio.Event = field(default_factory=asyncio.Event)
    is_away: bool = False
    closed: list[int] = field(default_factory=list)

    async def connect(self) -> int:
        await self.lets_in.wait()
        if self.is_away:
            raise ConnectionRefusedError
        self.made += 1
        self.open.add(self.made)
        return self.made

    async def close(self, connection: int) -> None:
        self.closed.append(connection)
        raise OSError("it was lost already")

    def link(self) -> Link[int]:
        return Link(self.connect, is_open=self.open.__contains__, close=self.close)


@pytest.fixture(name="server")
def _server() -> Server:
    return Server()


async def test_those_who_wait_share_one_attempt(server: Server) -> None:
    link = server.link()

    waiting = [asyncio.create_task(link.get()) for _ in range(5)]
    await asyncio.sleep(0)
    server.lets_in.set()

    assert await asyncio.gather(*waiting) == [1] * 5
    assert await link.get() == 1


async def test_those_who_wait_share_its_failure_and_the_next_one_tries_again(server: Server) -> None:
    link, server.is_away = server.link(), True
    server.lets_in.set()

    answers = await asyncio.gather(*[link.get() for _ in range(3)], return_exceptions=True)
    server.is_away = False

    assert [type(answer) for answer in answers] == [ConnectionRefusedError] * 3
    assert await link.get() == 1


async def test_a_connection_that_was_lost_is_closed_and_made_anew(server: Server) -> None:
    link = server.link()
    server.lets_in.set()
    await link.get()

    server.open.clear()

    assert await link.get() == 2
    await link.end()
    assert server.closed == [1, 2]


async def test_one_who_gives_up_does_not_end_the_attempt_of_others(server: Server) -> None:
    link = server.link()
    impatient, patient = asyncio.create_task(link.get()), asyncio.create_task(link.get())
    await asyncio.sleep(0)

    impatient.cancel()
    server.lets_in.set()

    assert await patient == 1
    assert impatient.cancelled()


async def test_what_is_dropped_by_one_and_replaced_is_not_dropped_again_by_another(server: Server) -> None:
    link = server.link()
    server.lets_in.set()
    first = await link.get()

    link.drop(first)
    second = await link.get()
    link.drop(first)

    assert await link.get() == second == 2


async def test_ending_gives_up_what_is_being_opened_and_is_no_cancellation_to_those_who_wait(server: Server) -> None:
    link = server.link()
    waiting = asyncio.create_task(link.get())
    await asyncio.sleep(0)

    await link.end()

    with pytest.raises(ConnectionError):
        await waiting
    assert server.made == 0


async def test_a_cancellation_that_a_library_has_lost_is_noticed() -> None:
    async def lose() -> None:
        with suppress(asyncio.CancelledError):
            await asyncio.Event().wait()

    async def work() -> None:
        with heeding_cancellation():
            await lose()

    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait((task,))

    assert task.cancelled()


async def test_what_is_done_after_a_cancellation_is_not_taken_for_cancelled_again() -> None:
    finished = asyncio.Event()

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            with heeding_cancellation(), ignored(OSError):
                await asyncio.sleep(0)
                raise OSError("is ignored")
            finished.set()

    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait((task,))

    assert finished.is_set()
