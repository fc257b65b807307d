"""Orders through REST until all is done, against a shop of Express services with RabbitMQ for their events.

Both sides have the same PostgreSQL server, RabbitMQ and provider program, a database for each service, the same goods
and the same shoppers.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, Final

from scripts.lib.bench.counts import Counts
from scripts.lib.bench.gateway import UNLIMITED, of_database
from scripts.lib.bench.load import SHOPPERS, Bought, wrk_orders
from scripts.lib.bench.market import DESTINATION, Market
from scripts.lib.bench.mesh import mesh
from scripts.lib.bench.node import install
from scripts.lib.bench.node_shop import SERVICES, node_shop
from scripts.lib.bench.processes import ROOT, cpu_s, folder
from scripts.lib.bench.rabbitmq import rabbitmq
from scripts.lib.bench.rest import call
from scripts.lib.bench.result import BenchFailed, Effort, Result, compared, interleaved
from services.shipping.rates import rate
from weft.cli.project import find_project
from weft.data.postgres import EmbeddedPostgres

__all__ = ["orders"]

REST_S: Final = 120.0
"""Longest time from the last answer until everything is done."""
POLL_S: Final = 0.02
NANOS: Final = 1_000_000_000
NOT_MOVING: Final = {"SHIPPING_CARRIER_STEP_S": "86400"}
"""Parcels stay where they are booked: the other side has no carrier."""
BASELINE: Final = (
    "six Express services behind an Express http-proxy-middleware, one process each: HTTP between them, a pool of ten "
    "prepared connections each, RabbitMQ with publisher confirms for the same five events of an order"
)
NOTES: Final = (
    (
        f"wrk on {SHOPPERS} connections, each placing its next order when the last is answered: one unit of one of 100 "
        "products, on the same CPUs as all it measures; one process of each service on both sides"
    ),
    (
        "both look up user, product and shipping rate, write the order, reserve stock with its ledger, hold the money "
        "and confirm before they answer; then they sell the stock, take the money, and book the parcel"
    ),
    (
        "throughput is confirmed orders by the time from the first request until all of them are entirely done: on our "
        "side sagas over, outboxes empty and parcels booked, on theirs each order done and its parcel booked"
    ),
    "p50 and p99 are of the answer, which both give when the order is certain; what follows it is in the throughput",
    (
        "ours besides: a key that makes a repeat safe, each step of the saga written down before and after it, orders "
        "kept as a history of events with tables derived from it, taxes, an invoice for what was taken, "
        "events in the transaction that makes them true, reservations that expire, services that prove to each other "
        "who they are, checked fields, a log line for each call and 10 % of the traces; no TLS on either side"
    ),
    (
        "theirs does without: a crash between two steps leaves an order half done and a hold on its money, a crash "
        "between a commit and its event loses the event, and a repeat of a request is another order"
    ),
    (
        "CPU is that of gateway and services, on our side of control plane and registry too; PostgreSQL, RabbitMQ and "
        "the payment provider, which are the same programs for both, are not in it"
    ),
)
_SAGAS_UNDER_WAY: Final = "SELECT count(*) FROM sagas WHERE status IN ('running', 'compensating')"
_UNPUBLISHED: Final = "SELECT count(*) FROM outbox WHERE publish_time IS NULL"
_THEIRS_UNDER_WAY: Final = "SELECT count(*) FROM orders WHERE state NOT IN ('done', 'cancelled')"
_BOOKED: Final = "SELECT count(*) FROM shipments WHERE state = 'created'"


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What one round showed of one side.

    Attributes:
        bought: what the shoppers saw.
        took_s: from the first request until everything was done.
        rest_s: of that, what came after the last answer.
        cpu_ms: process -> CPU time for each confirmed order.
    """

    bought: Bought
    took_s: float
    rest_s: float
    cpu_ms: Mapping[str, float]

    @property
    def orders_per_s(self) -> float:
        return self.bought.confirmed / self.took_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """A shop.

    Attributes:
        url: of its gateway.
        pids: gateway and services, by name.
        under_way: counts what is still to be done.
        booked: counts parcels.
    """

    url: str
    pids: Mapping[str, int]
    under_way: Callable[[], int]
    booked: Callable[[], int]

    def sell(self, tokens: Path, wanted: Path, effort: Effort) -> Seen:
        """Raises BenchFailed when orders are left undone, or are done and nothing is sent."""
        used_s, booked = self._used_s(), self.booked()
        began_s = time.perf_counter()
        bought = wrk_orders(
            self.url, seconds=effort.load_s, tokens=tokens, orders=wanted, prefix=f"bench-{secrets.token_hex(8)}"
        )
        answered_s = time.perf_counter()
        self._until_done(answered_s + REST_S)
        done_s = time.perf_counter()
        used_s = {name: now_s - used_s[name] for name, now_s in self._used_s().items()}
        if (parcels := self.booked() - booked) < bought.confirmed:
            raise BenchFailed(f"{bought.confirmed} orders were confirmed at {self.url}, and {parcels} parcels booked")
        return Seen(
            bought=bought,
            took_s=done_s - began_s,
            rest_s=done_s - answered_s,
            cpu_ms={name: each_s * 1e3 / bought.confirmed for name, each_s in used_s.items()},
        )

    def _until_done(self, give_up_s: float) -> None:
        while left := self.under_way():
            if time.perf_counter() > give_up_s:
                raise BenchFailed(f"{left} things are still to be done {REST_S:g} s after the last answer")
            time.sleep(POLL_S)

    def _used_s(self) -> dict[str, float]:
        return {name: cpu_s(pid) for name, pid in self.pids.items()}


