"""A file in pieces, torn anywhere, into records: what stands in a line, or in several that quotes hold together.

Source: RFC 4180 (CSV), https://github.com/ndjson/ndjson-spec
"""

from __future__ import annotations

import re
from collections import deque
from typing import TYPE_CHECKING, Final, NamedTuple

from weft.errors import InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["MAX_RECORD_BYTES", "ImportMalformed", "Record", "Records"]

MAX_RECORD_BYTES: Final = 64 * 1024
_BOM: Final = b"\xef\xbb\xbf"

# A quote means something at the beginning of a field only. Possessive, so that no line takes longer than its length.
_FIELD: Final = rb'(?:"(?:[^"]++|"")*+"|[^",\r\n][^,\r\n]*+)?+'
_WHOLE: Final = re.compile(rb"(?:%b,)*+%b\r?\n?\Z" % (_FIELD, _FIELD))
_OPEN: Final = re.compile(rb'(?:%b,)*+"(?:[^"]++|"")*+\Z' % _FIELD)
_CLOSING: Final = re.compile(rb'(?:[^"]++|"")*+"(?=,|\r?\n?\Z)')
_INSIDE: Final = re.compile(rb'(?:[^"]++|"")*+\Z')


class ImportMalformed(InvalidArgument):
    """The file can't be read on; what came before is imported."""


class Record(NamedTuple):
    """What is between two line ends, or more where some of them are quoted."""

    line: int
    """Where it begins: the number of line ends before it, plus one."""
    text: bytes
    """Without the line end after it."""
    problem: str = ""
    """What is wrong with its quotes, if anything. Then it is one line, and the next one is a record again."""


class Records:
    """Cuts one file.

    Args:
        quoted: Whether quotes hold lines together, as in CSV.
    """

    def __init__(self, *, quoted: bool) -> None:
        self._quoted = quoted
        self._rest = b""
        self._held: list[bytes] = []
        """Lines of a record that has not come to its end."""
        self._held_bytes = 0
        self._line = 1
        """Where that record begins."""

    def feed(self, data: bytes) -> Iterator[Record]:
        """Yield the records that *data* completes; empty lines are none.

        Raises:
            ImportMalformed: a record is too long. Those before it have been yielded.
        """
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            yield from self._take([line + b"\n"])
        self._require_short(self._held_bytes + len(self._rest))

    def end(self) -> Iterator[Record]:
        """Yield what is left when the file has ended."""
        rest, self._rest = self._rest, b""
        yield from self._take([rest] if rest else [])
        while self._held:
            following = self._held[1:]
            yield from self._refuse("a quote is never closed")
            yield from self._take(following)

    def _take(self, lines: Iterable[bytes]) -> Iterator[Record]:
        waiting = deque(lines)
        while waiting:
            line = waiting.popleft()
            if self._line == 1 and not self._held:
                line = line.removeprefix(_BOM)
            self._require_short(self._held_bytes + len(line))
            is_whole = self._is_whole(line)
            self._held.append(line)
            self._held_bytes += len(line)
            if is_whole:
                yield from self._release()
            elif is_whole is False:
                waiting.extendleft(reversed(self._held[1:]))
                yield from self._refuse("a quote stands where none may")

    def _is_whole(self, line: bytes) -> bool | None:
        """Tell whether the record ends with *line*; None where it goes on, False where it can't be one."""
        if not self._quoted:
            return True
        if self._held:
            if _INSIDE.match(line):
                return None
            closing = _CLOSING.match(line)
            if not closing:
                return False
            line = line[closing.end() :]
            if not line.startswith(b","):
                return True
            line = line[1:]
        if _WHOLE.match(line):
            return True
        return None if _OPEN.match(line) else False

    def _refuse(self, problem: str) -> Iterator[Record]:
        """Let the first line be a record by itself; the others are to be taken again."""
        del self._held[1:]
        yield from self._release(problem)

    def _release(self, problem: str = "") -> Iterator[Record]:
        text = b"".join(self._held).removesuffix(b"\n").removesuffix(b"\r")
        record = Record(self._line, text, problem)
        self._line += len(self._held)
        self._held, self._held_bytes = [], 0
        if text.strip():
            yield record

    def _require_short(self, size_bytes: int) -> None:
        if size_bytes > MAX_RECORD_BYTES:
            raise ImportMalformed(f"line {self._line} is longer than {MAX_RECORD_BYTES} bytes", line=self._line)
