from __future__ import annotations

import pytest

from services.exporting import every


class Shelf:
    """Numbers from 0 on, and which pages of them were asked for."""

    def __init__(self, count: int) -> None:
        self.numbers = range(count)
        self.pages: list[tuple[int, ...] | None] = []

    async def page(self, limit: int, after: tuple[int, ...] | None) -> list[int]:
        self.pages.append(after)
        start = 0 if after is None else after[0] + 1
        return [*self.numbers[start : start + limit]]


def position(number: int) -> tuple[int]:
    return (number,)


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 7])
async def test_everything_is_there_once_and_in_order_whatever_the_last_page_holds(count: int) -> None:
    shelf = Shelf(count)

    assert [number async for number in every(shelf.page, position, size=3)] == [*range(count)]


async def test_a_page_is_read_when_all_of_the_one_before_were_taken() -> None:
    """So whoever reads slowly, or leaves, has no more than one page in memory."""
    shelf = Shelf(1000)
    numbers = every(shelf.page, position, size=3)

    taken = [await anext(numbers) for _ in range(3)]
    early = [*shelf.pages]
    taken.append(await anext(numbers))

    assert taken == [0, 1, 2, 3]
    assert (early, shelf.pages) == ([None], [None, (2,)])
