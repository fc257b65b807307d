"""How long talking to the provider may take, and how it is shared out."""

from __future__ import annotations

import asyncio
from random import uniform
from typing import Final, Self

from weft.call import current_call

__all__ = ["Budget"]

ANSWER_S: Final = 0.15
"""Kept for writing down what is known and answering, before the caller's time is up."""
UNCALLED_S: Final = 5.0
"""Where nobody waits for an answer."""
_MAX_WAIT_S: Final = 0.1


class Budget:
    """Seconds that are left of one piece of work."""

    def __init__(self, total_s: float) -> None:
        self._ends_s = asyncio.get_running_loop().time() + total_s
        self._wait_s = 0.01

    @classmethod
    def of_call(cls) -> Self:
        """Return what the call being served may still cost."""
        call = current_call.get()
        remaining_s = call.remaining_s() if call else None
        return cls(UNCALLED_S if remaining_s is None else max(0.0, remaining_s - ANSWER_S))

    @property
    def left_s(self) -> float:
        """Seconds left, never below 0."""
        return max(0.0, self._ends_s - asyncio.get_running_loop().time())

    @property
    def telling_s(self) -> float:
        """For having the provider do something; what it did must be asked in the rest, if it doesn't say."""
        return self.left_s * 0.6

    @property
    def asking_first_s(self) -> float:
        """For asking before something is done."""
        return self.left_s * 0.4

    async def pause(self) -> bool:
        """Wait a little, longer each time; tell whether anything is left after that."""
        await asyncio.sleep(min(self.left_s, uniform(0.5, 1) * self._wait_s))  # noqa: S311  # jitter
        self._wait_s = min(_MAX_WAIT_S, self._wait_s * 1.5)
        return self.left_s > 0
