"""Conditions a starting mesh waits for, asked over loopback. None of them raises: what can't be asked is not ready."""

from __future__ import annotations

import asyncio
import http.client
import json
import random
import socket
from contextlib import suppress
from itertools import islice
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import psutil

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

__all__ = [
    "fetch",
    "free_ports",
    "health_entries",
    "health_of",
    "is_free",
    "is_listening",
    "listening_ports",
    "port_owner",
    "until",
]

HOST: Final = "127.0.0.1"
POLL_S: Final = 0.03
ANSWER_S: Final = 2.0
FIXED_PORTS: Final = range(20_000, 32_000)


async def until(condition: Callable[[], Awaitable[bool]], timeout_s: float, *, poll_s: float = POLL_S) -> None:
    """Return when *condition*, asked every *poll_s*, holds. Raises `TimeoutError` after *timeout_s*."""
    async with asyncio.timeout(timeout_s):
        while not await condition():  # noqa: ASYNC110  # what it asks lives in other processes
            await asyncio.sleep(poll_s)


async def fetch(url: str, *, token: str | None = None) -> bytes | None:
    """Return the body that `GET` *url* answers with status 200, else None."""
    return await asyncio.to_thread(_fetch, url, {"X-Consul-Token": token} if token else {})


def _fetch(url: str, headers: dict[str, str]) -> bytes | None:
    parts = urlsplit(url)
    # http.client heeds no proxy settings: everything asked here is close by.
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname or HOST, parts.port, timeout=ANSWER_S)
    try:
        connection.request("GET", f"{parts.path or '/'}{f'?{parts.query}' if parts.query else ''}", headers=headers)
        response = connection.getresponse()
        body = response.read()
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()
    return body if response.status == http.client.OK else None


async def is_listening(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection(HOST, port)
    except OSError:
        return False
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()
    return True


async def health_entries(registry_url: str, service: str, *, token: str | None = None) -> list[dict[str, Any]]:
    """Return the entries of Consul's `/v1/health/service/<service>`; none if it does not answer."""
    body = await fetch(f"{registry_url}/v1/health/service/{service}", token=token)
    return json.loads(body) if body else []


def health_of(entry: dict[str, Any]) -> str:
    """Return the worst status among an entry's checks."""
    statuses = {check["Status"] for check in entry["Checks"]}
    return next((status for status in ("critical", "warning") if status in statuses), "passing")


def listening_ports(pid: int) -> frozenset[int]:
    """Return the TCP ports process *pid* listens on; none if it ended."""
    try:
        connections = psutil.Process(pid).net_connections(kind="tcp")
    except psutil.Error:
        return frozenset()
    return frozenset(each.laddr.port for each in connections if each.status == psutil.CONN_LISTEN)


def is_free(port: int) -> bool:
    """Tell whether nobody listens on *port*, not even one who would share it: Envoy's listeners do."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
            probe.listen()
        except OSError:
            return False
    return True


def free_ports(count: int) -> tuple[int, ...]:
    """Return *count* ports for processes that keep them over restarts.

    Chosen below the ephemeral range: there, an outgoing connection could take the port while the process is away.
    """
    return tuple(islice(filter(is_free, random.sample(FIXED_PORTS, len(FIXED_PORTS))), count))


def port_owner(port: int) -> str | None:
    """Return who listens on *port*, as far as we may know."""
    with suppress(psutil.Error):
        for each in psutil.net_connections(kind="tcp"):
            if each.status == psutil.CONN_LISTEN and each.laddr and each.laddr.port == port and each.pid:
                return f"{psutil.Process(each.pid).name()}, pid {each.pid}"
    return None
