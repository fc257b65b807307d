"""The shop as a shopper's program sees it: REST through the gateway."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

import aiohttp

__all__ = ["CART_CHANGED", "NO_ANSWER", "Reply", "Shop"]

NO_ANSWER: Final = 0
CANCELLED_ON_ITS_WAY: Final = 499
AGAIN: Final = frozenset({NO_ANSWER, CANCELLED_ON_ITS_WAY, 401, 408, 409, 429})
"""Statuses below 500 that leave open what happened: who, how often and at the same time as whom decided them."""
CART_CHANGED: Final = "CART_CHANGED"
TROUBLE: Final = (aiohttp.ClientError, TimeoutError, OSError)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What a call was answered.

    Attributes:
        status: of HTTP; `NO_ANSWER` where the connection or the patience ended first.
        reason: of the `ErrorInfo` of a refusal.
    """

    status: int
    body: Mapping[str, Any]

    @property
    def is_ok(self) -> bool:
        return self.status == HTTPStatus.OK

    @property
    def is_definite(self) -> bool:
        """Whether it says what happened. After any other, a client has to ask again.

        A refusal that names an order is about that order, which is off, whatever the status.
        """
        is_clear = self.status < HTTPStatus.INTERNAL_SERVER_ERROR and self.status not in AGAIN
        return self.is_ok or is_clear or bool(self.order)

    @property
    def reason(self) -> str:
        return str(self._error_info().get("reason", ""))

    @property
    def order(self) -> Mapping[str, Any]:
        """The order of the answer, or its id alone where a refusal names it as its own."""
        if self.reason == CART_CHANGED:  # names the order that is buying the cart at the moment
            return {}
        if self.is_ok:
            order: Mapping[str, Any] = self.body.get("order", {})
            return order
        metadata = self._error_info().get("metadata", {})
        return {"orderId": metadata["order_id"]} if "order_id" in metadata else {}

    def _error_info(self) -> Mapping[str, Any]:
        details = self.body.get("details", ()) if not self.is_ok else ()
        return next((each for each in details if each.get("@type", "").endswith(".ErrorInfo")), {})


class Shop:
    """Calls of one person. Nothing is raised for what goes wrong on the way: that is an answer, too.

    Args:
        email, password: Of an account; tokens are asked for when they are needed, and again when they have expired.
    """

    def __init__(self, session: aiohttp.ClientSession, email: str = "", password: str = "") -> None:
        self._session = session
        self._credentials = {"email": email, "password": password}
        self._headers: dict[str, str] = {}

    async def call(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, *, key: str = "", patience_s: float = 8.0
    ) -> Reply:
        reply = await self._send(method, path, body, key, patience_s)
        if reply.status == HTTPStatus.UNAUTHORIZED and self._credentials["email"]:
            await self.log_in()
            reply = await self._send(method, path, body, key, patience_s)
        return reply

    async def log_in(self) -> Reply:
        reply = await self._send("POST", "/v1/users:login", self._credentials, "", patience_s=8.0)
        if reply.is_ok:
            self._headers = {"authorization": f"Bearer {reply.body['tokens']['accessToken']}"}
        return reply

    async def _send(self, method: str, path: str, body: Mapping[str, Any] | None, key: str, patience_s: float) -> Reply:
        headers = self._headers | ({"idempotency-key": key} if key else {})
        timeout = aiohttp.ClientTimeout(total=patience_s)
        try:
            async with self._session.request(method, path, json=body, headers=headers, timeout=timeout) as response:
                text = await response.text()
                return Reply(status=response.status, body=_parsed(text))
        except TROUBLE:
            return Reply(status=NO_ANSWER, body={})

    async def lines(self, path: str, *, patience_s: float) -> AsyncIterator[Mapping[str, Any]]:
        """Yield what a stream says until it ends, breaks, or *patience_s* is over."""
        timeout = aiohttp.ClientTimeout(total=patience_s)
        try:
            async with self._session.get(path, headers=self._headers, timeout=timeout) as response:
                if response.status == HTTPStatus.OK:
                    async for line in response.content:
                        yield _parsed(line.decode())
        except TROUBLE:
            return


def _parsed(text: str) -> Mapping[str, Any]:
    """Return the JSON object in *text*; empty for what a proxy in between may have said instead."""
    try:
        value = json.loads(text)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
