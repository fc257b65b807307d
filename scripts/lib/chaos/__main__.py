"""The command: `scripts/chaos [--seconds N] [--seed N] [--broker nats|rabbitmq] [--json FILE]`."""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from random import randrange
from shutil import rmtree
from tempfile import mkdtemp
from typing import Final

from scripts.lib.chaos.brokers import running_broker
from scripts.lib.chaos.mesh import ChaosFailed, log_ends, running_mesh, services
from scripts.lib.chaos.parts import parts
from scripts.lib.chaos.patched import run_patched
from scripts.lib.chaos.post import running_post
from scripts.lib.chaos.progress import Progress
from scripts.lib.chaos.report import breaches, document, table, told
from scripts.lib.chaos.run import Plan, perform
from scripts.lib.chaos.schedule import schedule
from scripts.lib.chaos.verdict import judge
from weft.cli.state import State

__all__ = ["main"]

HELD: Final = 0
BROKEN: Final = 1
NOT_JUDGED: Final = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run and judge; return 0 when every promise held, 1 when one was broken, 2 when that can't be said."""
    arguments = sys.argv[1:] if arguments is None else arguments
    options = _parse(arguments)
    plan = Plan(
        seed=options.seed,
        seconds=options.seconds,
        broker=options.broker,
        faults=schedule(options.seed, options.seconds, parts(services(), options.replicas)),
        shoppers=options.shoppers,
    )
    if options.dry_run:
        print("\n".join(map(str, plan.faults)))
        return HELD
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # unwinds, so that everything that was started is ended
    try:
        with _folder(keep=options.keep) as files:
            if options.patch is not None:
                return run_patched(options.patch, files, _for_the_copy(options))
            return _run(plan, options, files)
    except ChaosFailed as error:
        print(f"not judged: {error}", file=sys.stderr)
        return NOT_JUDGED
    except Exception:  # noqa: BLE001  # a defect of ours is no breach of the shop's
        traceback.print_exc()
        return NOT_JUDGED
    except KeyboardInterrupt:
        return 130


def _run(plan: Plan, options: argparse.Namespace, files: Path) -> int:
    progress = Progress(sys.stdout)
    progress.say(f"starting a mesh with {options.replicas} replicas of each service and {plan.broker} in {files}")
    state = State(files / "mesh")
    try:
        with (
            running_broker(plan.broker, files) as broker,
            running_post(files) as post,
            running_mesh(files, replicas=options.replicas, env={**broker.env, **post.env}) as mesh,
        ):
            run = asyncio.run(perform(plan, mesh, broker, post, progress))
    except Exception:
        print(log_ends(state), file=sys.stderr)
        raise
    verdict = judge(run.evidence)
    print(f"\n{told(run, verdict)}\n\n{table(verdict)}\n{breaches(run, verdict)}")
    if options.json is not None:
        options.json.write_text(json.dumps(document(run, verdict), indent=2, default=str) + "\n")
    again = f"scripts/chaos --seed {plan.seed} --seconds {plan.seconds:g} --broker {plan.broker}"
    if verdict.breaches:
        print(f"{len(verdict.breaches)} breaches; the same faults again: {again}")
    else:
        print(f"everything held; the same faults again: {again}")
    return BROKEN if verdict.breaches else HELD


@contextmanager
def _folder(*, keep: bool) -> Iterator[Path]:
    """Yield a temporary folder that root's PostgreSQL, which runs as somebody else, may pass through."""
    folder = Path(mkdtemp(prefix="weft-chaos-"))
    folder.chmod(0o711)
    try:
        yield folder
    finally:
        if keep:
            print(f"databases and logs are in {folder}")
        else:
            rmtree(folder, ignore_errors=True)


def _for_the_copy(options: argparse.Namespace) -> list[str]:
    """Return the command line of the run on the patched copy."""
    arguments = [
        *("--seconds", f"{options.seconds:g}", "--seed", str(options.seed), "--broker", options.broker),
        *("--replicas", str(options.replicas), "--shoppers", str(options.shoppers)),
        *(("--json", str(options.json.resolve())) if options.json is not None else ()),
    ]
    return [*arguments, *(("--keep",) if options.keep else ())]


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="scripts/chaos",
        description="Have shoppers buy while everything is killed and paused, heal it, and hold every promise of the "
        "shop against what the databases, the broker, the payment provider, the mail server and the shoppers say.",
        epilog="exit code: 0 everything held, 1 something did not (with its evidence), 2 the run can't be judged\n\n"
        "examples:\n  scripts/chaos\n  scripts/chaos --seed 7 --seconds 120 --broker rabbitmq --json build/chaos.json\n"
        "  scripts/chaos --seed 7 --dry-run\n  scripts/chaos --patch tests/chaos/lease-ignored.patch",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--seconds", type=_seconds, default=60.0, metavar="N", help="of shopping and faults (default: 60)"
    )
    parser.add_argument(
        "--seed", type=int, default=randrange(1_000_000), metavar="N",  # noqa: S311  # to be told apart, not to be secret
        help="decides what breaks when, and what shoppers do (default: a new one)",
    )  # fmt: skip
    parser.add_argument("--broker", choices=("nats", "rabbitmq"), default="nats", help="(default: %(default)s)")
    parser.add_argument(
        "--replicas",
        type=int,
        choices=range(1, 5),
        default=2,
        metavar="N",
        help="of each service (default: %(default)s)",
    )
    parser.add_argument(
        "--shoppers", type=int, choices=range(1, 33), default=8, metavar="N", help="at a time (default: %(default)s)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write everything that was found to FILE")
    parser.add_argument("--keep", action="store_true", help="keep the mesh's databases and logs, and say where")
    parser.add_argument("--dry-run", action="store_true", help="print what would break when, and stop")
    parser.add_argument("--patch", type=Path, metavar="FILE", help="run a copy of the tree with this patch applied")
    return parser.parse_args(arguments)


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 5 <= seconds <= 3600:  # noqa: PLR2004
        raise argparse.ArgumentTypeError(f"{text} is not in [5, 3600]")
    return seconds


if __name__ == "__main__":
    sys.exit(main())