def orders(effort: Effort) -> list[Result]:
    install()
    with ExitStack() as stack:
        files = stack.enter_context(folder())
        postgres = stack.enter_context(EmbeddedPostgres(files / "postgres"))
        broker_url = stack.enter_context(rabbitmq(files))
        arguments = ("--database-url", postgres.url, "--broker-url", broker_url, *_without_others())
        running = stack.enter_context(mesh(files, *arguments, env=UNLIMITED | NOT_MOVING))
        pids = {each.name: each.pid for each in running.until_ready().processes}
        our_urls = {name: of_database(postgres.url, name) for name in SERVICES}
        market = Market.open(running, our_urls["catalog"])
        their_urls = {name: postgres.ensure_database(f"node_{name}") for name in SERVICES}
        jwks_file = running.state.path / "keys" / "jwks.json"
        shop = stack.enter_context(
            node_shop(files, database_urls=their_urls, broker_url=broker_url, jwks_file=jwks_file)
        )
        market.copy_to(their_urls)
        our_counts = stack.enter_context(Counts.open(our_urls))
        their_counts = stack.enter_context(Counts.open(their_urls))
        ours = Side(
            url=running.url,
            pids={name: pids[name] for name in ("envoy", *SERVICES, "control", "registry")},
            under_way=partial(_ours_under_way, our_counts),
            booked=partial(our_counts.of, "shipping", _BOOKED),
        )
        theirs = Side(
            url=shop.url,
            pids=shop.pids,
            under_way=partial(their_counts.of, "orders", _THEIRS_UNDER_WAY),
            booked=partial(their_counts.of, "shipping", _BOOKED),
        )
        _check_same(market, ours, theirs)
        tokens, wanted = market.write(files)
        sides = {"ours": ours, "theirs": theirs}
        rounds = interleaved(
            {name: partial(side.sell, tokens, wanted, effort) for name, side in sides.items()}, effort.load_rounds
        )
    return _results(rounds)


def _results(rounds: Sequence[Mapping[str, Seen]]) -> list[Result]:
    notes = [*NOTES, *(_about(side, [found[side] for found in rounds]) for side in ("ours", "theirs"))]

    def line(what: str, unit: str, value: Callable[[Seen], float]) -> Result:
        pairs = [(value(found["ours"]), value(found["theirs"])) for found in rounds]
        return compared("orders", what, unit, pairs, baseline=BASELINE, notes=notes)

    return [
        line("throughput", "orders/s", lambda seen: seen.orders_per_s),
        line("p50", "ms", lambda seen: seen.bought.p50_ms),
        line("p99", "ms", lambda seen: seen.bought.p99_ms),
        line("CPU", "ms/order", lambda seen: sum(seen.cpu_ms.values())),
    ]


def _about(side: str, rounds: Sequence[Seen]) -> str:
    """Return where the CPU time of one side goes, what came after the answers, and how many orders failed."""
    parts = (f"{name} {median(seen.cpu_ms[name] for seen in rounds):.1f}" for name in rounds[0].cpu_ms)
    failed, pending = (
        sum(values) for values in zip(*((r.bought.failed, r.bought.pending) for r in rounds), strict=True)
    )
    made = sum(seen.bought.answers + seen.bought.lost for seen in rounds)
    rest_s = median(seen.rest_s for seen in rounds)
    return (
        f"{side} takes {', '.join(parts)} CPU ms/order; is done {rest_s:.2f} s after the last answer; {failed:,} of "
        f"{made:,} orders were not answered as confirmed, {pending:,} of these as pending"
    )


def _without_others() -> tuple[str, ...]:
    """Return what tells `weft up` to leave out services that an order does not take."""
    others = sorted(set(find_project(ROOT).service_names()) - set(SERVICES))
    return ("--replicas", ",".join(f"{name}=0" for name in others)) if others else ()


def _ours_under_way(counts: Counts) -> int:
    """Return how many sagas run, or once none does, how many events have not left: the last of them are in by then."""
    return counts.of("orders", _SAGAS_UNDER_WAY) or sum(counts.of(name, _UNPUBLISHED) for name in SERVICES)


def _check_same(market: Market, *sides: Side) -> None:
    """Raise BenchFailed unless all of *sides* confirm an order, at the same total: otherwise they can't be compared."""
    product, (user_id, token) = market.products[0], next(iter(market.tokens.items()))
    sending = rate(DESTINATION["countryCode"], 1)
    cost = product.price_units * NANOS + product.price_nanos + sending.units * NANOS + sending.nanos
    expected = ("STATE_CONFIRMED", user_id, ("EUR", *divmod(cost, NANOS)))
    for side in sides:
        order = call("POST", side.url, "/v1/orders", market.order(product), token=token, key="bench-same")["order"]
        if (found := (order["state"], order["userId"], _money(order["total"]))) != expected:
            raise BenchFailed(f"{side.url} answers {found}, and not {expected}")


def _money(message: Mapping[str, Any]) -> tuple[str, int, int]:
    return message["currencyCode"], int(message.get("units", 0)), int(message.get("nanos", 0))
