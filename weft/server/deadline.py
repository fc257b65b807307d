"""The contract's deadline, kept for all calls of one method by one timer.

`asyncio.timeout` arms a timer of the event loop for each call and disarms it again, which costs more than all that is
checked before the handler. Calls of one method all get the same time and so end in the order they began: a queue and
one timer serve them.
"""

from __future__ import annotations

import asyncio
from collections import deque

__all__ = ["Deadlines", "Limit"]


class Limit:
    """The deadline of one call: an instant of the loop's clock, until which its task may run."""

    __slots__ = ("ends_s", "is_over", "task")

    def __init__(self, ends_s: float, task: asyncio.Task[object]) -> None:
        self.ends_s = ends_s
        self.task: asyncio.Task[object] | None = task
        """None once the call has ended, in time or not."""
        self.is_over = False
        """Whether the task was cancelled because its time was up."""

    def end(self) -> None:
        """Let the call be: it has ended. Takes back the cancellation where there was one."""
        task, self.task = self.task, None
        if self.is_over and task is not None:
            task.uncancel()


class Deadlines:
    """Cancels the tasks of calls that take longer than *timeout_s* seconds."""

    def __init__(self, timeout_s: float) -> None:
        self.timeout_s = timeout_s
        self._limits: deque[Limit] = deque()
        self._timer: asyncio.TimerHandle | None = None

    def begin(self) -> Limit:
        """Return the limit of a call that begins now, in the current task; whoever asked calls its `end`."""
        task = asyncio.current_task()
        assert task is not None, "a call is served by a task"
        loop = asyncio.get_running_loop()
        limit = Limit(loop.time() + self.timeout_s, task)
        self._limits.append(limit)
        if self._timer is None:
            self._timer = loop.call_at(limit.ends_s, self._expire, loop)
        return limit

    def _expire(self, loop: asyncio.AbstractEventLoop) -> None:
        now_s, limits = loop.time(), self._limits
        while limits and (limits[0].task is None or limits[0].ends_s <= now_s):
            limit = limits.popleft()
            if limit.task is not None:
                limit.is_over = True
                limit.task.cancel()
        self._timer = loop.call_at(limits[0].ends_s, self._expire, loop) if limits else None
