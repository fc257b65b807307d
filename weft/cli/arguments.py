"""What can be said to `weft` on the command line."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Final
from uuid import UUID

from weft.cli.added import load_added
from weft.cli.project import ProjectError

if TYPE_CHECKING:
    from argparse import ArgumentParser
    from collections.abc import Callable, Mapping, Sequence

    from weft.cli.project import Project

__all__ = ["parser", "port_number", "replica_counts"]

_BROKER_HELP: Final = "nats://... or amqp://... (default: WEFT_BROKER_URL, else the broker of the mesh that runs)"
_MAX_REASON: Final = 200
_STATE_HELP: Final = "the mesh's directory (default: .weft in the project)"


def replica_counts(text: str) -> dict[str, int]:
    """Read `greeter=2,clock=1`."""
    counts = {}
    for pair in text.split(","):
        service, equals, count = pair.strip().partition("=")
        if not (service and equals and count.isdecimal()):
            raise argparse.ArgumentTypeError(f"{pair.strip()!r} is not SERVICE=NUMBER")
        counts[service] = int(count)
    return counts


def _reason(text: str) -> str:
    """Return what a timeline has room for."""
    if not (text.strip() and text.isprintable() and len(text) <= _MAX_REASON):
        raise argparse.ArgumentTypeError(f"one line of at most {_MAX_REASON} characters")
    return text


def port_number(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 65535:  # noqa: PLR2004  # what 16 bits hold
        raise argparse.ArgumentTypeError(f"{text!r} is not a port in [1, 65535]")
    return int(text)


def parser(project: Project | None = None, arguments: Sequence[str] = ()) -> argparse.ArgumentParser:
    """Return what reads the command line.

    Args:
        project: Whose own commands are known too.
        arguments: That are to be read. One of weft's own commands does without what the project's import.

    Raises:
        ProjectError: a command of the project is called as one of weft's, or can't be imported.
    """
    root = argparse.ArgumentParser(prog="weft", description="A service mesh on one machine: start, watch and stop it.")
    commands = root.add_subparsers(dest="command", metavar="COMMAND", required=True)

    def command(name: str, summary: str, *examples: str, has_state: bool = True) -> argparse.ArgumentParser:
        added = commands.add_parser(
            name,
            help=summary,
            description=f"{summary[0].upper()}{summary[1:]}.",
            epilog="\n  ".join(("examples:", *examples)),
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        if has_state:
            added.add_argument("--state", type=Path, metavar="DIR", help=_STATE_HELP)
        return added

    up = command(
        "up",
        "start the mesh and every service of the project; Ctrl-C stops it",
        "weft up",
        "weft up --detach --port 8081 --state /tmp/second --replicas greeter=2,clock=2",
        "weft up --registry consul",
    )
    up.add_argument(
        "--port", type=port_number, default=8080, help="the gateway's port on 127.0.0.1 (default: %(default)s)"
    )
    up.add_argument("--detach", action="store_true", help="return when the mesh is ready, and leave it running")
    up.add_argument(
        "--replicas", type=replica_counts, action="append", default=[], metavar="SERVICE=N,...",
        help="instances of a service; 0 leaves it out (default: 1 each; may be repeated)",
    )  # fmt: skip
    up.add_argument(
        "--registry", choices=("embedded", "consul"), default="embedded",
        help="the agent that comes with weft, or Consul: at CONSUL_HTTP_ADDR if that is set, else the one on PATH",
    )  # fmt: skip
    up.add_argument(
        "--database-url", metavar="URL",
        help="a PostgreSQL that runs already, as a role that may create roles and databases (default: "
        "WEFT_DATABASE_URL, else one of the mesh's own)",
    )  # fmt: skip

    up.add_argument(
        "--broker-url", metavar="URL",
        help="a broker that runs already, nats://... or amqp://... (default: WEFT_BROKER_URL, else a NATS of the "
        "mesh's own)",
    )  # fmt: skip

    command("down", "stop the mesh and wait until nothing of it is left", "weft down", "weft down --state /tmp/second")

    status = command(
        "status", "show processes, instances and addresses", "weft status", "weft status --json | jq .instances"
    )
    status.add_argument("--json", action="store_true", help="for programs")

    logs = command(
        "logs", "print what a service or another process of the mesh wrote", "weft logs greeter -f", "weft logs envoy"
    )
    logs.add_argument("service", metavar="SERVICE")
    logs.add_argument("-f", "--follow", action="store_true", help="go on with what comes")
    logs.add_argument(
        "-n", "--lines", type=int, default=50, metavar="N", help="begin N lines back (default: %(default)s)"
    )

    restart = command(
        "restart",
        "replace the replicas of a service one after another, each by one that already serves",
        "weft restart greeter",
    )
    restart.add_argument("service", metavar="SERVICE")

    rebuild = command(
        "rebuild",
        "make what a service derives from its history anew, while it runs",
        "weft rebuild greeter",
    )
    rebuild.add_argument("service", metavar="SERVICE")

    sagas = command(
        "saga",
        "show what sagas did, let a stuck one go on, or close it",
        "weft saga list --stuck",
        "weft saga show 1f0c0d4e-6a0b-4d3c-9a51-7f0b5c9d2e11",
        'weft saga close 1f0c0d4e-6a0b-4d3c-9a51-7f0b5c9d2e11 --reason "refunded by hand"',
        has_state=False,
    )
    actions = sagas.add_subparsers(dest="action", metavar="ACTION", required=True)
    listed = actions.add_parser("list", help="those that are not over, then the latest of the others")
    listed.add_argument("--stuck", action="store_true", help="only those that wait for a person")
    listed.add_argument("--json", action="store_true", help="for programs")
    listed.add_argument(
        "-n", "--limit", type=int, default=50, metavar="N", help="at most N a service (default: %(default)s)"
    )
    shown = actions.add_parser("show", help="the timeline of one")
    shown.add_argument("--data", action="store_true", help="also what it holds, which may be personal")
    resumed = actions.add_parser("resume", help="let a stuck one go on where it stopped")
    closed = actions.add_parser("close", help="end a stuck one that was repaired by hand; nothing is run or undone")
    closed.add_argument("--reason", required=True, type=_reason, metavar="TEXT", help="for its timeline; not personal")
    for each in (listed, shown, resumed, closed):
        each.add_argument("--state", type=Path, metavar="DIR", help=_STATE_HELP)
        each.add_argument("--service", metavar="SERVICE", help="look into the database of this service only")
    for each in (shown, resumed, closed):
        each.add_argument("id", metavar="ID", type=UUID)

    declared = command(
        "declare",
        "make the queue of every subscription, before anything is published that it should hear",
        "weft declare --broker-url amqp://rabbitmq/",
    )
    declared.add_argument("--broker-url", metavar="URL", help=_BROKER_HELP)

    _add_dlq(
        command(
            "dlq",
            "read, redrive and drop events that a subscription could not apply",
            "weft dlq list",
            "weft dlq list archive.loans",
            "weft dlq redrive archive.loans --all",
            has_state=False,
        )
    )

    run = command("run", "run services in this process", "weft run greeter", "weft run greeter clock", has_state=False)
    run.add_argument("services", metavar="SERVICE", nargs="+")

    for name, summary in (("control", "run a control plane"), ("agent", "run an embedded registry agent")):
        command(name, summary, f"weft {name} --help", has_state=False)
    if project is not None:
        _add_those_of(project, arguments, commands.choices, command)
    return root


def _add_those_of(
    project: Project, arguments: Sequence[str], known: Mapping[str, object], command: Callable[..., ArgumentParser]
) -> None:
    if taken := project.commands.keys() & known.keys():
        raise ProjectError(f"[tool.weft.commands] has {', '.join(sorted(taken))}, which weft has itself")
    if arguments and arguments[0] in known:
        return
    for name in project.commands:
        added = load_added(project, name)
        of_command = command(name, added.HELP, *added.EXAMPLES)
        of_command.set_defaults(added=added)
        added.add_arguments(of_command)


def _add_dlq(letters: argparse.ArgumentParser) -> None:
    actions = letters.add_subparsers(dest="action", metavar="ACTION", required=True)
    listed = actions.add_parser("list", help="how many wait and are dead; of one subscription, its dead letters")
    shown = actions.add_parser("show", help="one of them; what is personal is left out")
    redriven = actions.add_parser("redrive", help="give them back to their subscription, and to no other")
    dropped = actions.add_parser("drop", help="remove them for good")
    for each in (listed, shown, redriven, dropped):
        each.add_argument("--state", type=Path, metavar="DIR", help=_STATE_HELP)
        each.add_argument("--broker-url", metavar="URL", help=_BROKER_HELP)
        each.add_argument("subscription", metavar="SUBSCRIPTION", nargs="?" if each is listed else None)
    for each in (listed, shown):
        each.add_argument("--json", action="store_true", help="for programs")
    listed.add_argument(
        "-n", "--limit", type=int, default=50, metavar="N", help="at most N dead letters (default: %(default)s)"
    )
    shown.add_argument("id", metavar="ID", help="of the event")
    for each in (redriven, dropped):
        which = each.add_mutually_exclusive_group(required=True)
        which.add_argument("ids", metavar="ID", nargs="*", default=[], help="of an event")
        which.add_argument("--all", action="store_true", help="all of the subscription")
    dropped.add_argument("--yes", action="store_true", help="don't ask")
