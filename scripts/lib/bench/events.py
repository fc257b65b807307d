"""Events from the outbox of one service to their effect in another, on both brokers."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Final

import psycopg2

from scripts.lib.bench.eventing import SUBJECTS, TABLE
from scripts.lib.bench.processes import Served, cpu_s, folder, last_words, python_server, running
from scripts.lib.bench.rabbitmq import rabbitmq
from scripts.lib.bench.result import BenchFailed, Effort, Result, measured, p99
from weft.cli.probes import free_ports, is_free
from weft.cli.programs import nats_command, nats_config
from weft.data.migrate import migrate
from weft.data.postgres import EmbeddedPostgres

__all__ = ["events"]

PER_S: Final = 50
"""Of the steady stream: a shop with ten orders a second has about that."""
WARM: Final = 50
"""Events that begin a steady stream and are not looked at: the first of all find no connection to the broker yet."""
APPLIED_S: Final = 120.0
POLL_S: Final = 0.05
START_S: Final = 60.0
MODULE: Final = "scripts.lib.bench.eventing"


def events(effort: Effort) -> list[Result]:
    results: list[Result] = []
    brokers: Mapping[str, Callable[[Path], AbstractContextManager[str]]] = {"NATS": _nats, "RabbitMQ": rabbitmq}
    for name, broker in brokers.items():
        with folder() as files, EmbeddedPostgres(files / "postgres") as postgres, broker(files) as broker_url:
            results += _on(name, broker_url, postgres, files, effort)
    return results


def _on(name: str, broker_url: str, postgres: EmbeddedPostgres, files: Path, effort: Effort) -> list[Result]:
    urls = {role: postgres.ensure_database(role) for role in ("publisher", "hearer")}
    for url in urls.values():
        migrate(url)
    with closing(psycopg2.connect(urls["hearer"])) as connection, connection, connection.cursor() as cursor:
        cursor.execute(TABLE)
    serve = partial(python_server, module=MODULE, broker_url=broker_url)
    with serve("hear", files / "hear.log", database_url=urls["hearer"], notes=files / "applied") as hearer:
        run = Run(files, hearer, partial(serve, database_url=urls["publisher"]))
        run.burst(effort.events // 20)  # until the hearing service is warm
        bursts = [run.burst(effort.events) for _ in range(effort.load_rounds)]
        lags_ms = [lag for _ in range(effort.load_rounds) for lag in run.steady(PER_S * effort.load_s)]
    notes = [
        (
            "one process that publishes and one that hears, each with a durable PostgreSQL database, as the services "
            "of a mesh have them: outbox and relay on one side, lease and inbox on the other"
        ),
        (
            f"throughput: {effort.events:,} events of {SUBJECTS} subjects lie in the outbox when the relay begins; "
            "until the last is applied, each in a transaction of its own with a row that is its effect"
        ),
        (
            f"lag: from the commit that makes an event true to the one that applies it, at {PER_S} events/s, each in "
            f"a transaction of its own; {len(lags_ms):,} of them"
        ),
        "CPU is that of both processes, without PostgreSQL and broker, which share the CPUs with them",
    ]
    return [
        measured("events", f"{name}, throughput", "events/s", [each.per_s for each in bursts], notes=notes),
        measured("events", f"{name}, CPU", "ms/event", [each.cpu_ms for each in bursts], notes=notes),
        measured("events", f"{name}, lag p50", "ms", lags_ms, of=median, notes=notes),
        measured("events", f"{name}, lag p99", "ms", lags_ms, of=p99, notes=notes),
    ]


@dataclass(frozen=True, slots=True)
class Burst:
    """What became of events that were all there at the beginning."""

    per_s: float
    cpu_ms: float
    """An event."""


class Run:
    """What is published to one hearing service, numbered through.

    Args:
        files: Folder of all notes; the hearing service's are in `applied`.
        hearer: The hearing service.
        publisher: Runs a publishing one; see `scripts.lib.bench.eventing` for its settings.
    """

    def __init__(self, files: Path, hearer: Served, publisher: Callable[..., AbstractContextManager[Served]]) -> None:
        self._files, self._hearer, self._publisher = files, hearer, publisher
        self._applied = Notes(files / "applied")
        self._next = 0

    def burst(self, count: int) -> Burst:
        """Raises BenchFailed when some aren't applied in time."""
        with self._publishing("burst", count) as (publisher, notes):
            before_s = cpu_s(self._hearer.pid) + cpu_s(publisher.pid)
            applied = self._await_applied(count)
            used_s = cpu_s(self._hearer.pid) + cpu_s(publisher.pid) - before_s
            took_s = max(applied.values()) - notes.read()["begin"]
        return Burst(per_s=count / took_s, cpu_ms=used_s * 1e3 / count)

    def steady(self, count: int) -> list[float]:
        """Return the lag of each event, in ms. Raises BenchFailed when some aren't applied in time."""
        with self._publishing("steady", WARM + count, per_s=PER_S) as (_, notes):
            applied = self._await_applied(count)
            committed = notes.read()
        # The effect may be noted a moment before whoever published has its own commit confirmed.
        return [max(0.0, at_s - committed[number]) * 1e3 for number, at_s in applied.items()]

    @contextmanager
    def _publishing(self, kind: str, count: int, **more: object) -> Iterator[tuple[Served, Notes]]:
        first, self._next = self._next, self._next + count
        path, log = self._files / f"{kind}-{first}", self._files / f"{kind}.log"
        with self._publisher(kind, log, notes=path, first=first, events=count, **more) as served:
            yield served, Notes(path)

    def _await_applied(self, count: int) -> dict[str, float]:
        """Return number -> time of the last *count* events, once they and all before them are applied."""
        deadline_s = time.monotonic() + APPLIED_S
        while len(applied := self._applied.read()) < self._next:
            if time.monotonic() > deadline_s:
                raise BenchFailed(f"{self._next - len(applied)} events were not applied in {APPLIED_S:g} s")
            time.sleep(POLL_S)
        return {number: applied[number] for number in map(str, range(self._next - count, self._next))}


class Notes:
    """A file of `<what> <time>`, a line each, that is being written; only what is new is read each time."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0
        self._found: dict[str, float] = {}

    def read(self) -> Mapping[str, float]:
        """Return what -> seconds of the machine's monotonic clock, for all lines that are whole."""
        with self._path.open("rb") as file:
            file.seek(self._offset)
            whole, newline, _ = file.read().rpartition(b"\n")
        self._offset += len(whole) + len(newline)
        for line in whole.decode().splitlines():
            what, time_s = line.split()
            self._found[what] = float(time_s)
        return self._found


@contextmanager
def _nats(files: Path) -> Iterator[str]:
    """Run the NATS server that `weft up` would, with all it keeps in *files*; yield its URL."""
    (port,) = free_ports(1)
    config, log = files / "nats.conf", files / "nats.log"
    config.write_text(nats_config(port, files / "nats"))
    with running(nats_command(config), log=log) as process:
        deadline_s = time.monotonic() + START_S
        while is_free(port):
            if process.poll() is not None or time.monotonic() > deadline_s:
                raise BenchFailed(f"NATS did not come up\n{last_words(log)}")
            time.sleep(POLL_S)
        yield f"nats://127.0.0.1:{port}"
