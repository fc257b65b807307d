"""A fork server makes processes that are as if they had been started, and takes them along when it goes."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import psutil
import pytest

from weft.cli.forked import Forked, Forkserver
from weft.cli.probes import free_ports, is_listening
from weft.cli.processes import Program

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="its children would outlive it elsewhere")
ROOT = Path(__file__).parents[3]
Eventually = Callable[[Callable[[], bool]], Awaitable[None]]


@pytest.fixture(name="edited")
def _edited(tmp_path: Path) -> Path:
    """Return a file whose code the server has, and that writes down each interpreter that reads it."""
    edited = tmp_path / "path" / "sitecustomize.py"
    edited.parent.mkdir()
    edited.write_text(f"with open({str(tmp_path / 'interpreters')!r}, 'a') as file: file.write('.')\n")
    return edited


@pytest.fixture(name="server")
async def _server(tmp_path: Path, edited: Path) -> AsyncIterator[Forkserver]:
    path = os.pathsep.join(map(str, (edited.parent, ROOT, ROOT / "gen")))
    command = (sys.executable, "-P", "-m", "weft.cli.forkserver")
    server = Forkserver(
        Program(command=command, env={"PYTHONPATH": path}, cwd=tmp_path, log=tmp_path / "forkserver.log")
    )
    await server.start()
    try:
        yield server
    finally:
        await server.stop(signal.SIGTERM, 0)


class Agent:
    """A command that runs until it is stopped: the embedded registry."""

    def __init__(self, server: Forkserver, folder: Path) -> None:
        (self.port,) = free_ports(1)
        self.log = folder / f"{self.port}.log"
        program = Program(
            command=("agent", "--port", str(self.port)),
            env={"HOME": "/nowhere", "TOP_SECRET": "s3cr3t"},
            cwd=folder,
            log=self.log,
        )
        self.process = Forked(server, program)

    async def start(self) -> psutil.Process:
        """Start it and return once it listens."""
        process = psutil.Process(await self.process.start())
        async with asyncio.timeout(30):
            while not await is_listening(self.port):
                await asyncio.sleep(0.01)
        return process


def streams(pid: int) -> list[str]:
    """Return what standard input, output and error of process *pid* are."""
    return [str(Path(f"/proc/{pid}/fd/{number}").readlink()) for number in range(3)]


async def test_a_child_has_an_environment_a_folder_and_a_log_of_its_own(server: Forkserver, tmp_path: Path) -> None:
    folder = tmp_path / "else"
    folder.mkdir()
    agent = Agent(server, folder)

    process = await agent.start()

    assert process.cwd() == str(folder)
    assert os.getpgid(process.pid) == process.pid
    assert streams(process.pid) == [os.devnull, str(agent.log), str(agent.log)]
    assert process.ppid() != os.getpid()


async def test_the_end_of_a_child_is_told_with_its_exit_code(server: Forkserver, tmp_path: Path) -> None:
    log = tmp_path / "child.log"
    child = Forked(server, Program(command=("run", "no-such"), env={}, cwd=ROOT, log=log))

    await child.start()

    assert await child.wait() == 2
    assert "no service no-such" in log.read_text()


async def test_a_child_is_stopped_as_it_asks_to_be_or_killed_when_its_time_is_up(
    server: Forkserver, tmp_path: Path
) -> None:
    polite, hurried = Agent(server, tmp_path), Agent(server, tmp_path)
    await asyncio.gather(polite.start(), hurried.start())

    await polite.process.stop(signal.SIGTERM, 30)
    await hurried.process.stop(signal.SIGCONT, 0)
    await hurried.process.stop(signal.SIGCONT, 0)

    assert (await polite.process.wait(), await hurried.process.wait()) == (0, -signal.SIGKILL)


async def test_children_die_with_their_server_and_can_be_made_again_by_a_new_one(
    server: Forkserver, tmp_path: Path
) -> None:
    agent = Agent(server, tmp_path)
    process = await agent.start()

    await server.stop(signal.SIGTERM, 0)
    assert await agent.process.wait() == -signal.SIGKILL
    process.wait(30)
    with pytest.raises(OSError, match="not running"):
        await agent.process.start()

    await server.start()
    await agent.start()


async def test_a_start_that_is_given_up_leaves_no_child(
    server: Forkserver, tmp_path: Path, eventually: Eventually
) -> None:
    first, second = Agent(server, tmp_path), Agent(server, tmp_path)
    parent = psutil.Process((await first.start()).ppid())

    starting = asyncio.create_task(second.process.start())
    await asyncio.sleep(0)  # it has ordered
    starting.cancel()
    await Agent(server, tmp_path).start()  # so the one before has been made

    await eventually(lambda: len(parent.children()) == 2)


async def test_code_that_was_edited_is_read_again_and_children_stay(
    server: Forkserver, tmp_path: Path, edited: Path
) -> None:
    before, after = Agent(server, tmp_path), Agent(server, tmp_path)
    old = await before.start()

    os.utime(edited, (1, 1))
    new = await after.start()

    assert (tmp_path / "interpreters").read_text() == ".."
    assert (new.ppid(), old.ppid()) == (old.ppid(), old.ppid())
    await before.process.stop(signal.SIGTERM, 30)
    assert await before.process.wait() == 0


async def test_an_order_is_not_to_be_read_on_a_command_line(server: Forkserver, tmp_path: Path, edited: Path) -> None:
    await Agent(server, tmp_path).start()
    os.utime(edited, (1, 1))

    process = await Agent(server, tmp_path).start()

    lines = [" ".join(each.cmdline()) for each in (process, psutil.Process(process.ppid()))]
    assert not any("s3cr3t" in line for line in lines)
    assert process.name().startswith("weft ")
