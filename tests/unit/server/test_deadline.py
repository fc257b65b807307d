"""One timer ends the calls that overstay, and only those."""

from __future__ import annotations

import asyncio

import pytest

from weft.server.deadline import Deadlines, Limit


async def call(deadlines: Deadlines, work: asyncio.Event) -> Limit:
    limit = deadlines.begin()
    try:
        await work.wait()
    except asyncio.CancelledError:
        if not limit.is_over:
            raise
    finally:
        limit.end()
    return limit


async def test_calls_end_in_the_order_they_began_and_those_in_time_are_left_alone() -> None:
    deadlines, never, at_once = Deadlines(0.05), asyncio.Event(), asyncio.Event()
    at_once.set()

    late, in_time, later = await asyncio.gather(
        call(deadlines, never), call(deadlines, at_once), call(deadlines, never)
    )

    assert [limit.is_over for limit in (late, in_time, later)] == [True, False, True]
    assert late.ends_s <= later.ends_s


async def test_a_call_that_ended_is_never_cancelled_and_its_task_goes_on() -> None:
    deadlines, at_once = Deadlines(0.01), asyncio.Event()
    at_once.set()

    limit = await call(deadlines, at_once)
    overstayed = await call(deadlines, asyncio.Event())  # its timer passes the first one's too

    assert not limit.is_over
    assert overstayed.is_over
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_a_cancellation_from_elsewhere_is_not_mistaken_for_the_deadline() -> None:
    task = asyncio.create_task(call(Deadlines(60), asyncio.Event()))
    await asyncio.sleep(0)

    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task
