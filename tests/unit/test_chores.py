from __future__ import annotations

import asyncio
import logging

import pytest

from services.chores import chore

FOR_EVER_S = 1e9


class Heap:
    """Work that is done as *results* say, where a None is trouble; then there is nothing left, ever."""

    def __init__(self, *results: int | None) -> None:
        self.results = [*results]
        self.limits: list[int] = []
        self.is_done = asyncio.Event()

    async def work(self, *, limit: int) -> int:
        self.limits.append(limit)
        if not self.results:
            self.is_done.set()
            return 0
        done = self.results.pop(0)
        if done is None:
            raise OSError("of Ada Lovelace")
        return done


async def done(heap: Heap, *, poll_s: float) -> None:
    """Have the chore done until nothing is left."""
    loop = asyncio.create_task(chore(heap.work, name="dig", batch=5, poll_s=poll_s))
    async with asyncio.timeout(10):
        await heap.is_done.wait()
    loop.cancel()
    await asyncio.wait([loop])


async def test_a_full_batch_is_followed_by_another_at_once() -> None:
    heap = Heap(5, 5, 5)

    await done(heap, poll_s=FOR_EVER_S)

    assert heap.limits == [5] * 4


async def test_trouble_is_written_down_without_what_it_quotes_and_what_is_left_is_done_later(
    caplog: pytest.LogCaptureFixture,
) -> None:
    heap = Heap(None, 3, None)

    with caplog.at_level(logging.WARNING):
        await done(heap, poll_s=0.001)

    assert len(heap.limits) == 4
    assert [(each.getMessage(), each.__dict__["chore"], each.__dict__["error.type"]) for each in caplog.records] == [
        ("cannot do a chore", "dig", "OSError")
    ] * 2
    assert "Ada" not in caplog.text
