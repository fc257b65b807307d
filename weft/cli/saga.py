"""`weft saga`: which sagas there are, what became of each, and what a person says of a stuck one."""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import aclosing
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from weft.cli.project import ProjectError
from weft.cli.terminal import Terminal, format_table

if TYPE_CHECKING:
    import argparse
    from collections.abc import AsyncGenerator, Iterator, Mapping
    from uuid import UUID

    from weft.cli.project import Project
    from weft.cli.state import State
    from weft.data import Database
    from weft.saga.timeline import LogLine, Summary

__all__ = ["saga"]


def saga(
    options: argparse.Namespace, project: Project, state: State, terminal: Terminal, env: Mapping[str, str]
) -> int:
    """Run `weft saga list`, `show`, `resume` or `close`; return the exit code.

    Raises:
        ProjectError: there is no service of the name asked for.
    """
    names = [name for name in project.service_names() if project.has_database(name)]
    if options.service is not None:
        if options.service not in names:
            raise ProjectError(f"no service {options.service} with a database; there are {', '.join(names) or 'none'}")
        names = [options.service]
    urls = {name: url for name, url in sorted(state.database_urls(names, env).items()) if name in names}
    if not urls:
        terminal.fail(f"no database is known: no mesh runs from {state.path}, and no <NAME>_DATABASE_URL is set")
        return 1
    from weft.errors import ServiceError  # noqa: PLC0415  # as few imports as possible before there is work

    try:
        if options.action == "list":
            return asyncio.run(_list(options, urls, terminal))
        if options.action == "show":
            found = asyncio.run(_show(options.id, urls, terminal, with_data=options.data))
        else:
            found = asyncio.run(_decide(options, urls, terminal))
    except ServiceError as error:
        terminal.fail(f"{error.reason}: {error.message}")
        return 1
    if found is None:
        terminal.fail(f"no saga {options.id} in the {'database' if len(urls) == 1 else 'databases'} of {_names(urls)}")
    return 0 if found else 1


async def _list(options: argparse.Namespace, urls: Mapping[str, str], terminal: Terminal) -> int:
    from weft.saga import timeline  # noqa: PLC0415  # as above

    found: list[tuple[str, Summary]] = []
    away: list[str] = []
    complaints = Terminal(sys.stderr, {}) if options.json else terminal
    async for service, database in _databases(urls, complaints, away):
        rows = await timeline.recent(database, only_stuck=options.stuck, at_most=options.limit)
        found.extend((service, row) for row in rows)
    if options.json:
        terminal.line(json.dumps([_as_json(service, row) for service, row in found], indent=2))
    elif found:
        header = ("saga", "service", "definition", "status", "step", "attempt", "age", "reason")
        terminal.line(format_table(header, [_row(service, row) for service, row in found]))
    elif not away:
        terminal.line("no saga is stuck" if options.stuck else "no sagas")
    return 1 if away else 0


async def _show(saga_id: UUID, urls: Mapping[str, str], terminal: Terminal, *, with_data: bool) -> bool | None:
    """Print the timeline of a saga; return None where no database has it."""
    from weft.saga import timeline  # noqa: PLC0415  # as above

    async with aclosing(_databases(urls, terminal, [])) as databases:
        async for service, database in databases:
            if (found := await timeline.find(database, saga_id)) is None:
                continue
            log = await timeline.read_log(database, saga_id)
            terminal.table(list(_headline(service, found)))
            terminal.line()
            header = ("time", "+ms", "step", "what", "attempt", "replica", "reason")
            terminal.line(format_table(header, [_line(each, log[0].time) for each in log]))
            if with_data:
                terminal.line(f"\n{json.dumps(await timeline.read_data(database, saga_id), indent=2)}")
            return True
    return None


