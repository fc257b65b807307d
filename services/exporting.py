"""All rows of a list that is read in pages: one page is in memory at a time, and no connection is held in between."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

__all__ = ["EXPORT_PAGE", "every"]

T = TypeVar("T")
Position = tuple[Any, ...]

EXPORT_PAGE: Final = 200
"""Rows read at a time."""


async def every(
    page: Callable[[int, Position | None], Awaitable[Sequence[T]]],
    position: Callable[[T], Position],
    *,
    size: int = EXPORT_PAGE,
) -> AsyncIterator[T]:
    """Yield what all pages have, in their order; the next page is read when all of the one before were taken.

    Args:
        page: Returns up to so many rows that come after a position; None is the beginning.
        position: Of a row in the list.
        size: Rows of a page, at least 1.
    """
    after: Position | None = None
    while True:
        rows = await page(size, after)
        for row in rows:
            yield row
        if len(rows) < size:
            return
        after = position(rows[-1])
