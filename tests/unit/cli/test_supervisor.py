from __future__ import annotations

import asyncio
import os
import signal
from typing import Any

import psutil
import pytest

from weft.cli.processes import Child, ProcessFailed, Program, Spec, Stage, tail
from weft.cli.supervisor import Backoff

ENDLESS = "note('up'); signal.signal(signal.SIGTERM, lambda *_: (note('{name}'), sys.exit(0)))\nsignal.pause()"


async def test_a_process_that_is_killed_is_started_again_and_counted(bench: Any, eventually: Any) -> None:
    async with bench.supervising() as supervisor:
        process = await supervisor.start(*bench.script("echo", ENDLESS.format(name="echo")))
        await eventually(lambda: bench.notes() == ["up"])
        first = process.pid

        os.kill(first, signal.SIGKILL)
        await eventually(lambda: bench.notes() == ["up", "up"])

        assert process.pid != first
        assert process.restarts == 1
        assert process.last_exit == "was killed by signal 9"
        assert bench.events == ["echo was killed by signal 9; starting it again in 0.0 s"]


async def test_a_mesh_that_starts_gives_up_on_a_process_that_keeps_ending_and_keeps_its_last_words(bench: Any) -> None:
    async with bench.supervising() as supervisor:
        await supervisor.start(*bench.script("broken", "note('up'); print('no such table'); sys.exit(3)"))
        with pytest.raises(ProcessFailed) as failed:
            await supervisor.guard(_for_ever())

    assert str(failed.value) == "broken exited with code 3, 3 times"
    assert failed.value.log is not None
    assert tail(failed.value.log, 1) == ("no such table",)
    assert bench.notes() == ["up"] * 3


async def test_a_mesh_that_runs_never_gives_up(bench: Any, eventually: Any) -> None:
    async with bench.supervising() as supervisor:
        supervisor.settled()

        await supervisor.start(*bench.script("broken", "note('up'); sys.exit(3)"))

        await eventually(lambda: len(bench.notes()) >= 5)
        assert supervisor.processes["broken"].restarts >= 4


async def test_a_program_that_does_not_exist_fails_the_start(bench: Any) -> None:
    log = bench.folder / "missing.log"
    missing = Child(Program(command=("/does/not/exist",), env={}, cwd=bench.folder, log=log))

    async with bench.supervising() as supervisor:
        await supervisor.start(Spec(name="missing", stage=Stage.SERVICE, log=log), missing)
        with pytest.raises(ProcessFailed):
            await supervisor.guard(_for_ever())

    assert tail(log, 1) == ("/does/not/exist: No such file or directory",)


async def test_stages_end_in_order_whatever_the_order_of_their_start(bench: Any, eventually: Any) -> None:
    async with bench.supervising() as supervisor:
        stages = {"db": Stage.DATABASE, "edge": Stage.GATEWAY, "app": Stage.SERVICE, "dns": Stage.REGISTRY}
        for name, stage in stages.items():
            await supervisor.start(*bench.script(name, ENDLESS.format(name=name), stage=stage))
        await eventually(lambda: len(bench.notes()) == 4)

    assert bench.notes()[4:] == ["app", "edge", "dns", "db"]
    assert bench.records[-1] == frozenset()


async def test_a_process_that_does_not_listen_is_killed_with_its_children(bench: Any, eventually: Any) -> None:
    deaf = "signal.signal(signal.SIGTERM, signal.SIG_IGN); os.fork(); note(os.getpid())\nwhile True: time.sleep(60)"

    async with bench.supervising() as supervisor:
        await supervisor.start(*bench.script("deaf", deaf, stop_s=0.1))
        await eventually(lambda: len(bench.notes()) == 2)

    await eventually(lambda: not any(_lives(int(pid)) for pid in bench.notes()))


async def test_children_that_a_crashed_process_left_are_gone_before_it_starts_again(
    bench: Any, eventually: Any
) -> None:
    async with bench.supervising() as supervisor:
        process = await supervisor.start(*bench.script("forking", "os.fork(); note(os.getpid()); time.sleep(60)"))
        await eventually(lambda: len(bench.notes()) == 2)
        (child,) = (int(pid) for pid in bench.notes() if int(pid) != process.pid)
        os.kill(process.pid, signal.SIGKILL)
        await eventually(lambda: len(bench.notes()) == 4)

        assert not _lives(child)


async def test_a_second_request_to_stop_kills_what_still_drains(bench: Any, eventually: Any) -> None:
    deaf = "signal.signal(signal.SIGTERM, lambda *_: note('draining')); note('up')\nwhile True: time.sleep(60)"

    async with bench.supervising() as supervisor:
        await supervisor.start(*bench.script("slow", deaf, stop_s=60.0))
        await eventually(lambda: bench.notes() == ["up"])
        supervisor.hurry()

    assert bench.records[-1] == frozenset()


async def test_nothing_is_started_once_all_is_being_stopped(bench: Any) -> None:
    async with bench.supervising() as supervisor:
        pass

    late = bench.script("late", "")
    with pytest.raises(ProcessFailed, match="the mesh is stopping"):
        await supervisor.start(*late)


async def test_a_stopped_process_is_forgotten_and_its_name_free(bench: Any, eventually: Any) -> None:
    async with bench.supervising() as supervisor:
        old = await supervisor.start(*bench.script("app", ENDLESS.format(name="old")))
        new = await supervisor.start(*bench.script("app.next", ENDLESS.format(name="new")))
        await eventually(lambda: len(bench.notes()) == 2)

        await supervisor.stop(old)
        supervisor.rename(new, "app")

        assert list(supervisor.processes.values()) == [new]
        assert new.record.name == new.spec.name == "app"


@pytest.mark.parametrize(("quick_ends", "wait_s"), [(1, 0.2), (2, 0.4), (3, 0.8), (6, 6.4), (7, 10.0), (5000, 10.0)])
def test_the_wait_doubles_up_to_its_cap(quick_ends: int, wait_s: float) -> None:
    assert Backoff().wait_s(quick_ends) == pytest.approx(wait_s)


def _lives(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


async def _for_ever() -> None:
    await asyncio.get_running_loop().create_future()
