"""Opaque page tokens, the same in every service of the shop.

A token holds where its page ended, and a checksum over that and over the list it belongs to. It is no secret and no
signature: whoever forges one reads on at another place of a list that they may read anyway.

Source: https://google.aip.dev/158
"""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final

from weft.errors import InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Callable
    from uuid import UUID

__all__ = ["PageTokenInvalid", "decode", "encode", "text", "time", "whole"]

CHECKSUM_BYTES: Final = 9  # a multiple of 3 wastes nothing in base64
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


class PageTokenInvalid(InvalidArgument):
    """The token was not made for this list."""


def encode(scope: str, *position: str | int | datetime | UUID) -> str:
    """Return the token of the page after *position* in the list that *scope* describes: its filters, order, owner."""
    payload = json.dumps(position, default=_plain, ensure_ascii=False, separators=(",", ":")).encode()
    return _text(_checksum(scope, payload) + payload)


def decode(token: str, scope: str, *kinds: Callable[[Any], Any]) -> tuple[Any, ...]:
    """Return the position that *token* holds.

    Args:
        token: what `encode` returned for this scope.
        scope: as it was given to `encode`.
        kinds: for each value of the position `text`, `time`, `whole(…)` or `UUID`.

    Raises:
        PageTokenInvalid: the token was changed or belongs to another list.
    """
    try:
        position = json.loads(_payload(token, scope))
        return tuple(kind(value) for kind, value in zip(kinds, position, strict=True))
    except (AttributeError, TypeError, ValueError, OverflowError, RecursionError) as error:
        raise PageTokenInvalid("the page token does not belong to this list; begin again without one") from error


def text(value: Any) -> str:
    if not isinstance(value, str) or "\0" in value:  # PostgreSQL knows no NUL
        raise ValueError("not text")
    return value


def whole(low: int, high: int) -> Callable[[Any], int]:
    """Return the kind of integers in [low, high]."""

    def kind(value: Any) -> int:
        if not isinstance(value, int) or not low <= value <= high:
            raise ValueError("not such an integer")
        return value

    return kind


def time(value: Any) -> datetime:
    """A time, exact to the microsecond as PostgreSQL keeps it."""
    return _EPOCH + timedelta(microseconds=value)


def _plain(value: object) -> str | int:
    if isinstance(value, datetime):
        return (value - _EPOCH) // _MICROSECOND
    return str(value)


def _payload(token: str, scope: str) -> bytes:
    """Return what *token* holds, if it is exactly as `encode` wrote it for *scope*. Raises ValueError."""
    content = urlsafe_b64decode(token + "=" * (-len(token) % 4))
    payload = content[CHECKSUM_BYTES:]
    if content != _checksum(scope, payload) + payload or token != _text(content):
        raise ValueError("not ours")
    return payload


def _checksum(scope: str, payload: bytes) -> bytes:
    return sha256(f"{len(scope)}:{scope}".encode() + payload).digest()[:CHECKSUM_BYTES]


def _text(content: bytes) -> str:
    return urlsafe_b64encode(content).rstrip(b"=").decode()
