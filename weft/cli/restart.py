"""Rolling restart: each replica is replaced by one that already serves, so capacity never drops."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from weft.cli import probes
from weft.cli.commands import CommandFailed, ask
from weft.cli.processes import tail

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from weft.cli.mesh import Mesh
    from weft.cli.state import State
    from weft.cli.supervisor import Supervised
    from weft.cli.terminal import Terminal

__all__ = ["restart", "rolling_restart"]

READY_S: Final = 60.0
LAST_WORDS: Final = 20


async def rolling_restart(mesh: Mesh, service: str) -> AsyncIterator[str]:
    """Replace the replicas of *service* one after another; yield a line for each.

    Raises:
        CommandFailed: there is no such service, or a replacement does not come up. It is stopped then, and the old
            replica goes on serving.
    """
    supervisor = mesh.supervisor
    replicas = [each for each in supervisor.processes.values() if each.spec.service == service]
    if not replicas:
        raise CommandFailed(f"no service {service!r} runs here")
    for old in replicas:
        name = old.spec.name
        if f"{name}.next" in supervisor.processes:
            raise CommandFailed(f"{name} is being restarted already")
        new = await mesh.start_replica(service, f"{name}.next", old.spec.log)
        try:
            await _until_up_or_ended(mesh, new)
        except TimeoutError:
            new.last_exit = f"is not ready after {READY_S:.0f} s"
        except BaseException:
            await supervisor.stop(new)
            raise
        if new.last_exit is not None:
            await supervisor.stop(new)
            words = "\n".join(tail(old.spec.log, LAST_WORDS))
            raise CommandFailed(f"the replacement of {name} {new.last_exit}; the old one goes on\n{words}")
        await supervisor.stop(old)
        supervisor.rename(new, name)
        yield f"{name} replaced, now pid {new.pid}"


async def _until_up_or_ended(mesh: Mesh, replica: Supervised) -> None:
    async def is_decided() -> bool:
        return replica.last_exit is not None or await mesh.is_passing([replica])

    await probes.until(is_decided, READY_S)


def restart(state: State, terminal: Terminal, service: str) -> int:
    """Ask the supervisor for a rolling restart; return 0 when every replica was replaced."""
    record = state.read()
    if record is None:
        terminal.fail(f"no mesh runs from {state.path}")
        return 1
    try:
        ask(record, "restart", terminal.done, service=service)
    except CommandFailed as error:
        message, *last_words = str(error).split("\n")
        terminal.fail(message, last_words)
        return 1
    return 0
