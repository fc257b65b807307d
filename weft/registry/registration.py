"""Keeping one instance registered, whatever happens to the registry meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from weft.registry.blocking import backoff_s
from weft.registry.client import Consul
from weft.registry.errors import RegistryError
from weft.registry.instance import Check, Instance
from weft.registry.wire import describes, occupies

log = logging.getLogger(__name__)


class Registration:
    """Where one kept registration stands."""

    def __init__(self, instance: Instance) -> None:
        self.instance = instance
        self.last_error: RegistryError | None = None
        """Why the registry could not be told lately; None while it knows the instance."""
        self._registered = asyncio.Event()

    async def first(self) -> None:
        """Wait until the agent has accepted the instance for the first time; the catalog follows a moment later."""
        await self._registered.wait()

    @property
    def happened(self) -> bool:
        """Whether `first` has come true."""
        return self._registered.is_set()


@asynccontextmanager
async def registered(
    consul: Consul,
    instance: Instance,
    check: Check,
    *,
    interval_s: float = 1.5,
    deregister_timeout_s: float = 2.0,
) -> AsyncIterator[Registration]:
    """Keep *instance* registered while the block runs, and deregister it at the end.

    Entering never waits for the registry and never fails because of it. A loop registers the instance, then asks the
    agent every *interval_s* seconds, give or take a quarter, whether it still knows it, and registers it again when it
    does not or knows it differently: the registry was restarted empty, restored, or told something else.

    Leaving takes at most *deregister_timeout_s* seconds; a deregistration that fails is logged and left to the check's
    `deregister_critical_after_s`. An id that another process has taken over meanwhile is left alone.
    """
    registration = Registration(instance)
    stopping = asyncio.Event()
    task = asyncio.create_task(_keep(consul, registration, check, interval_s, stopping), name=f"keep {instance.id}")
    try:
        yield registration
    finally:
        stopping.set()
        try:
            async with asyncio.timeout(deregister_timeout_s):
                # A registration under way is waited for: cancelled, it could still reach the agent, after its undoing.
                await task
                await _deregister(consul, instance)
        except (RegistryError, TimeoutError) as error:
            extra = {"weft.instance": instance.id, "error.message": str(error) or "no answer in time"}
            log.warning("instance left registered", extra=extra)
        finally:
            task.cancel()


async def _keep(
    consul: Consul, registration: Registration, check: Check, interval_s: float, stopping: asyncio.Event
) -> None:
    failures = 0
    while not stopping.is_set():
        try:
            await _converge(consul, registration, check)
        except RegistryError as error:
            failures += 1
            if registration.last_error is None:
                extra = {"weft.instance": registration.instance.id, "error.message": str(error)}
                log.warning("instance cannot be registered", extra=extra)
            registration.last_error = error
            pause_s = backoff_s(failures, cap_s=interval_s)
        else:
            failures = 0
            registration.last_error = None
            pause_s = interval_s * random.uniform(0.75, 1.25)  # noqa: S311 not a secret
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stopping.wait(), pause_s)


async def _converge(consul: Consul, registration: Registration, check: Check) -> None:
    instance = registration.instance
    # Before the first registration nothing is asked: what an earlier run left behind may carry other checks.
    if registration.happened and describes(await consul.agent_service(instance.id), instance):
        return
    await consul.register(instance, (check,))
    extra = {"weft.instance": instance.id, "weft.service": instance.service}
    log.info("instance registered again" if registration.happened else "instance registered", extra=extra)
    registration._registered.set()  # noqa: SLF001 the other half of this module


async def _deregister(consul: Consul, instance: Instance) -> None:
    known = await consul.agent_service(instance.id)
    if known is None:
        return
    if not occupies(known, instance):
        log.warning("instance id taken over, left alone", extra={"weft.instance": instance.id})
        return
    await consul.deregister(instance.id)
    log.info("instance deregistered", extra={"weft.instance": instance.id})
