"""What a person sees while it runs."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Final, TextIO

from scripts.lib.chaos.faults import Happened

__all__ = ["Progress"]

LINE_S: Final = 10.0
"""Between two lines that only say what is waited for."""


class Progress:
    """A line for each thing that happens; where a person watches, one that is overwritten for what is waited for."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._began_s = time.monotonic()
        self._is_live = stream.isatty()
        self._has_moving_line = False
        self._waited_s = 0.0

    def say(self, text: str) -> None:
        self._write(f"{time.monotonic() - self._began_s:6.1f} s  {text}\n")

    def happened(self, happened: Happened) -> None:
        fault = happened.fault
        length = f" for {fault.length_s:.1f} s" if fault.length_s else ""
        self.say(f"  {fault.act} {fault.target}{length}: {happened.outcome}")

    def waiting(self, left: Mapping[str, int]) -> None:
        text = ", ".join(f"{count} {what}" for what, count in left.items()) or "nothing under way"
        if self._is_live:
            self._write(f"{time.monotonic() - self._began_s:6.1f} s  {text}", moving=True)
        elif left and time.monotonic() - self._waited_s >= LINE_S:
            self._waited_s = time.monotonic()
            self.say(f"  {text}")

    def _write(self, text: str, *, moving: bool = False) -> None:
        clear = "\r\x1b[K" if self._has_moving_line else ""
        self._has_moving_line = moving
        self._stream.write(clear + text)
        self._stream.flush()
