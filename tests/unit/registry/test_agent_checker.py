"""TTLs, and the reaper of instances that stay critical, on a clock of our own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from weft.registry.agent.checks import Checker
from weft.registry.agent.definition import CheckDefinition, ServiceDefinition
from weft.registry.agent.state import State


class Clock:
    now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


class Registered:
    """An agent's insides with one instance, `mugs-1`."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.state = State()
        self.checker = Checker(self.state, clock=self.clock)

    def register(self, *, ttl_s: float = 3600, after_s: float = 90) -> None:
        mug = ServiceDefinition(id="mugs-1", name="mugs", port=4001)
        alive = CheckDefinition(
            check_id="alive", name="alive", kind="ttl", ttl_s=ttl_s, deregister_critical_after_s=after_s
        )
        self.state.register(mug, [alive])
        self.checker.prune()
        self.checker.start([alive])

    @property
    def status(self) -> str | None:
        check = self.state.check("alive")
        return None if check is None else check.status


@pytest.fixture(name="registered")
async def _registered() -> AsyncIterator[Registered]:
    registered = Registered()
    async with registered.checker:
        yield registered


async def test_an_instance_is_reaped_only_after_its_time_is_over(registered: Registered) -> None:
    registered.register(after_s=90)

    registered.clock.now_s += 90
    assert registered.checker.reap() == []
    registered.clock.now_s += 1
    assert registered.checker.reap() == ["mugs-1"]

    assert registered.state.names().value == {}


async def test_a_time_below_a_minute_is_a_minute(registered: Registered) -> None:
    registered.register(after_s=1)

    registered.clock.now_s += 60
    assert registered.checker.reap() == []
    registered.clock.now_s += 1
    assert registered.checker.reap() == ["mugs-1"]


async def test_no_time_is_never(registered: Registered) -> None:
    registered.register(after_s=0)

    registered.clock.now_s += 1e9

    assert registered.checker.reap() == []


async def test_recovering_starts_the_time_anew(registered: Registered) -> None:
    registered.register(after_s=90)

    registered.clock.now_s += 80
    registered.checker.beat("alive", "passing", "")
    registered.clock.now_s += 80
    assert registered.checker.reap() == []
    registered.checker.beat("alive", "critical", "")
    registered.clock.now_s += 80
    assert registered.checker.reap() == []

    registered.clock.now_s += 11
    assert registered.checker.reap() == ["mugs-1"]


async def test_registering_again_while_critical_does_not_start_the_time_anew(registered: Registered) -> None:
    registered.register(after_s=90)
    registered.clock.now_s += 80

    registered.register(after_s=90)

    registered.clock.now_s += 11
    assert registered.checker.reap() == ["mugs-1"]


async def test_a_beat_for_a_check_nobody_has_is_refused(registered: Registered) -> None:
    assert not registered.checker.beat("unknown", "passing", "")


async def test_a_silent_owner_turns_its_check_critical(registered: Registered) -> None:
    registered.register(ttl_s=0.01)
    registered.checker.beat("alive", "passing", "")

    async with asyncio.timeout(5):
        while registered.status != "critical":
            await asyncio.sleep(0)


async def test_a_forgotten_instance_leaves_no_task_behind(registered: Registered) -> None:
    registered.register()
    (running,) = [task for task in asyncio.all_tasks() if task.get_name() == "alive"]

    registered.state.deregister("mugs-1")
    registered.checker.prune()

    await asyncio.wait([running], timeout=5)
    assert running.cancelled()
    assert registered.status is None
