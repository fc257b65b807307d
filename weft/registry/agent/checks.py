"""Running checks: one task per check, and a reaper of instances that stay critical."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Self

import aiohttp

from weft.registry.agent.definition import CheckDefinition, Status
from weft.registry.agent.probes import Outcome, probe_of
from weft.registry.agent.state import State

log = logging.getLogger(__name__)


class Checker:
    """Probes what `State` holds checks for, and notes the outcomes there; an async context manager.

    Consul spreads first probes over one interval; here they run at once, since there is one machine and few instances.

    Args:
        state: where outcomes go.
        minimum_interval_s: shorter intervals are raised to this, as in Consul.
        reap_every_s: how often instances that stay critical are looked for.
        minimum_deregister_s: lower bound of `DeregisterCriticalServiceAfter`, as in Consul.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        state: State,
        *,
        minimum_interval_s: float = 1.0,
        reap_every_s: float = 30.0,
        minimum_deregister_s: float = 60.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._state = state
        self._minimum_interval_s = minimum_interval_s
        self._reap_every_s = reap_every_s
        self._minimum_deregister_s = minimum_deregister_s
        self._clock = clock
        self._definitions: dict[str, CheckDefinition] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._beats: dict[str, asyncio.Event] = {}
        self._critical_since: dict[str, float] = {}
        self._stack = AsyncExitStack()
        self._group = asyncio.TaskGroup()

    async def __aenter__(self) -> Self:
        no_limit = aiohttp.ClientTimeout(total=None)  # every check brings its own
        self._session = await self._stack.enter_async_context(aiohttp.ClientSession(timeout=no_limit))
        await self._stack.enter_async_context(self._group)
        self._reaper = self._group.create_task(self._reap_forever(), name="reap critical instances")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._reaper.cancel()
        for task in self._tasks.values():
            task.cancel()
        await self._stack.aclose()

    def start(self, definitions: Iterable[CheckDefinition]) -> None:
        """Run *definitions*, which `State` knows already, in place of earlier ones with the same ids."""
        for definition in definitions:
            check_id = definition.check_id
            self._stop(check_id)
            self._definitions[check_id] = definition
            self._observe(check_id)
            if definition.kind == "ttl":
                beat = self._beats[check_id] = asyncio.Event()
                run = self._expire(definition, beat)
            else:
                run = self._probe(definition)
            self._tasks[check_id] = self._group.create_task(run, name=check_id)

    def prune(self) -> None:
        """Stop every check that `State` has forgotten."""
        for check_id in [known for known in self._definitions if self._state.check(known) is None]:
            self._stop(check_id)
            del self._definitions[check_id]
            self._critical_since.pop(check_id, None)

    def beat(self, check_id: str, status: Status, note: str) -> bool:
        """Note what the owner of a TTL check says and start its time anew; False if there is no such check."""
        beat = self._beats.get(check_id)
        if beat is None:
            return False
        beat.set()
        self._note(check_id, (status, note))
        return True

    def reap(self) -> list[str]:
        """Deregister the instances that were critical for too long, and return their ids."""
        reaped = []
        for check_id, since in list(self._critical_since.items()):
            after_s = self._definitions[check_id].deregister_critical_after_s
            check = self._state.check(check_id)
            if check and after_s and self._clock() - since > max(after_s, self._minimum_deregister_s):
                log.warning("instance critical for too long, deregistered", extra={"weft.instance": check.service_id})
                self._state.deregister(check.service_id)
                reaped.append(check.service_id)
        self.prune()
        return reaped

    def _stop(self, check_id: str) -> None:
        self._beats.pop(check_id, None)
        if task := self._tasks.pop(check_id, None):
            task.cancel()

    def _note(self, check_id: str, outcome: Outcome) -> None:
        self._state.set_status(check_id, *outcome)
        self._observe(check_id)

    def _observe(self, check_id: str) -> None:
        check = self._state.check(check_id)
        if check is not None and check.status == "critical":
            self._critical_since.setdefault(check_id, self._clock())
        else:
            self._critical_since.pop(check_id, None)

    async def _probe(self, definition: CheckDefinition) -> None:
        interval_s = max(definition.interval_s, self._minimum_interval_s)
        try:
            async with probe_of(definition, self._session) as probe:
                while True:
                    self._note(definition.check_id, await probe())
                    await asyncio.sleep(interval_s)
        except Exception as error:  # one check that cannot be run must not end the others
            log.exception("check cannot be run", extra={"weft.check": definition.check_id})
            self._note(definition.check_id, ("critical", f"cannot be run: {error!r}"))

    async def _expire(self, definition: CheckDefinition, beat: asyncio.Event) -> None:
        while True:
            try:
                async with asyncio.timeout(definition.ttl_s):
                    await beat.wait()
            except TimeoutError:
                self._note(definition.check_id, ("critical", "TTL expired"))
                await beat.wait()
            beat.clear()

    async def _reap_forever(self) -> None:
        while True:
            await asyncio.sleep(self._reap_every_s)
            self.reap()
