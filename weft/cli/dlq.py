"""`weft dlq`: which events could not be applied, what is in them, and what becomes of them."""

from __future__ import annotations

import asyncio
import json
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from weft.cli.project import ProjectError
from weft.cli.terminal import format_duration, format_table, without_password

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping

    from weft.cli.project import Project
    from weft.cli.state import State
    from weft.cli.terminal import Terminal
    from weft.contract import Contract
    from weft.events.broker import Broker, DeadLetter, Depth

__all__ = ["broker_url", "dlq", "read_contract_of"]

_ALL: Final = 100_000
"""Dead letters that are looked through for one."""


def dlq(options: argparse.Namespace, project: Project, state: State, terminal: Terminal, env: Mapping[str, str]) -> int:
    """Run `weft dlq list`, `show`, `redrive` or `drop`; return the exit code.

    Raises:
        ProjectError: there is no subscription of the name asked for, or the contract can't be read.
    """
    url = broker_url(options.broker_url, state, env)
    if url is None:
        terminal.fail(f"no broker is known: no mesh runs from {state.path}; set WEFT_BROKER_URL, or give --broker-url")
        return 1
    project.make_importable()
    from weft.errors import Unavailable  # noqa: PLC0415  # as few imports as possible before there is work

    try:
        return asyncio.run(_run(options, project, url, terminal))
    except Unavailable as error:
        terminal.fail(f"{error.message}: {without_password(url)}")
    except ValueError as error:
        terminal.fail(str(error))
    return 1


def broker_url(option: str | None, state: State, env: Mapping[str, str]) -> str | None:
    """Return the URL of the broker: *option*, else that of the environment, else what the mesh that runs here uses."""
    named = option or env.get("WEFT_BROKER_URL")
    record = None if named else state.read()
    if record is None or record.supervisor.find() is None:
        return named
    return record.broker_url or None


async def _run(options: argparse.Namespace, project: Project, url: str, terminal: Terminal) -> int:
    from weft.events.broker import open_broker  # noqa: PLC0415  # as above

    contract = read_contract_of(project)
    known = sorted(each.name for service in contract.services for each in service.subscriptions)
    async with open_broker(url, name="weft dlq") as broker:
        name: str | None = options.subscription
        # One that the contract has no more may still have left something behind.
        if name is not None and name not in known and not (await broker.depths([name]))[name].dead:
            raise ProjectError(f"no subscription {name}; there are {', '.join(known) or 'none'}")
        if name is None:
            return await _list_subscriptions(broker, known, terminal, as_json=options.json)
        match options.action:
            case "list":
                letters = await broker.dead_letters(name, limit=options.limit)
                return _list_letters(letters, name, terminal, as_json=options.json)
            case "show":
                return await _show(broker, name, options.id, project, contract, terminal, as_json=options.json)
            case "redrive":
                count = await broker.redrive(name, None if options.all else options.ids)
                return _tell(count, "given back to its subscription", options, terminal)
            case _:
                if not (options.yes or await _may_drop(broker, name, options, terminal)):
                    return 1
                count = await broker.drop(name, None if options.all else options.ids)
                return _tell(count, "dropped", options, terminal)


def read_contract_of(project: Project) -> Contract:
    """Read the project's contract. Raises ProjectError."""
    from weft.contract import ContractError, load_image, read_contract  # noqa: PLC0415  # as above

    try:
        return read_contract(load_image(project.image_path).file)
    except (OSError, ContractError) as error:
        raise ProjectError(f"{project.image_path}: {error}") from error


async def _list_subscriptions(broker: Broker, names: list[str], terminal: Terminal, *, as_json: bool) -> int:
    depths = await broker.depths(names)
    oldest = {
        name: letters[0].buried_time
        for name in names
        if depths[name].dead and (letters := await broker.dead_letters(name, limit=1))
    }
    if as_json:
        terminal.line(json.dumps([_depth_as_json(name, depths[name], oldest.get(name)) for name in names], indent=2))
    elif names:
        rows = [
            (name, str(depths[name].waiting), str(depths[name].dead), _age(oldest[name]) if name in oldest else "")
            for name in names
        ]
        terminal.line(format_table(("subscription", "waiting", "dead", "oldest"), rows))
    else:
        terminal.line("no service subscribes to anything")
    return 0


def _depth_as_json(name: str, depth: Depth, oldest: datetime | None) -> dict[str, Any]:
    return {
        "subscription": name,
        "waiting": depth.waiting,
        "dead": depth.dead,
        "oldest_buried_time": oldest.isoformat() if oldest else None,
    }


def _list_letters(letters: list[DeadLetter] | Any, name: str, terminal: Terminal, *, as_json: bool) -> int:
    from weft.cli.letters import headline  # noqa: PLC0415  # as above

    if as_json:
        terminal.line(json.dumps([headline(letter) for letter in letters], indent=2))
    elif letters:
        header = ("event", "type", "subject", "reason", "attempts", "buried")
        terminal.line(format_table(header, [_row(letter) for letter in letters]))
    else:
        terminal.line(f"no dead letters of {name}")
    return 0


def _row(letter: DeadLetter) -> tuple[str, ...]:
    buried = f"{_age(letter.buried_time)} ago"
    return letter.id, letter.type, letter.subject, letter.reason, str(letter.attempts), buried


async def _show(
    broker: Broker,
    name: str,
    event_id: str,
    project: Project,
    contract: Contract,
    terminal: Terminal,
    *,
    as_json: bool,
) -> int:
    from weft.cli.letters import LetterReader  # noqa: PLC0415  # as above
    from weft.contract import load_image  # noqa: PLC0415  # as above

    letter = next((each for each in await broker.dead_letters(name, limit=_ALL) if each.id == event_id), None)
    if letter is None:
        terminal.fail(f"no dead letter {event_id} of {name}")
        return 1
    found = LetterReader(load_image(project.image_path), contract).describe(letter)
    if as_json:
        terminal.line(json.dumps(found, indent=2, ensure_ascii=False))
        return 0
    event, problem = found.pop("event"), found.pop("problem")
    terminal.table([(key.replace("_", " "), str(value)) for key, value in found.items()])
    terminal.line()
    terminal.line(json.dumps(event, indent=2, ensure_ascii=False) if problem is None else problem)
    return 0


async def _may_drop(broker: Broker, name: str, options: argparse.Namespace, terminal: Terminal) -> bool:
    """Ask a person; tell whether they agree. Nobody is asked where nobody can answer."""
    count = (await broker.depths([name]))[name].dead if options.all else len(set(options.ids))
    if not sys.stdin.isatty():
        terminal.fail("dropping is for good: say --yes where nobody can be asked")
        return False
    question = f"drop {count} dead letter{'' if count == 1 else 's'} of {name} for good? [y/N] "
    if (await asyncio.to_thread(input, question)).strip().lower() in {"y", "yes"}:
        return True
    terminal.line("nothing is dropped")
    return False


def _tell(count: int, what: str, options: argparse.Namespace, terminal: Terminal) -> int:
    missing = 0 if options.all else len(set(options.ids)) - count
    if count or not missing:
        terminal.done(f"{count} {what}")
    if missing > 0:
        terminal.fail(f"{missing} of those named {'is' if missing == 1 else 'are'} not among the dead letters")
    return 1 if missing > 0 else 0


def _age(since: datetime) -> str:
    return format_duration((datetime.now(UTC) - since).total_seconds())
