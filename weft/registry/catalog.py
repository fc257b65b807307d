"""The mesh's view of who is there: every service and its healthy instances, followed as they change."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType, TracebackType
from typing import Any, Final, Self

from weft.registry.blocking import BlockingQuery, Pace
from weft.registry.client import DEFAULT_WAIT_S, Answer, Consul
from weft.registry.instance import Instance

log = logging.getLogger(__name__)

CONSUL_ITSELF: Final = "consul"


@dataclass(frozen=True, slots=True)
class Catalog:
    """Who was healthy at one moment. Immutable; two catalogs are equal if they say the same."""

    services: Mapping[str, tuple[Instance, ...]]
    """Service -> healthy instances by id, services by name. None left, or a service gone for good, is an empty tuple:
    that nobody is there is an answer, not the lack of one."""


class CatalogWatch(AsyncIterator[Catalog]):
    """Iterates over the catalog as it changes; made by `watch_catalog`.

    Changes that come while nobody asks are coalesced into one catalog. Cancelling a pending `__anext__`, `aclose()`, or
    leaving `async with` ends the watch and everything it runs.
    """

    def __init__(self, consul: Consul, *, wait_s: float, max_services: int, pace: Pace | None) -> None:
        self._consul = consul
        self._wait_s = wait_s
        self._max_services = max_services
        self._pace = pace
        self._names = BlockingQuery("services", self._ask_names, pace=pace, on_lost=self._start_over)
        self._healthy: dict[str, tuple[Instance, ...]] = {}
        self._watched: dict[str, tuple[BlockingQuery[tuple[Instance, ...]], asyncio.Task[None]]] = {}
        self._names_heard = False
        self._complete = False
        self._changed = asyncio.Event()
        self._last: Catalog | None = None
        self._runner: asyncio.Task[None] | None = None
        self._closed = False

    @property
    def stale_since(self) -> float | None:
        """Instant of the event loop's clock since which part of the catalog is unconfirmed; None while all is fresh."""
        queries: list[BlockingQuery[Any]] = [self._names, *(query for query, _ in self._watched.values())]
        return min((since for query in queries if (since := query.stale_since) is not None), default=None)

    async def __anext__(self) -> Catalog:
        """Wait for a catalog that differs from the one before; the first is complete, however long that takes."""
        try:
            catalog = await self._next()
        except BaseException:
            await self.aclose()
            raise
        if catalog is None:
            raise StopAsyncIteration
        return catalog

    async def _next(self) -> Catalog | None:
        if self._runner is None and not self._closed:
            self._runner = asyncio.create_task(self._run(), name="watch catalog")
            self._runner.add_done_callback(lambda _: self._changed.set())
        while not self._closed:
            await self._changed.wait()
            self._changed.clear()
            if self._runner is not None and self._runner.done() and not self._closed:
                self._runner.result()  # raises what ended it
            catalog = self._catalog()
            if catalog is not None and catalog != self._last:
                self._last = catalog
                return catalog
        return None

    async def aclose(self) -> None:
        """End the watch; once is enough, more do no harm."""
        self._closed = True
        if self._runner is not None:
            self._runner.cancel()
            await asyncio.wait([self._runner])

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def _catalog(self) -> Catalog | None:
        # Before every service has been heard of once, those still missing would look as if they had no instances.
        self._complete = self._complete or (self._names_heard and self._watched.keys() <= self._healthy.keys())
        if not self._complete:
            return None
        return Catalog(MappingProxyType(dict(sorted(self._healthy.items()))))

    async def _run(self) -> None:
        async with asyncio.TaskGroup() as group:
            async for names in self._names.changes():
                self._follow_only(self._admitted(names), group)
                self._names_heard = True
                self._changed.set()

    def _admitted(self, names: frozenset[str]) -> list[str]:
        ours = names - {CONSUL_ITSELF}
        newcomers = sorted(ours - self._watched.keys())
        room = self._max_services - len(ours & self._watched.keys())
        if len(newcomers) > room:  # whoever is watched stays: a newcomer must not make it look gone
            extra = {"weft.services": len(ours), "weft.max_services": self._max_services}
            log.error("more services than can be watched, the last to come are left out", extra=extra)
        return sorted(ours & self._watched.keys()) + newcomers[:room]

    def _follow_only(self, names: list[str], group: asyncio.TaskGroup) -> None:
        for gone in self._watched.keys() - set(names):
            self._watched.pop(gone)[1].cancel()
            self._healthy[gone] = ()
        for name in names:
            if name not in self._watched:
                ask = partial(self._ask_healthy, name)
                query = BlockingQuery(name, ask, pace=self._pace, on_lost=self._start_over)
                self._watched[name] = query, group.create_task(self._follow(name, query), name=f"watch {name}")

    def _start_over(self) -> None:
        """Ask every question anew: what one of them has lost may be a registry that forgot what the others know."""
        queries: list[BlockingQuery[Any]] = [self._names, *(query for query, _ in self._watched.values())]
        for query in queries:
            query.start_over()

    async def _ask_names(self, index: int) -> Answer[frozenset[str]]:
        return await self._consul.services(index=index, wait_s=self._wait_s)

    async def _ask_healthy(self, name: str, index: int) -> Answer[tuple[Instance, ...]]:
        return await self._consul.healthy(name, index=index, wait_s=self._wait_s)

    async def _follow(self, name: str, query: BlockingQuery[tuple[Instance, ...]]) -> None:
        async for instances in query.changes():
            self._healthy[name] = instances
            self._changed.set()


def watch_catalog(
    consul: Consul, *, wait_s: float = DEFAULT_WAIT_S, max_services: int = 150, pace: Pace | None = None
) -> CatalogWatch:
    """Follow the catalog; iterate over the result inside `async with`, so that the watch ends when the block does.

    One watch on the names of all services and one per service on its healthy instances; Consul's own service is left
    out. While the registry does not answer nothing is yielded, and `CatalogWatch.stale_since` tells since when.

    Args:
        consul: the agent to ask.
        wait_s: how long one blocking query waits, (0, 600].
        max_services: upper bound. Every service takes one connection, of which a Consul agent grants a client 200
            unless `limits.http_max_conns_per_client` says otherwise.
        pace: how often one query may be repeated.
    """
    return CatalogWatch(consul, wait_s=wait_s, max_services=max_services, pace=pace)
