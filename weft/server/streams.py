"""Streams that would last for ever, ended when the server drains: a drain waits for calls, and these never end."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["EndlessStreams"]


class EndlessStreams:
    """The calls of one server whose contract sets them no end."""

    def __init__(self) -> None:
        self.ended = False
        self._tasks: set[asyncio.Task[object]] = set()

    def end(self) -> None:
        """Cancel those under way; their callers are told that the server leaves, and find another."""
        self.ended = True
        for task in self._tasks:
            task.cancel()

    @contextmanager
    def member(self) -> Iterator[None]:
        """Count the current task among the streams."""
        task = asyncio.current_task()
        assert task is not None, "a call is served by a task"
        self._tasks.add(task)
        try:
            yield
        finally:
            self._tasks.discard(task)
