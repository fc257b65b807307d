"""`weft status`: what runs, and what the registry says about it."""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import psutil

from weft.cli import probes
from weft.cli.commands import CommandFailed, ask
from weft.cli.terminal import format_table

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

    from weft.cli.mesh import Mesh
    from weft.cli.state import State
    from weft.cli.supervisor import Supervised
    from weft.cli.terminal import Terminal

__all__ = ["describe", "status"]


async def describe(mesh: Mesh, phase: str) -> dict[str, Any]:
    """Return what `weft status --json` prints.

    `rss_bytes` counts pages shared with other processes fully, `pss_bytes` this process's share of them (Linux only).
    """
    processes = list(mesh.supervisor.processes.values())
    ports = {port: each.spec.name for each in processes if each.pid for port in probes.listening_ports(each.pid)}
    instances = [
        {
            "service": service,
            "id": entry["Service"]["ID"],
            "address": f"{entry['Service']['Address']}:{entry['Service']['Port']}",
            "health": probes.health_of(entry),
            "process": ports.get(entry["Service"]["Port"]),
        }
        for service in mesh.services()
        for entry in await mesh.health_entries(service)
    ]
    return {
        "phase": phase,
        "urls": mesh.urls,
        "processes": await asyncio.to_thread(_describe_processes, processes),
        "instances": instances,
    }


def _describe_processes(processes: Sequence[Supervised]) -> list[dict[str, Any]]:
    pids = {each.pid for each in processes if each.pid}
    return [_describe_supervisor(pids), *(_describe_process(each, pids) for each in processes)]


def _describe_process(process: Supervised, pids: Collection[int]) -> dict[str, Any]:
    return {
        "name": process.spec.name,
        "service": process.spec.service,
        "state": process.state,
        "restarts": process.restarts,
        "last_exit": process.last_exit,
        "log": str(process.spec.log),
        **_measure(process.record.find() if process.record is not None else None, pids),
    }


def _describe_supervisor(pids: Collection[int]) -> dict[str, Any]:
    common = {"name": "weft", "service": None, "state": "running", "restarts": 0, "last_exit": None, "log": None}
    return common | _measure(psutil.Process(), pids)


def _measure(process: psutil.Process | None, apart: Collection[int]) -> dict[str, Any]:
    """Return what the system says of *process*; memory with that of its descendants, since PostgreSQL forks.

    Those of the process ids *apart*, which have a line of their own, are left out with theirs.
    """
    if process is not None:
        with suppress(psutil.Error):
            memory = [process.memory_full_info()]
            for each in _descendants(process, apart):
                with suppress(psutil.NoSuchProcess):  # PostgreSQL's come and go
                    memory.append(each.memory_full_info())
            return {
                "pid": process.pid,
                "uptime_s": round(time.time() - process.create_time(), 1),
                "rss_bytes": sum(each.rss for each in memory),
                "pss_bytes": sum(each.pss for each in memory) if hasattr(memory[0], "pss") else None,
            }
    return {"pid": None, "uptime_s": None, "rss_bytes": None, "pss_bytes": None}


def _descendants(process: psutil.Process, apart: Collection[int]) -> Iterator[psutil.Process]:
    with suppress(psutil.NoSuchProcess):
        for child in process.children():
            if child.pid not in apart:
                yield child
                yield from _descendants(child, apart)


def status(state: State, terminal: Terminal, *, as_json: bool) -> int:
    """Print the state of the mesh; return 0 if one answers, 1 otherwise."""
    record = state.read()
    if record is None:
        terminal.fail(f"no mesh runs from {state.path}")
        return 1
    answers: list[Any] = []
    try:
        ask(record, "status", answers.append)
    except CommandFailed as error:
        terminal.fail(f"the mesh of {state.path} does not answer ({error}): weft down clears it away")
        return 1
    if as_json:
        terminal.line(json.dumps(answers[0], indent=2))
    else:
        _print(answers[0], terminal)
    return 0


def _print(answer: dict[str, Any], terminal: Terminal) -> None:
    terminal.table([("phase", answer["phase"]), *answer["urls"].items()])
    terminal.line()
    header = ("process", "pid", "state", "uptime", "restarts", "memory", "instances")
    terminal.line(format_table(header, [_row(each, answer["instances"]) for each in answer["processes"]]))
    for each in answer["processes"]:
        if each["state"] == "waiting":
            terminal.fail(
                f"{each['name']} {each['last_exit']}, and is started again and again: weft logs {each['name']}"
            )
    terminal.line(f"\n{sum(map(_memory_bytes, answer['processes'])) / 1e6:.0f} MB of memory together")


def _row(process: dict[str, Any], instances: Iterable[dict[str, Any]]) -> tuple[str, ...]:
    mine = (f"{each['address']} {each['health']}" for each in instances if each["process"] == process["name"])
    return (
        process["name"],
        str(process["pid"] or "-"),
        process["state"],
        f"{process['uptime_s']:.0f} s" if process["uptime_s"] is not None else "-",
        str(process["restarts"]),
        f"{_memory_bytes(process) / 1e6:.0f} MB",
        ", ".join(mine),
    )


def _memory_bytes(process: dict[str, Any]) -> int:
    return process["pss_bytes"] or process["rss_bytes"] or 0
