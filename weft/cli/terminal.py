"""What a person sees: progress lines, a table, one line for what went wrong."""

from __future__ import annotations

import os
import re
import time
from typing import TYPE_CHECKING, Final, TextIO

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["Terminal", "format_duration", "format_table", "without_password"]

GREEN: Final = "32"
RED: Final = "31"
BOLD: Final = "1"
FAINT: Final = "2"
BAR_COLUMNS: Final = 30


class Terminal:
    """Writes to *stream*; colour and the moving line only where a person watches (https://no-color.org)."""

    def __init__(self, stream: TextIO, env: Mapping[str, str]) -> None:
        self.is_live = stream.isatty() and env.get("TERM") != "dumb"
        self.is_closed = False
        self._stream = stream
        self._colour = self.is_live and not env.get("NO_COLOR")
        unicode = (stream.encoding or "ascii").lower().replace("-", "").startswith("utf")
        self._marks = ("✓", "✗") if unicode else ("ok", "failed:")
        self._began = time.monotonic()
        self._has_waiting_line = False

    def redirect(self, stream: TextIO) -> None:
        """Write elsewhere from now on, looking the same."""
        self._stream = stream

    def raw(self, text: str) -> None:
        """Pass on what another terminal wrote, its moving line included."""
        try:
            self._stream.write(text)
            self._stream.flush()
        except (OSError, ValueError):  # whoever read it is gone, or it is closed; a mesh goes on without
            self.is_closed = True

    def line(self, text: str = "") -> None:
        self._write(f"{text}\n")

    def done(self, what: str) -> None:
        """Say that *what* works, and how long after the beginning."""
        self._write(f"{self._paint(self._marks[0], GREEN)} {what:<24} {time.monotonic() - self._began:5.1f} s\n")

    def fail(self, message: str, last_words: Sequence[str] = ()) -> None:
        """Say in one line what failed, and show the end of its log."""
        self._write(f"{self._paint(self._marks[1], RED)} {message}\n")
        for words in last_words:
            self._write(f"  {self._paint('|', FAINT)} {words}\n")

    def waiting_for(self, names: Sequence[str]) -> None:
        """Show on a line that is overwritten what is still missing; nothing unless a person watches."""
        if self.is_live and names:
            text = f"  waiting for {', '.join(names)}"[: _columns() - 1]
            self.raw(f"\r\x1b[K{self._paint(text, FAINT)}")
            self._has_waiting_line = True

    def progress(self, share: float, what: str) -> None:
        """Show on a line that is overwritten how far *what* is, [0, 1]; nothing unless a person watches."""
        if self.is_live:
            full = round(share * BAR_COLUMNS)
            bar = f"[{'#' * full}{'.' * (BAR_COLUMNS - full)}] {share:4.0%}"
            self.raw(f"\r\x1b[K{f'  {bar}  {what}'[: _columns() - 1]}")
            self._has_waiting_line = True

    def table(self, rows: Sequence[tuple[str, str]]) -> None:
        width = max((len(name) for name, _ in rows), default=0)
        for name, value in rows:
            self._write(f"  {self._paint(f'{name:<{width}}', BOLD)}  {value}\n")

    def _write(self, text: str) -> None:
        if self._has_waiting_line:
            text = f"\r\x1b[K{text}"
            self._has_waiting_line = False
        self.raw(text)

    def _paint(self, text: str, code: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self._colour else text


def format_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return *rows* under *header* in columns as wide as their content."""
    widths = [max(len(row[column]) for row in (header, *rows)) for column in range(len(header))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in (header, *rows)
    )


def format_duration(seconds: float) -> str:
    """Return about how long that is, `7 min`."""
    for limit, unit_s, unit in ((120, 1, "s"), (7200, 60, "min"), (172_800, 3600, "h")):
        if seconds < limit:
            return f"{seconds / unit_s:.0f} {unit}"
    return f"{seconds / 86_400:.0f} d"


def without_password(url: str) -> str:
    """Return *url*, or several separated by commas, without the user and the password."""
    return re.sub(r"//[^/?#]*@", "//", url)


def _columns() -> int:
    try:
        return os.get_terminal_size().columns
    except OSError:  # the stream is a pipe to whoever has the terminal
        return 80
