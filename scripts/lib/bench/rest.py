"""JSON over HTTP, one call at a time, for what is done before anything is measured."""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping
from contextlib import closing
from typing import Any, Final

from scripts.lib.bench.result import BenchFailed

__all__ = ["call"]

ANSWER_S: Final = 10.0


def call(
    method: str, url: str, path: str, body: Mapping[str, Any] | None = None, *, token: str = "", key: str = ""
) -> Any:
    """Return the answer.

    Args:
        method: of HTTP.
        url: of the server, `http://host:port`.
        path: on it.
        body: sent as JSON.
        token: of the caller.
        key: makes a repeat safe.

    Raises:
        BenchFailed: its status isn't 200.
    """
    headers = {"content-type": "application/json", "authorization": token and f"Bearer {token}", "idempotency-key": key}
    with closing(http.client.HTTPConnection(url.removeprefix("http://"), timeout=ANSWER_S)) as connection:
        text = None if body is None else json.dumps(body)
        connection.request(method, path, text, {name: value for name, value in headers.items() if value})
        response = connection.getresponse()
        answer = response.read().decode(errors="replace")
    if response.status != http.client.OK:
        raise BenchFailed(f"{method} {path} answers {response.status}: {answer[:300]}")
    return json.loads(answer)
