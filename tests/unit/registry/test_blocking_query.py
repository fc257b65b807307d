"""The loop around one blocking query, on answers made up here."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import pytest

from weft.registry import Answer, Pace, RegistryUnavailable
from weft.registry.blocking import BlockingQuery, backoff_s, next_index

FAST = Pace(per_s=1e6)


class Script:
    """Answers from a list, then not at all; remembers the indexes it was asked with."""

    def __init__(self, *answers: Answer[str] | Exception) -> None:
        self._answers = list(answers)
        self.asked: list[int] = []

    async def ask(self, index: int) -> Answer[str]:
        self.asked.append(index)
        await asyncio.sleep(0)
        if not self._answers:
            await asyncio.Event().wait()
        answer = self._answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


async def values(script: Script, count: int) -> list[str]:
    """The first *count* values, and whatever else the loop asks until it waits."""
    query = BlockingQuery("test", script.ask, pace=FAST)
    found: list[str] = []
    async with asyncio.timeout(5), aclosing(query.changes()) as changes:
        while len(found) < count:
            found.append(await anext(changes))
    return found


@pytest.mark.parametrize(("previous", "answered", "following"), [(0, 7, 7), (7, 7, 7), (7, 9, 9), (9, 7, 0), (0, 0, 1)])
def test_the_next_index_follows_the_rules(previous: int, answered: int, following: int) -> None:
    assert next_index(previous, answered) == following


async def test_every_question_carries_the_index_of_the_last_answer() -> None:
    script = Script(Answer(5, "a"), Answer(8, "b"), Answer(9, "c"))

    assert await values(script, 3) == ["a", "b", "c"]
    assert script.asked == [0, 5, 8]


async def test_a_return_without_a_change_is_not_a_change() -> None:
    script = Script(Answer(5, "a"), Answer(6, "a"), Answer(6, "a"), Answer(7, "b"))

    assert await values(script, 2) == ["a", "b"]


async def test_an_index_that_goes_back_starts_over_without_blocking() -> None:
    script = Script(Answer(50, "a"), Answer(3, "b"), Answer(3, "c"))

    assert await values(script, 3) == ["a", "b", "c"]
    assert script.asked == [0, 50, 0]


async def test_after_an_error_the_question_starts_over_since_the_registry_may_have() -> None:
    script = Script(Answer(50, "a"), RegistryUnavailable("gone"), Answer(3, "b"))

    assert await values(script, 2) == ["a", "b"]
    assert script.asked == [0, 50, 0]


async def test_an_error_yields_nothing_but_is_told_until_the_next_answer() -> None:
    script = Script(Answer(5, "a"), RegistryUnavailable("gone"), Answer(5, "a"))
    query = BlockingQuery("test", script.ask, pace=FAST)
    seen: list[bool] = []

    async def follow() -> list[str]:
        return [value async for value in query.changes()]

    following = asyncio.create_task(follow())
    async with asyncio.timeout(5):
        while len(script.asked) < 4:
            seen.append(query.stale_since is not None)
            await asyncio.sleep(0)

    assert (seen[0], True in seen, query.stale_since) == (False, True, None)
    following.cancel()
    await asyncio.wait([following])


async def test_a_racing_index_is_asked_no_faster_than_the_pace_after_the_burst() -> None:
    script = Script(*(Answer(index, str(index)) for index in range(1, 8)))
    query = BlockingQuery("test", script.ask, pace=Pace(per_s=50, burst=2))
    loop = asyncio.get_running_loop()
    times = []

    async with asyncio.timeout(5), aclosing(query.changes()) as changes:
        for _ in range(6):
            await anext(changes)
            times.append(loop.time())

    assert times[-1] - times[0] >= 4 / 50 - 0.01


@pytest.mark.parametrize(("attempt", "longest_s"), [(1, 0.1), (2, 0.2), (3, 0.4), (9, 2.0), (10_000, 2.0)])
def test_backoff_grows_to_a_cap_and_keeps_half_of_it_at_least(attempt: int, longest_s: float) -> None:
    waits = [backoff_s(attempt) for _ in range(200)]

    assert longest_s / 2 <= min(waits)
    assert max(waits) <= longest_s
    assert len(set(waits)) > 1
