"""What is under way, for whoever watches, and for the sentence that says where it failed."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from weft.cli.terminal import Terminal

__all__ = ["Stage"]

FIRST_LOOK_S: Final = 0.05
LAST_LOOK_S: Final = 0.5

T = TypeVar("T")


class Stage:
    """Steps, one after the other, on a terminal."""

    def __init__(self, terminal: Terminal) -> None:
        self._terminal = terminal
        self.step = "the beginning"
        """What is under way, as in "the cart failed"."""
        self.awaited = ""
        """What it waits for, if it does."""

    @contextmanager
    def doing(self, step: str, done: str) -> Iterator[None]:
        """Show *step* while it is under way, and *done*, 24 characters at most, afterwards."""
        self.step, self.awaited = step, ""
        self._terminal.waiting_for([step])
        yield
        self._terminal.done(done)

    async def until(self, ask: Callable[[], Awaitable[T]], holds: Callable[[T], bool], awaited: str) -> T:
        """Ask until the answer *holds*, and return it; how long that may take is for who plays the story to bound."""
        self.awaited = awaited
        wait_s = FIRST_LOOK_S
        while not holds(answer := await ask()):
            await asyncio.sleep(wait_s)
            wait_s = min(wait_s * 1.5, LAST_LOOK_S)
        self.awaited = ""
        return answer