async def _decide(options: argparse.Namespace, urls: Mapping[str, str], terminal: Terminal) -> bool | None:
    """Let a stuck saga go on, or close it; return False if it isn't stuck, None where no database has it."""
    from weft.saga import timeline  # noqa: PLC0415  # as above

    who = f"weft saga {options.action}"  # stands in the timeline where others have the name of a replica
    async with aclosing(_databases(urls, terminal, [])) as databases:
        async for _, database in databases:
            if (found := await timeline.find(database, options.id)) is None:
                continue
            if options.action == "resume":
                is_changed = await timeline.resume(database, options.id, who=who)
                said = f"{found.definition} goes on at {found.step}"
            else:
                is_changed = await timeline.close(database, options.id, who=who, reason=options.reason)
                said = f"{found.definition} is closed as it stands, at {found.step}"
            if not is_changed:
                terminal.fail(f"it is {found.status}: only a stuck saga can be {options.action}d")
                return False
            terminal.done(said)
            return True
    return None


async def _databases(
    urls: Mapping[str, str], terminal: Terminal, away: list[str]
) -> AsyncGenerator[tuple[str, Database], None]:
    """Yield each service and its database, if it keeps sagas; say which can't be reached, and add it to *away*."""
    from weft.data import Database  # noqa: PLC0415  # as above
    from weft.errors import ServiceError  # noqa: PLC0415  # as above
    from weft.saga import timeline  # noqa: PLC0415  # as above

    for service, url in urls.items():
        async with Database.open(url, pool_size=1, application_name="weft saga") as database:
            try:
                has_sagas = await timeline.has_sagas(database)
            except ServiceError as error:
                terminal.fail(f"{service}: {error.message}")
                away.append(service)
                continue
            if has_sagas:
                yield service, database


def _row(service: str, row: Summary) -> tuple[str, ...]:
    age = datetime.now(UTC) - row.create_time
    is_over = row.status in ("done", "compensated", "closed")
    return (
        str(row.saga_id),
        service,
        row.definition,
        row.status,
        "" if is_over else row.step,
        "" if is_over else str(row.attempt),
        _duration(age.total_seconds()),
        row.reason if row.status != "done" else "",
    )


def _headline(service: str, row: Summary) -> Iterator[tuple[str, str]]:
    yield "saga", str(row.saga_id)
    yield "service", service
    yield "definition", row.definition
    yield "began", row.create_time.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    yield "status", row.status + _whereabouts(row)
    if row.status in ("running", "compensating"):
        now = datetime.now(UTC)
        due = f"{abs((row.due_time - now).total_seconds()):.1f} s {'from now' if row.due_time > now else 'ago'}"
        yield "runs on", f"{row.lease_holder}, lease ends {due}" if row.lease_holder else f"nobody, due {due}"
    if row.failure is not None:
        yield "because", f"{row.failure.step}: {row.failure.reason}: {row.failure.message}"
    if row.status == "stuck":
        yield "to go on", f"weft saga resume {row.saga_id}"
        yield "to end it", f"weft saga close {row.saga_id} --reason TEXT, once all is repaired by hand"


def _whereabouts(row: Summary) -> str:
    if row.status in ("done", "compensated"):
        return ""
    return ", after the pivot" if row.is_pivoted else ", on the way forward" if row.is_forward else ", on the way back"


def _line(entry: LogLine, began: datetime) -> tuple[str, ...]:
    return (
        entry.time.astimezone(UTC).strftime("%H:%M:%S.%f")[:-3],
        f"{(entry.time - began).total_seconds() * 1e3:.0f}",
        entry.step,
        entry.kind.replace("_", " "),
        str(entry.attempt),
        entry.holder,
        entry.reason,
    )


def _as_json(service: str, row: Summary) -> dict[str, Any]:
    return {
        "saga_id": str(row.saga_id),
        "service": service,
        "definition": row.definition,
        "status": row.status,
        "step": row.step,
        "attempt": row.attempt,
        "is_pivoted": row.is_pivoted,
        "lease_holder": row.lease_holder,
        "reason": row.reason,
        "create_time": row.create_time.isoformat(),
        "update_time": row.update_time.isoformat(),
    }


def _duration(seconds: float) -> str:
    for limit, unit_s, unit in ((120, 1, "s"), (7200, 60, "min"), (172_800, 3600, "h")):
        if seconds < limit:
            return f"{seconds / unit_s:.0f} {unit}"
    return f"{seconds / 86_400:.0f} d"


def _names(urls: Mapping[str, str]) -> str:
    return ", ".join(urls)
