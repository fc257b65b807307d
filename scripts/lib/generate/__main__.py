"""The command: `scripts/generate orders [--count N] [--days N] [--database URL] [--time]`."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Final, TypeVar

import asyncpg

from scripts.lib.generate.orders import History
from scripts.lib.generate.timing import BUDGET_MS, timed
from services.analytics import behaviour_store
from services.analytics.__main__ import service
from services.analytics.projections import keep
from weft.cli.state import State
from weft.cli.terminal import Terminal
from weft.data import Database
from weft.data.migrate import migrate
from weft.errors import ServiceError

__all__ = ["fill", "main"]

BATCH: Final = 1000

T = TypeVar("T")


def main(arguments: Sequence[str] | None = None) -> int:
    """Fill and, where asked for, time; return 0, or 1 where it can't be done or a report takes too long."""
    options = _parse(arguments)
    terminal = Terminal(sys.stdout, os.environ)
    url = options.database or State(options.state).database_urls(["analytics"], os.environ).get("analytics")
    if url is None:
        terminal.fail(f"no mesh runs from {options.state}: start it with weft up, or give --database")
        return 1
    history = History(
        seed=options.seed,
        count=options.count,
        products=options.products,
        customers=options.customers or max(1, options.count // 3),
        until=options.until,
        days=options.days,
    )
    try:
        return asyncio.run(_run(url, history, terminal, is_timed=options.time))
    except ServiceError as error:
        terminal.fail(f"{error.reason}: {error.message}")
        return 1


async def _run(url: str, history: History, terminal: Terminal, *, is_timed: bool) -> int:
    assert service.migrations is not None, "analytics keeps what it hears"
    await asyncio.to_thread(migrate, url, service.migrations)
    async with Database.open(url, application_name="scripts/generate", statement_s=600.0) as database:
        async for share in fill(database, history):
            terminal.progress(share, f"{history.count} orders")
        await _vacuum(url)
        terminal.done(f"{history.count} orders of {history.days} days")
    if not is_timed:
        return 0
    took = await timed(url, history)
    terminal.table([(name, f"{ms:6.1f} ms in the database") for name, ms in took.items()])
    slow = [name for name, ms in took.items() if ms >= BUDGET_MS]
    if slow:
        terminal.fail(f"over {BUDGET_MS} ms: {', '.join(slow)}")
    return 1 if slow else 0


async def fill(database: Database, history: History) -> AsyncIterator[float]:
    """Keep *history* as events are kept when they are heard; yield the share that is done. What is there stays."""
    done = 0
    for events in _batches(history.events()):
        async with database.transaction() as tx:
            await keep(tx, events)
        done += sum(event.source == "orders" for event in events)
        yield 0.8 * done / history.count
    for number, behaviour in enumerate(_batches(history.behaviour())):
        async with database.transaction() as tx:
            await behaviour_store.write(tx, behaviour)
        yield min(1.0, 0.8 + 0.2 * number * BATCH / (6 * history.count))


async def _vacuum(url: str) -> None:
    """Do what PostgreSQL does by itself after a while: plans and index-only scans depend on it."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute("VACUUM ANALYZE")
    finally:
        await connection.close()


def _batches(items: Iterable[T]) -> Iterator[list[T]]:
    iterator = iter(items)
    while batch := list(islice(iterator, BATCH)):
        yield batch


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="scripts/generate",
        description="Makes sales up and keeps them in the database of analytics, through the same fold as events."
        " No other service knows of them, so do this to a shop that you throw away.",
    )
    commands = parser.add_subparsers(required=True, metavar="orders")
    orders = commands.add_parser("orders", help="orders, payments, refunds, and what shoppers looked at")
    orders.add_argument("--count", type=_whole, default=200_000, metavar="N", help="orders (default: %(default)s)")
    orders.add_argument("--days", type=_whole, default=730, metavar="N", help="of how many days (default: %(default)s)")
    orders.add_argument("--products", type=_whole, default=2_000, metavar="N", help="(default: %(default)s)")
    orders.add_argument("--customers", type=_whole, metavar="N", help="(default: a third of the orders)")
    orders.add_argument(
        "--seed", type=int, default=1, metavar="N", help="the same makes the same (default: %(default)s)"
    )
    orders.add_argument(
        "--until", type=_day, default=_day(datetime.now(UTC).date().isoformat()), metavar="DAY",
        help="when it ends, in UTC, 2026-01-31 (default: today)",
    )  # fmt: skip
    orders.add_argument(
        "--state", type=Path, default=Path(".weft"), metavar="DIR", help="of a mesh that runs (default: %(default)s)"
    )
    orders.add_argument("--database", metavar="URL", help="of analytics (default: that of the mesh that runs)")
    orders.add_argument(
        "--time", action="store_true", help="then time every report in the database, and fail over 50 ms"
    )
    return parser.parse_args(arguments)


def _whole(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


def _day(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


if __name__ == "__main__":
    sys.exit(main())
