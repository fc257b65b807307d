"""What is seen of a call: its metrics, its span, and one log line."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

from opentelemetry.trace import Span, Status, StatusCode

from weft.call import Call
from weft.contract import Method
from weft.errors import ServiceError
from weft.telemetry import SERVER_CALLS, timestamp

__all__ = ["Observer"]

LOG: Final = logging.getLogger("weft.call")
_ERRORS: Final = frozenset({"UNKNOWN", "INTERNAL", "UNIMPLEMENTED", "DATA_LOSS"})
_EXPECTED: Final = frozenset({"OK", "CANCELLED", "NOT_FOUND", "ALREADY_EXISTS", "INVALID_ARGUMENT", "UNAUTHENTICATED"})
"""Levels as in go-grpc-middleware's DefaultServerCodeToLevel.

Ours is wrong, theirs is wrong, or somebody should look.
"""


def _level(code: str) -> int:
    return logging.ERROR if code in _ERRORS else logging.INFO if code in _EXPECTED else logging.WARNING


class Observer:
    """Notes the end of each call of one method.

    Args:
        method: Whose calls.
        write: Takes a JSON line a call; None leaves the line to `logging`.
    """

    def __init__(self, method: Method, write: Callable[[str], object] | None = None) -> None:
        self._method = method
        self._write_line = write
        self._of_code: dict[str, _OfCode] = {}

    def end(self, call: Call, code: str, answer: ServiceError | None, seconds: float, span: Span | None) -> None:
        of_code = self._of_code.get(code)
        if of_code is None:
            of_code = self._of_code[code] = _OfCode(self._method, code)
        of_code.observe_s(seconds)
        if span is not None:
            span.set_attribute("rpc.response.status_code", code)
            if code in _ERRORS:
                span.set_status(Status(StatusCode.ERROR))
            span.end()
        if not LOG.isEnabledFor(of_code.level):
            return
        reason = answer.reason if answer else ""
        if self._write_line is None:
            facts = {"rpc.method": call.method.lstrip("/"), "rpc.response.status_code": code, "reason": reason}
            extra = facts | {"duration_ms": round(seconds * 1e3, 3), "request_id": call.request_id}
            LOG.log(of_code.level, "call", extra=extra)
            return
        # Written here and not by `logging`, which costs ten times as much. No part needs quoting: the contract's names,
        # our own reasons, and a request id and trace id that were checked when they came in.
        self._write_line(
            f'{{"time":"{timestamp()}",{of_code.head},"reason":"{reason}","duration_ms":{seconds * 1e3:.3f},'
            f'"request_id":"{call.request_id}","trace_id":"{call.trace.trace_id}","span_id":"{call.trace.span_id}"}}\n'
        )


class _OfCode:
    """What is the same for all calls of a method that end with one code."""

    __slots__ = ("head", "level", "observe_s")

    def __init__(self, method: Method, code: str) -> None:
        self.observe_s = SERVER_CALLS.labels(method.path, code).observe
        self.level = _level(code)
        self.head = (
            f'"level":"{logging.getLevelName(self.level)}","message":"call","logger":"{LOG.name}",'
            f'"rpc.method":"{method.path.lstrip("/")}","rpc.response.status_code":"{code}"'
        )
