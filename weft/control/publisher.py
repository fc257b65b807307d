"""From what is heard to what is published: hold-down, coalescing, consistency."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Final

from weft.control.build import Blueprints, Snapshots
from weft.control.hold_down import HoldDown
from weft.control.metrics import Metrics
from weft.control.resources import DataPlane, Snapshot, inconsistencies
from weft.registry import Instance

__all__ = ["Publisher"]

COALESCE_S: Final = 0.03
"""Changes that come this soon after a published one are published together."""
_log = logging.getLogger(__name__)


class Publisher:
    """Keeps `snapshots` what blueprints and catalog make them, while `run` runs.

    The first change is published at once, those of the next `coalesce_s` together after it. Nothing is published before
    the registry has answered once: a control plane that just started must not withdraw endpoints it has not heard of.

    Args:
        metrics: what becomes known here.
        hold_s: how long a service keeps its last endpoints when the registry names none; see `HoldDown`.
        coalesce_s: least time between two snapshots.
    """

    def __init__(self, metrics: Metrics, *, hold_s: float = 30.0, coalesce_s: float = COALESCE_S) -> None:
        self.snapshots: Snapshots | None = None
        """What is served now; None until there is something to serve."""
        self._metrics = metrics
        self._coalesce_s = coalesce_s
        self._blueprints: Blueprints | None = None
        self._heard: Mapping[str, tuple[Instance, ...]] | None = None
        self._believed = HoldDown(hold_s=hold_s)
        self._changed = asyncio.Event()
        self._watchers: set[asyncio.Event] = set()

    def adopt(self, blueprints: Blueprints) -> None:
        """Use *blueprints* from the next snapshot on."""
        self._blueprints = blueprints
        self._changed.set()

    def hear(self, services: Mapping[str, tuple[Instance, ...]]) -> None:
        """Take note of what the registry says: service -> healthy instances."""
        now_s = asyncio.get_running_loop().time()
        self._heard = services
        self._believe(self._believed.heard(services, now_s))
        self._changed.set()

    @contextmanager
    def watching(self) -> Iterator[asyncio.Event]:
        """Return an event that is set whenever `snapshots` is replaced; whoever waits clears it."""
        event = asyncio.Event()
        self._watchers.add(event)
        try:
            yield event
        finally:
            self._watchers.discard(event)

    async def run(self) -> None:
        """Publish after each change, until cancelled."""
        clock = asyncio.get_running_loop().time
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout_at(self._believed.next_end_s):
                    await self._changed.wait()
            self._changed.clear()
            self._believe(self._believed.at(clock()))
            if self._blueprints is not None and self._heard is not None:
                self._publish(self._blueprints)
            await asyncio.sleep(self._coalesce_s)

    def _believe(self, believed: HoldDown) -> None:
        before, self._believed = self._believed, believed
        self._metrics.held_services.set(len(believed.held))
        for name in sorted(believed.held - before.held):
            extra = {"service": name, "instances": len(believed.services[name]), "hold_s": believed.hold_s}
            _log.warning("the registry names no instance any more, keeping the last ones", extra=extra)
        for name in sorted(before.held - believed.held):
            if name in believed.services:
                _log.info("the registry names instances again", extra={"service": name})
            else:
                _log.warning("no instance came back, the service has none now", extra={"service": name})
        if believed.is_mass and not before.is_mass:
            _log.error(
                "most services lost all instances at once, keeping them", extra={"services": sorted(believed.held)}
            )

    def _publish(self, blueprints: Blueprints) -> None:
        problems: list[str] = []
        snapshots: dict[DataPlane, Snapshot] = {}
        with self._metrics.build_s.time():
            for data_plane, blueprint in blueprints.items():
                try:
                    snapshots[data_plane] = snapshot = blueprint.snapshot(self._believed.services)
                    found = inconsistencies(snapshot, blueprint.elsewhere)
                except ValueError as error:
                    found = (str(error),)
                problems.extend(f"{data_plane.value}: {problem}" for problem in found)
        if problems:
            self._metrics.refused_snapshots.inc()
            _log.error("inconsistent snapshot, serving the one before", extra={"problems": problems})
            return
        if self.snapshots == snapshots:
            return
        self.snapshots = snapshots
        self._metrics.published(snapshots)
        for event in self._watchers:
            event.set()
