"""Order within a key, none between keys."""

from __future__ import annotations

import asyncio

import pytest

from weft.events.chains import Chains


async def test_items_of_a_key_are_done_one_after_another_and_keys_side_by_side() -> None:
    done: list[tuple[str, int]] = []
    held = asyncio.Event()

    async def work(item: tuple[str, int]) -> None:
        if item == ("a", 1):
            await held.wait()
        done.append(item)

    async with asyncio.TaskGroup() as group:
        chains = Chains[str, tuple[str, int]](group, work)
        for key, number in [("a", 1), ("a", 2), ("b", 3), ("b", 4)]:
            chains.add(key, number, (key, number))
        while len(done) < 2:
            await asyncio.sleep(0)
        assert done == [("b", 3), ("b", 4)]
        held.set()

    assert done[2:] == [("a", 1), ("a", 2)]


async def test_items_that_arrive_out_of_order_behind_another_are_put_in_order() -> None:
    done: list[int] = []

    async def work(number: int) -> None:
        await asyncio.sleep(0)
        done.append(number)

    async with asyncio.TaskGroup() as group:
        chains = Chains[str, int](group, work)
        for number in (1, 4, 2, 3):
            chains.add("a", number, number)

    assert done == [1, 2, 3, 4]


async def test_a_key_may_come_back_after_its_work_is_done() -> None:
    done: list[int] = []

    async def work(number: int) -> None:
        done.append(number)

    async with asyncio.TaskGroup() as group:
        chains = Chains[str, int](group, work)
        chains.add("a", 1, 1)
        while not done:
            await asyncio.sleep(0)
        await asyncio.sleep(0)
        chains.add("a", 2, 2)

    assert done == [1, 2]
    assert chains._waiting == {}


async def test_what_work_raises_ends_the_group() -> None:
    async def work(_: int) -> None:
        raise ZeroDivisionError

    with pytest.raises(ExceptionGroup) as raised:
        async with asyncio.TaskGroup() as group:
            Chains[str, int](group, work).add("a", 1, 1)
            await asyncio.Event().wait()

    assert raised.group_contains(ZeroDivisionError)
