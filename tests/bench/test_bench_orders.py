from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from google.protobuf.json_format import ParseDict
from shop.orders.v1.orders_pb2 import PlaceOrderRequest

from scripts.lib.bench import orders as bench
from scripts.lib.bench.load import Bought
from scripts.lib.bench.market import Market, Product
from scripts.lib.bench.node_shop import SERVICES
from scripts.lib.bench.orders import Seen, Side
from scripts.lib.bench.result import QUICK, BenchFailed

MUG = Product("00000000-0000-4000-8000-000000000000", "MUG", "Mug", 10, 500_000_000)
PEN = Product("00000000-0000-4000-8000-000000000001", "PEN", "Pen", 65, 0)
MARKET = Market(products=[MUG, PEN], tokens={"anna": "token-of-anna", "boris": "token-of-boris"})


def bought(confirmed: int, *, pending: int = 0) -> Bought:
    return Bought(answers=confirmed + pending, confirmed=confirmed, pending=pending, lost=0, p50_ms=10.0, p99_ms=20.0)


def seen(*, confirmed: int, took_s: float, cpu_ms: float, pending: int = 0) -> Seen:
    cpu = {"proxy": cpu_ms / 4, "orders": cpu_ms * 3 / 4}
    return Seen(bought=bought(confirmed, pending=pending), took_s=took_s, rest_s=0.5, cpu_ms=cpu)


@pytest.fixture
def shop(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Side]:
    """Return what makes a shop: how much is left to do at each look, and how many parcels there are."""

    def make(confirmed: int, *, left: list[int], parcels: list[int]) -> Side:
        monkeypatch.setattr(bench, "wrk_orders", lambda *_, **__: bought(confirmed))
        monkeypatch.setattr(bench, "REST_S", 0.2)
        looks, counts = iter([*left[:-1]]), iter(parcels)
        return Side(
            url="http://shop",
            pids={"orders": os.getpid()},
            under_way=lambda: next(looks, left[-1]),
            booked=lambda: next(counts),
        )

    return make


def test_a_round_lasts_until_nothing_is_left_to_do(shop: Callable[..., Side], tmp_path: Path) -> None:
    side = shop(7, left=[3, 1, 0], parcels=[5, 12])

    found = side.sell(tmp_path, tmp_path, QUICK)

    assert found.bought.confirmed == 7
    assert 0 < found.rest_s <= found.took_s
    assert found.orders_per_s == 7 / found.took_s
    assert found.cpu_ms.keys() == {"orders"}


def test_orders_that_are_never_done_are_a_failure(shop: Callable[..., Side], tmp_path: Path) -> None:
    side = shop(7, left=[3], parcels=[5, 12])

    with pytest.raises(BenchFailed, match="3 things are still to be done"):
        side.sell(tmp_path, tmp_path, QUICK)


def test_orders_without_parcels_are_a_failure(shop: Callable[..., Side], tmp_path: Path) -> None:
    side = shop(7, left=[0], parcels=[5, 11])

    with pytest.raises(BenchFailed, match="7 orders were confirmed at http://shop, and 6 parcels booked"):
        side.sell(tmp_path, tmp_path, QUICK)


def test_the_report_compares_rate_latency_and_cpu_and_says_what_failed() -> None:
    rounds = [
        {
            "ours": seen(confirmed=300, took_s=10.0, cpu_ms=20.0, pending=2),
            "theirs": seen(confirmed=200, took_s=10.0, cpu_ms=10.0),
        }
    ]

    results = bench._results(rounds)

    assert {result.case: (result.ours, result.theirs, result.unit) for result in results} == {
        "throughput": (30.0, 20.0, "orders/s"),
        "p50": (10.0, 10.0, "ms"),
        "p99": (20.0, 20.0, "ms"),
        "CPU": (20.0, 10.0, "ms/order"),
    }
    about = [note for note in results[0].notes if note.startswith("ours takes")]
    assert about == [
        (
            "ours takes proxy 5.0, orders 15.0 CPU ms/order; is done 0.50 s after the last answer; 2 of 302 orders "
            "were not answered as confirmed, 2 of these as pending"
        )
    ]


def test_our_orders_are_under_way_while_a_saga_runs_or_an_event_has_not_left() -> None:
    class Counts:
        sagas, unpublished = 0, 0

        def of(self, _: str, question: str) -> int:
            return self.sagas if "FROM sagas" in question else self.unpublished

    counts = Counts()
    nothing = bench._ours_under_way(counts)  # type: ignore[arg-type]  # all that is asked of them
    counts.unpublished = 1
    events = bench._ours_under_way(counts)  # type: ignore[arg-type]
    counts.sagas, counts.unpublished = 2, 0
    sagas = bench._ours_under_way(counts)  # type: ignore[arg-type]

    assert (nothing, events, sagas) == (0, len(SERVICES), 2)


def test_orders_are_ones_that_the_contract_knows(tmp_path: Path) -> None:
    tokens, orders = MARKET.write(tmp_path)

    sent = [ParseDict(json.loads(line), PlaceOrderRequest()) for line in orders.read_text().splitlines()]

    assert [order.lines[0].product_id for order in sent] == [MUG.product_id, PEN.product_id]
    assert {order.destination.country_code for order in sent} == {"DE"}
    assert tokens.read_text().splitlines() == ["token-of-anna", "token-of-boris"]


@pytest.mark.parametrize(
    ("services", "expected"),
    [
        (SERVICES, ()),
        ((*SERVICES, "notifications", "analytics"), ("--replicas", "analytics=0,notifications=0")),
    ],
)
def test_services_that_an_order_does_not_take_are_left_out(
    services: tuple[str, ...], expected: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Project:
        def service_names(self) -> tuple[str, ...]:
            return services

    monkeypatch.setattr(bench, "find_project", lambda _: Project())

    assert bench._without_others() == expected
