"""The command: `scripts/bench [NAME...] [--json FILE] [--quick]`."""

from __future__ import annotations

import argparse
import json
import signal
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from scripts.lib.bench.events import events
from scripts.lib.bench.gateway import gateway
from scripts.lib.bench.memory import memory
from scripts.lib.bench.orders import orders
from scripts.lib.bench.propagation import propagation
from scripts.lib.bench.read import read
from scripts.lib.bench.report import document, machine, table
from scripts.lib.bench.result import FULL, QUICK, BenchFailed, Effort, Result
from scripts.lib.bench.startup import startup
from scripts.lib.bench.tax import tax
from scripts.lib.bench.tools import missing_tool

__all__ = ["main"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """One name on the command line."""

    measure: Callable[[Effort], list[Result]]
    summary: str
    needs: tuple[str, ...] = ()


BENCHES: Final[Mapping[str, Bench]] = {
    "tax": Bench(
        measure=tax,
        summary="server CPU per call with the whole pipeline on, against a bare grpc.aio handler",
        needs=("h2load",),
    ),
    "read": Bench(
        measure=read,
        summary="one row read through service and store, against a bare handler on raw asyncpg",
        needs=("h2load",),
    ),
    "gateway": Bench(
        measure=gateway,
        summary="a REST read through the gateway, against a Node Express service behind an Express proxy",
        needs=("wrk", "node", "npm"),
    ),
    "orders": Bench(
        measure=orders,
        summary="orders through REST until all is done, against Express services with RabbitMQ between them",
        needs=("wrk", "node", "npm", "rabbitmq-server"),
    ),
    "events": Bench(
        measure=events,
        summary="events from one service's outbox to their effect in another, on NATS and RabbitMQ",
        needs=("rabbitmq-server",),
    ),
    "propagation": Bench(
        measure=propagation,
        summary="an instance joins or leaves: time until Envoy and a gRPC client act on it",
    ),
    "startup": Bench(measure=startup, summary="scripts/up, warm, to the first 200 through the gateway"),
    "memory": Bench(measure=memory, summary="resident memory of the whole shop"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and report; return 0, or 1 where something that was asked for could not be measured."""
    options = _parse(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # unwinds, so that everything that was started is ended
    started = datetime.now(UTC)
    print("{cpus} CPUs, load {load}, {system}, Python {python}".format(**machine()))
    print("quick: shows that it works, not what it costs, and judges nothing\n" if options.quick else "")

    results: list[Result] = []
    left_out: dict[str, str] = {}
    failed: dict[str, str] = {}
    for name in options.names or BENCHES:
        bench = BENCHES[name]
        if reason := missing_tool(bench.needs):
            left_out[name] = reason
            print(f"{name}: left out, {reason}\n", flush=True)
            continue
        try:
            found = bench.measure(QUICK if options.quick else FULL)
        except BenchFailed as error:
            failed[name] = str(error)
            print(f"{name}: failed, {error}\n", flush=True)
            continue
        except Exception as error:  # noqa: BLE001  # a defect of one bench must not lose what the others found
            failed[name] = repr(error)
            traceback.print_exc()
            continue
        if options.quick:  # a program that is not warm yet would be judged by its first seconds
            found = [replace(result, budget=None) for result in found]
        results += found
        print(f"{table(found)}\n", flush=True)
    if options.json:
        report = document(results, left_out=left_out, failed=failed, started=started)
        options.json.write_text(json.dumps(report, indent=2) + "\n")
    return 1 if failed or (options.names and left_out) else 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    width = max(map(len, BENCHES))
    parser = argparse.ArgumentParser(
        prog="scripts/bench",
        description="Measure what the mesh costs and print both sides, their ratio and its budget.",
        epilog="benches:\n"
        + "\n".join(f"  {name:<{width}}  {bench.summary}" for name, bench in BENCHES.items())
        + "\n\nA budget that is not met is reported and does not fail the command.\n"
        "\nexamples:\n  scripts/bench\n  scripts/bench tax read --json build/bench.json",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="what to measure (default: everything)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write everything, with each round, to FILE")
    parser.add_argument("--quick", action="store_true", help="measure little and judge nothing: to see that it works")
    options = parser.parse_args(arguments)
    if unknown := [name for name in options.names if name not in BENCHES]:
        parser.error(f"no bench {', '.join(unknown)}; there are {', '.join(BENCHES)}")
    return options


if __name__ == "__main__":
    sys.exit(main())
