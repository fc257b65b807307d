from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from scripts.lib.chaos import __main__ as command
from scripts.lib.chaos.faults import Happened
from scripts.lib.chaos.mesh import services
from scripts.lib.chaos.parts import parts
from scripts.lib.chaos.quiet import until_quiet
from scripts.lib.chaos.report import Run, breaches, document, table, told
from scripts.lib.chaos.schedule import Act, Fault, Kind
from scripts.lib.chaos.shop import NO_ANSWER, Reply
from scripts.lib.chaos.verdict import judge
from tests.unit.chaos.good_run import BOUGHT, GOOD

RUN = Run(
    seed=7,
    seconds=60,
    broker="nats",
    started=datetime(2026, 1, 1, tzinfo=UTC),
    happened=(Happened(fault=Fault(at_s=1, act=Act.KILL, target="orders"), outcome="done, pid 7"),),
    statuses={"place 200": 3},
    left={},
    resumed={},
    quiet_s=4.2,
    evidence=GOOD,
)


def refusal(status: int, reason: str, **metadata: str) -> Reply:
    info = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": reason, "metadata": metadata}
    return Reply(status=status, body={"details": [info]})


def test_a_dry_run_prints_what_would_break_and_starts_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["--dry-run", "--seed", "7", "--seconds", "10"]) == 0

    first = capsys.readouterr().out
    command.main(["--dry-run", "--seed", "7", "--seconds", "10"])
    second = capsys.readouterr().out
    assert first == second
    assert first.startswith("   1.0 s  ")


@pytest.mark.parametrize("arguments", [["--seconds", "1"], ["--replicas", "9"], ["--broker", "kafka"]])
def test_what_makes_no_sense_is_refused_before_anything_starts(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as refused:
        command.main(arguments)

    assert refused.value.code == 2


def test_every_replica_every_service_and_every_support_is_a_part() -> None:
    found = parts(["orders", "users"], 2)

    replicas = {part.name for part in found if part.kind is Kind.REPLICA}
    assert replicas == {"orders", "orders.2", "users", "users.2"}
    assert {part.name for part in found if part.kind is Kind.SERVICE} == {"orders", "users"}
    assert {"envoy", "postgres", "broker", "control", "registry"} < {part.name for part in found}
    assert "orders" in services()


@pytest.mark.parametrize("status", [NO_ANSWER, 409, 429, 499, 500, 503, 504])
def test_an_answer_that_leaves_open_what_happened_has_to_be_asked_for_again(status: int) -> None:
    assert not Reply(status=status, body={}).is_definite


def test_a_refusal_names_its_reason_and_its_order() -> None:
    refused = refusal(400, "INSUFFICIENT_STOCK", order_id=BOUGHT)

    assert refused.is_definite
    assert refused.reason == "INSUFFICIENT_STOCK"
    assert refused.order == {"orderId": BOUGHT}


def test_a_check_out_that_another_order_is_in_the_way_of_says_nothing_of_that_order() -> None:
    refused = refusal(400, "CART_CHANGED", order_id=BOUGHT)

    assert refused.is_definite
    assert refused.order == {}


async def test_quiet_is_two_looks_in_a_row_that_find_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scripts.lib.chaos.quiet.POLL_S", 0)
    looks = iter([{"sagas": 2}, {"sagas": 0}, {"sagas": 1}, {"sagas": 0}, {}])
    seen: list[object] = []

    async def look() -> dict[str, int]:
        return next(looks)

    assert await until_quiet(look, limit_s=60, on_look=seen.append) == {}
    assert seen == [{"sagas": 2}, {}, {"sagas": 1}, {}, {}]


async def test_what_never_comes_to_rest_is_named() -> None:
    async def look() -> dict[str, int]:
        return {"sagas": 1, "parcels": 0}

    assert await until_quiet(look, limit_s=0, on_look=lambda _: None) == {"sagas": 1}


def test_the_report_of_a_good_run_says_that_everything_held() -> None:
    verdict = judge(GOOD)

    assert "BROKEN" not in table(verdict)
    assert "mails    8 taken, 0 of them more than once, by their Message-ID" in told(RUN, verdict)
    assert breaches(RUN, verdict) == ""
    assert told(RUN, verdict).splitlines()[2] == "faults   1 kill; 0 skipped"
    assert document(RUN, verdict)["held"] is True


def test_the_report_of_a_breach_tells_the_orders_history() -> None:
    run = replace(RUN, evidence=replace(GOOD, charges=()))
    verdict = judge(run.evidence)

    text = breaches(run, verdict)

    assert f"{BOUGHT} is DELIVERED: the provider took 0.00 and should have taken 29.00" in text
    assert "12:00:00.020  one: reserve_stock done" in text
    assert "orders published shop.orders.v1.OrderConfirmed 2" in text
    assert document(run, verdict)["held"] is False
