"""The call being served: what it may still cost, who makes it, and what goes along to peers."""

from __future__ import annotations

import asyncio
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Final

from weft.errors import Unauthenticated
from weft.security.identity import Identity
from weft.telemetry.trace import TraceContext

__all__ = ["Call", "caller", "current_call"]


@dataclass(slots=True, kw_only=True)
class Call:
    """One call, as the pipeline of its method sees it."""

    method: str
    """GRPC path."""
    request_id: str
    """Of the request at the edge; the same in every service it reaches."""
    trace: TraceContext
    deadline: float | None
    """Instant of the event loop's clock; None only on streams without one."""
    identity: Identity | None = None
    authorization: str | None = field(default=None, repr=False)
    """The caller's verified bearer token, passed on to peers."""
    keep_answer: bool = True
    """Set to False by a handler whose answer is not final: a repeat of the request is served anew."""

    def remaining_s(self) -> float | None:
        """Return the seconds left, never below 0; None without a deadline."""
        return None if self.deadline is None else max(0.0, self.deadline - asyncio.get_running_loop().time())


current_call: Final[ContextVar[Call | None]] = ContextVar("current_call", default=None)


def caller() -> Identity:
    """Return who makes the call being served. Raises Unauthenticated where nobody was identified."""
    call = current_call.get()
    if call is None or call.identity is None:
        raise Unauthenticated("this needs an access token", reason="TOKEN_MISSING")
    return call.identity
