"""What can be said to `weft` on the command line."""

from __future__ import annotations

import argparse
from pathlib import Path

__all__ = ["parser", "port_number", "replica_counts"]


def replica_counts(text: str) -> dict[str, int]:
    """Read `greeter=2,clock=1`."""
    counts = {}
    for pair in text.split(","):
        service, equals, count = pair.strip().partition("=")
        if not (service and equals and count.isdecimal()):
            raise argparse.ArgumentTypeError(f"{pair.strip()!r} is not SERVICE=NUMBER")
        counts[service] = int(count)
    return counts


def port_number(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 65535:  # noqa: PLR2004  # what 16 bits hold
        raise argparse.ArgumentTypeError(f"{text!r} is not a port in [1, 65535]")
    return int(text)


def parser() -> argparse.ArgumentParser:
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
            added.add_argument(
                "--state", type=Path, metavar="DIR", help="the mesh's directory (default: .weft in the project)"
            )
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

    run = command("run", "run services in this process", "weft run greeter", "weft run greeter clock", has_state=False)
    run.add_argument("services", metavar="SERVICE", nargs="+")

    for name, summary in (("control", "run a control plane"), ("agent", "run an embedded registry agent")):
        command(name, summary, f"weft {name} --help", has_state=False)
    return root
