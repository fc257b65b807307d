"""A REST read through the gateway, against a Node Express service behind an Express proxy.

Both sides read the same rows of the same PostgreSQL, and wrk drives both in the same way.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Final
from urllib.parse import urlsplit, urlunsplit

from scripts.lib.bench.load import CONNECTIONS, Load, wrk
from scripts.lib.bench.mesh import mesh
from scripts.lib.bench.node import install, node
from scripts.lib.bench.processes import cpu_s, folder
from scripts.lib.bench.rest import call
from scripts.lib.bench.result import BenchFailed, Budget, Effort, Result, compared, interleaved
from scripts.lib.bench.rows import FIRST_ID, add_products, grant_reader
from weft.data.postgres import EmbeddedPostgres

__all__ = ["MORE_REQUESTS", "NO_WORSE_P99", "UNLIMITED", "gateway", "of_database"]

MORE_REQUESTS: Final = Budget(limit=3.0, bound="at least")
NO_WORSE_P99: Final = Budget(limit=1.0, bound="at most")
ROWS: Final = 20_000
"""Ten times what the catalog caches: read in turn, none is still cached when it is read again."""
UNLIMITED: Final = {"WEFT_GATEWAY_REQUESTS_PER_S": "1000000", "WEFT_GATEWAY_BURST": "1000000"}
BASELINE: Final = (
    "Express behind an Express http-proxy-middleware, one process each, the same rows of the same PostgreSQL"
)
NOTES: Final = (
    (
        f"wrk on {CONNECTIONS} connections, on the same CPUs as all it measures; one Envoy worker and one catalog "
        "process, one Node process for each of theirs"
    ),
    "ours checks the fields, traces 10 % and logs each request at Envoy and at the service; theirs does not",
    (
        f"from the database: {ROWS:,} rows in turn, ten times what the catalog's cache holds, so each request of "
        "either side runs one query, and ours puts each answer into its cache for nothing"
    ),
    (
        "cached: one row again and again; ours answers from the catalog's cache as it is shipped (600 s), theirs "
        "has no cache and runs a query each time"
    ),
    "CPU is that of gateway and service together, without PostgreSQL, which does the same for both",
)


def gateway(effort: Effort) -> list[Result]:
    install()
    with (
        folder() as files,
        EmbeddedPostgres(files / "postgres", durable=False) as postgres,
        mesh(files, "--database-url", postgres.url, env=UNLIMITED) as running,
    ):
        pids = {each.name: each.pid for each in running.until_ready().processes}
        database_url = of_database(postgres.url, "catalog")
        add_products(database_url, ROWS)
        with _node(files, grant_reader(database_url, "bench_node", secrets.token_hex(16))) as theirs:
            ours = Side(running.url, {name: pids[name] for name in ("envoy", "catalog")})
            _check_same(ours, theirs)
            cases = {
                case: interleaved(
                    {"ours": partial(ours.read, rows, effort), "theirs": partial(theirs.read, rows, effort)},
                    effort.load_rounds,
                )
                for case, rows in {"from the database": ROWS, "cached": 1}.items()
            }
    return [result for case, rounds in cases.items() for result in _results(case, rounds)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What wrk saw of one side, and what that cost."""

    load: Load
    cpu_ms: Mapping[str, float]
    """Process -> CPU time a request."""


@dataclass(frozen=True, slots=True)
class Side:
    """A gateway, and the processes of gateway and service by name."""

    url: str
    pids: Mapping[str, int]

    def read(self, rows: int, effort: Effort) -> Seen:
        before_s = {name: cpu_s(pid) for name, pid in self.pids.items()}
        load = wrk(self.url, seconds=effort.load_s, rows=rows)
        cpu_ms = {name: (cpu_s(pid) - before_s[name]) * 1e3 / load.requests for name, pid in self.pids.items()}
        return Seen(load=load, cpu_ms=cpu_ms)


def _results(case: str, rounds: list[dict[str, Seen]]) -> list[Result]:
    notes = [*NOTES, *(_about(side, case, [found[side] for found in rounds]) for side in ("ours", "theirs"))]

    def line(what: str, unit: str, value: Callable[[Seen], float], budget: Budget | None = None) -> Result:
        pairs = [(value(found["ours"]), value(found["theirs"])) for found in rounds]
        return compared("gateway", f"{case}, {what}", unit, pairs, baseline=BASELINE, budget=budget, notes=notes)

    return [
        line("throughput", "requests/s", lambda seen: seen.load.requests_per_s, MORE_REQUESTS),
        line("p99", "ms", lambda seen: seen.load.p99_ms, NO_WORSE_P99),
        line("p50", "ms", lambda seen: seen.load.p50_ms),
        line("CPU", "ms/request", lambda seen: sum(seen.cpu_ms.values())),
    ]


def _about(side: str, case: str, rounds: Sequence[Seen]) -> str:
    """Return where the CPU time of one side goes, and how many of its requests failed."""
    parts = (f"{name} {median(seen.cpu_ms[name] for seen in rounds):.2f}" for name in rounds[0].cpu_ms)
    failed, made = sum(seen.load.failed for seen in rounds), sum(seen.load.requests for seen in rounds)
    return f"{case}: {side} takes {', '.join(parts)} CPU ms/request; {failed:,} of {made:,} requests failed"


@contextmanager
def _node(files: Path, database_url: str) -> Iterator[Side]:
    """Run service and gateway."""
    with (
        node("service.js", log=files / "service.log", env={"DATABASE_URL": database_url}) as service,
        node("gateway.js", log=files / "gateway.log", env={"TARGET": service.url}) as front,
    ):
        yield Side(front.url, {"proxy": front.pid, "service": service.pid})


def _check_same(*sides: Side) -> None:
    """Raise BenchFailed unless all of *sides* answer the same: otherwise they would not be comparable."""
    answers = [call("GET", side.url, f"/v1/products/{FIRST_ID}") for side in sides]
    if any(answer != answers[0] for answer in answers):
        raise BenchFailed(f"the sides answer differently: {answers}")


def of_database(url: str, name: str) -> str:
    """Return *url* for another database of the same server."""
    return urlunsplit(urlsplit(url)._replace(path=f"/{name}"))
