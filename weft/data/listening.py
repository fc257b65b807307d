"""LISTEN on a connection of its own, that comes back when it is lost."""

from __future__ import annotations

import asyncio
import logging
import random
from contextlib import aclosing
from enum import Enum
from typing import TYPE_CHECKING, Any, Final

import asyncpg

from weft.data.faults import DRIVER_ERRORS

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping

__all__ = ["MISSED", "Missed"]

log = logging.getLogger(__name__)

HEARTBEAT_S: Final = 5.0
RECONNECT_MAX_S: Final = 5.0
QUEUE_MAX: Final = 10_000


class Missed(Enum):
    MISSED = "missed"


MISSED: Final = Missed.MISSED
"""Messages may have been missed before this point: read the state anew."""


async def messages(url: str, channel: str, options: Mapping[str, Any]) -> AsyncGenerator[str | Missed]:
    """Yield the payloads sent to *channel*, and MISSED first and after each reconnection."""
    failures = 0
    while True:
        try:
            connection = await asyncpg.connect(url, **options)
        except DRIVER_ERRORS as error:
            failures += 1
            log.log(
                logging.WARNING if failures == 1 else logging.DEBUG,
                "cannot listen",
                extra={"error.type": type(error).__name__},
            )
            await asyncio.sleep(random.uniform(0, min(RECONNECT_MAX_S, 0.05 * 2**failures)))  # noqa: S311  # jitter
            continue
        failures = 0
        try:
            async with aclosing(_until_lost(connection, channel)) as received:
                async for message in received:
                    yield message
        except DRIVER_ERRORS as error:
            log.warning("stopped listening", extra={"error.type": type(error).__name__})
        finally:
            connection.terminate()


async def _until_lost(connection: asyncpg.Connection[asyncpg.Record], channel: str) -> AsyncGenerator[str | Missed]:
    inbox: asyncio.Queue[str | Missed | None] = asyncio.Queue()

    def receive(_connection: object, _pid: int, _channel: str, payload: object) -> None:
        if inbox.qsize() < QUEUE_MAX:
            inbox.put_nowait(str(payload))
        elif inbox.qsize() == QUEUE_MAX:  # the consumer is too slow to keep everything for
            inbox.put_nowait(MISSED)

    connection.add_termination_listener(lambda _connection: inbox.put_nowait(None))
    await connection.add_listener(channel, receive)
    yield MISSED
    while True:
        try:
            async with asyncio.timeout(HEARTBEAT_S):
                message = await inbox.get()
        except TimeoutError:
            await connection.execute("SELECT 1", timeout=HEARTBEAT_S)  # a peer that vanished without a word
            continue
        if message is None:
            return
        yield message
