"""Logs: one JSON object a line on standard output, or readable lines on a terminal."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import sys
import time
import traceback
from collections.abc import Mapping
from types import TracebackType
from typing import Final, TextIO

__all__ = ["LineWriter", "configure_logging", "timestamp"]

_STANDARD: Final = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}
_NOISY: Final = ("aiohttp.access", "alembic", "sqlalchemy")


def configure_logging(level: str = "INFO", style: str = "json", stream: TextIO | None = None) -> None:
    """Send every log record of the process to *stream* (standard output). *style* is `json` or `pretty`."""
    stream = stream or sys.stdout
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(line_buffering=True)  # a process that is killed leaves its last lines
    handler = logging.StreamHandler(stream)
    handler.setFormatter(_Json() if style == "json" else _Pretty())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    for name in _NOISY:
        logging.getLogger(name).setLevel(logging.WARNING)


class LineWriter:
    """Writes lines in batches, *delay_s* seconds after the first of each at the latest.

    A system call for each line costs more than making the line. A process that is killed may take the lines of its last
    *delay_s* along; one that ends in order calls `flush`.
    """

    def __init__(self, stream: TextIO, *, delay_s: float = 0.05, max_lines: int = 1000) -> None:
        self._stream, self._delay_s, self._max_lines = stream, delay_s, max_lines
        self._lines: list[str] = []

    def __call__(self, line: str) -> None:
        """Take a line with its end; needs a running event loop."""
        lines = self._lines
        lines.append(line)
        if len(lines) == 1:
            asyncio.get_running_loop().call_later(self._delay_s, self.flush)
        elif len(lines) >= self._max_lines:
            self.flush()

    def flush(self) -> None:
        lines, self._lines = self._lines, []
        if lines:
            self._stream.write("".join(lines))
            self._stream.flush()


_second = (0, "")


def timestamp(now_s: float | None = None) -> str:
    """Return RFC 3339 UTC with milliseconds; the formatting of a second is done once in that second."""
    global _second  # noqa: PLW0603 (a memo of one entry; a race only formats twice)
    now_s = time.time() if now_s is None else now_s
    whole = int(now_s)
    second, text = _second
    if second != whole:
        text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(whole))
        _second = (whole, text)
    return f"{text}.{int((now_s - whole) * 1000):03d}Z"


def _fields(record: logging.LogRecord) -> Mapping[str, object]:
    fields = {name: value for name, value in record.__dict__.items() if name not in _STANDARD}
    if record.exc_info and record.exc_info[0]:
        fields["exception.type"] = record.exc_info[0].__qualname__
        fields["exception.stacktrace"] = _frames(record.exc_info[2])
    return fields


def _frames(trace: TracebackType | None) -> str:
    """Return where it happened and not what was said: an exception's text may hold what a caller sent."""
    return "".join(traceback.format_tb(trace, limit=-20)).rstrip()


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": timestamp(record.created),
            "level": record.levelname,
            "message": record.getMessage(),
            "logger": record.name,
            **_fields(record),
        }
        return json.dumps(line, default=str, ensure_ascii=False)


class _Pretty(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        fields = dict(_fields(record))
        frames = fields.pop("exception.stacktrace", "")
        words = " ".join(f"{name}={value}" for name, value in fields.items())
        line = (
            f"{timestamp(record.created)} {record.levelname:<7} {record.name}: {record.getMessage()}  {words}".rstrip()
        )
        return f"{line}\n{frames}" if frames else line
