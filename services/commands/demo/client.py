"""The shop's REST API, as somebody who shops there or runs it uses it."""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import aiohttp

__all__ = ["Answer", "Person", "Refused"]

Answer = dict[str, Any]
"""What REST says, as `gen/openapi.json` describes it."""


class Refused(Exception):
    """The shop said no."""

    def __init__(self, asked: str, status: int, body: Answer) -> None:
        details = body.get("details", ())
        self.reason: str = next((each["reason"] for each in details if each.get("reason")), HTTPStatus(status).phrase)
        """A stable word of the contract; the status in words where the shop gives none."""
        self.violations: list[Answer] = [each for detail in details for each in detail.get("fieldViolations", ())]
        super().__init__(f"{asked} was refused with {self.reason} ({body.get('message', status)})")


class Person:
    """Somebody who asks the shop, with a token once they have one."""

    def __init__(self, session: aiohttp.ClientSession, token: str = "") -> None:
        self._session = session
        self.token = token

    async def get(self, path: str, **query: str) -> Answer:
        return await self._ask("GET", path, params=query)

    async def post(self, path: str, body: Answer, *, key: str = "") -> Answer:
        """Send *body*; with a *key*, what was sent twice is done once."""
        return await self._ask("POST", path, key, json=body)

    async def patch(self, path: str, body: Answer, *, key: str = "") -> Answer:
        return await self._ask("PATCH", path, key, json=body)

    async def download(self, path: str) -> bytes:
        """Return a file."""
        async with self._session.get(path, headers=self._headers()) as response:
            await _require_done(response)
            return await response.read()

    async def watch(self, path: str) -> AsyncIterator[Answer]:
        """Yield what a stream says, as it says it: a line each."""
        async with self._session.get(path, headers=self._headers()) as response:
            await _require_done(response)
            async for line in response.content:
                yield json.loads(line)

    async def _ask(self, method: str, path: str, key: str = "", **content: Any) -> Answer:
        async with self._session.request(method, path, headers=self._headers(key), **content) as response:
            await _require_done(response)
            answer: Answer = await response.json()
            return answer

    def _headers(self, key: str = "") -> dict[str, str]:
        headers = {"authorization": f"Bearer {self.token}"} if self.token else {}
        return headers | ({"idempotency-key": key} if key else {})


async def _require_done(response: aiohttp.ClientResponse) -> None:
    """Raises Refused."""
    if response.status == HTTPStatus.OK:
        return
    try:
        body = json.loads(await response.text())
    except ValueError:  # not the shop's words
        body = {}
    raise Refused(f"{response.method} {response.url.path}", response.status, body)
