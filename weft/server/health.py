"""`grpc.health.v1`, driven by what the process itself owns.

Its database. Never by peers, or one outage would become everyone's.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import Any, Final

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

__all__ = ["Health"]

SERVING: Final = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING: Final = health_pb2.HealthCheckResponse.NOT_SERVING
_CACHE_S: Final = 0.5  # under the registry's interval, so that each of its checks sees a fresh answer
_log = logging.getLogger(__name__)

Probe = Callable[[], Awaitable[None]]
"""Returns when what the process needs works, raises otherwise; brings its own deadline."""


class Health(health_pb2_grpc.HealthServicer):  # type: ignore[misc]  # generated without types
    """Answers for a set of services by one probe.

    The probe's answer is kept for half a second and one caller probes while the others wait, so that any number of
    checkers cost the
    database the same.
    """

    def __init__(self, services: Iterable[str], probe: Probe | None = None) -> None:
        self._services = frozenset(("", *services))
        self._probe = probe
        self._probing: asyncio.Task[bool] | None = None
        self._probed_s = float("-inf")
        self._works = True
        self._draining = asyncio.Event()

    def drain(self) -> None:
        """Answer NOT_SERVING from now on, and end every Watch."""
        self._draining.set()

    async def serving(self) -> bool:
        """Tell whether calls should come here."""
        if self._draining.is_set():
            return False
        if self._probe is None:
            return True
        if time.monotonic() - self._probed_s > _CACHE_S:
            if self._probing is None:
                self._probing = asyncio.create_task(self._run_probe(self._probe))
            await asyncio.shield(self._probing)
        return self._works and not self._draining.is_set()

    async def _run_probe(self, probe: Probe) -> bool:
        try:
            await probe()
            works = True
        except Exception as error:  # noqa: BLE001 (whatever it is, it does not work)
            works = False
            if self._works:
                _log.warning("not serving", extra={"exception.type": type(error).__qualname__})
        if works and not self._works:
            _log.info("serving again")
        self._works, self._probed_s, self._probing = works, time.monotonic(), None
        return works

    async def Check(self, request: Any, context: Any) -> Any:
        if request.service not in self._services:
            await context.abort(grpc.StatusCode.NOT_FOUND, "unknown service")
        return health_pb2.HealthCheckResponse(status=SERVING if await self.serving() else NOT_SERVING)

    async def Watch(self, request: Any, context: Any) -> AsyncIterator[Any]:
        last = None
        while not self._draining.is_set():
            if request.service not in self._services:
                status = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
            else:
                status = SERVING if await self.serving() else NOT_SERVING
            if status != last:
                yield health_pb2.HealthCheckResponse(status=status)
                last = status
            try:
                await asyncio.wait_for(self._draining.wait(), _CACHE_S)
            except TimeoutError:
                continue
        yield health_pb2.HealthCheckResponse(status=NOT_SERVING)
