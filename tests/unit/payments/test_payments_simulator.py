"""The simulated provider's own rules: its cards, its ledger, its faults."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import date
from typing import TYPE_CHECKING

import pytest
from aiohttp.test_utils import TestClient, TestServer

from services.payments.simulator.cards import NUMBERS, TOKENS, Behaviour, CardRefused, check
from services.payments.simulator.faults import Fate, Faults
from services.payments.simulator.ledger import Answer, KeyReused, Ledger
from services.payments.simulator.server import application

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from aiohttp import web

    Client = TestClient[web.Request, web.Application]

TODAY = date(2026, 3, 1)
HOLD = {"reference": "order", "currency": "EUR", "amount": 1450, "payment_method": "pm_test_accepted"}


@pytest.fixture(name="path")
def _path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


@pytest.fixture(name="ledger")
def _ledger(path: Path) -> Iterator[Ledger]:
    with Ledger.open(path) as ledger:
        yield ledger


@pytest.fixture(name="client")
async def _client(ledger: Ledger) -> AsyncIterator[Client]:
    async with TestClient(TestServer(application(ledger))) as client:
        yield client


async def post(client: Client, path: str, key: str, **body: object) -> tuple[int, str]:
    async with client.post(path, json=body, headers={"Idempotency-Key": key}) as response:
        answer = await response.json()
        return response.status, str(answer.get("code") or answer.get("standing"))


@pytest.mark.parametrize("number", NUMBERS)
def test_every_test_card_is_a_card(number: str) -> None:
    check(number, 3, 2026, today=TODAY)


def test_there_is_a_card_and_a_token_for_every_behaviour() -> None:
    assert set(NUMBERS.values()) == set(TOKENS.values()) == set(Behaviour)


@pytest.mark.parametrize(
    ("number", "month", "year", "code"),
    [("4242424242424241", 12, 2099, "incorrect_number"), ("4242424242424242", 2, 2026, "expired_card")],
)
def test_a_card_that_cannot_be_is_refused(number: str, month: int, year: int, code: str) -> None:
    with pytest.raises(CardRefused, match=code):
        check(number, month, year, today=TODAY)


async def test_money_is_held_taken_and_given_back_up_to_what_was_taken(client: Client) -> None:
    assert await post(client, "/payments", "1", **HOLD) == (200, "held")
    assert await post(client, "/payments/order/capture", "2") == (200, "captured")
    assert await post(client, "/payments/order/void", "3") == (422, "not_held")
    assert await post(client, "/payments/order/refunds", "4", refund="a", amount=1000) == (200, "captured")
    assert await post(client, "/payments/order/refunds", "5", refund="b", amount=451) == (422, "too_large")
    assert await post(client, "/payments/order/refunds", "6", refund="b", amount=450) == (200, "captured")

    async with client.get("/ledger") as response:
        account = (await response.json())["order"]
    assert [account[kind] for kind in ("authorised", "captured", "voided", "refunded")] == [1450, 1450, 0, 1450]


async def test_a_key_has_one_effect_and_one_meaning(client: Client, ledger: Ledger) -> None:
    for _ in range(3):
        assert await post(client, "/payments", "1", **HOLD) == (200, "held")
    assert await post(client, "/payments", "1", **HOLD | {"amount": 1}) == (409, "key_reused")
    assert await post(client, "/payments/order/capture", "1") == (409, "key_reused")

    assert ledger.accounts()["order"]["authorisations"] == 1


async def test_charging_twice_shows(client: Client, ledger: Ledger) -> None:
    await post(client, "/payments", "1", **HOLD)
    await post(client, "/payments", "2", **HOLD)

    assert ledger.accounts()["order"]["authorised"] == 2900
    assert ledger.accounts()["order"]["authorisations"] == 2


async def test_a_refusal_has_no_effect_and_is_not_remembered(client: Client) -> None:
    async with client.put("/faults", json={"refuse_ratio": 1}) as response:
        assert response.status == 200

    assert await post(client, "/payments", "1", **HOLD) == (503, "unavailable")
    async with client.put("/faults", json={}) as response:
        assert await response.json() == {"delay_s": 0, "refuse_ratio": 0, "lose_ratio": 0, "seed": 0}
    async with client.get("/payments/order") as response:
        assert response.status == 404
    assert await post(client, "/payments", "1", **HOLD) == (200, "held")


@pytest.mark.parametrize("body", [{"refuse_ratio": 2}, {"delay_s": -1}, {"chaos": 1}, {"seed": "x"}, {"seed": None}])
async def test_faults_that_cannot_be_are_refused(client: Client, body: dict[str, object]) -> None:
    async with client.put("/faults", json=body) as response:
        assert (response.status, await response.json()) == (400, {"code": "malformed"})


async def test_a_request_without_a_key_is_refused(client: Client) -> None:
    async with client.post("/payments", json=HOLD) as response:
        assert response.status == 400


def test_the_same_seed_means_the_same_trouble() -> None:
    wanted = {"refuse_ratio": 0.3, "lose_ratio": 0.3, "seed": 7}

    one, other = Faults.parse(wanted), Faults.parse(wanted)
    fates = [one.draw() for _ in range(200)]

    assert [other.draw() for _ in range(200)] == fates
    assert set(fates) == set(Fate)


def test_an_effect_and_its_answer_are_kept_together_or_not_at_all(ledger: Ledger) -> None:
    with pytest.raises(RuntimeError), ledger.transaction():
        ledger.add_authorisation("1", "order", "EUR", 1450, "")
        ledger.keep_answer("1", "print", Answer(200, {}))
        raise RuntimeError

    assert ledger.accounts() == {}
    assert ledger.find_answer("1", "print") is None


def test_the_ledger_can_be_read_while_it_is_open_and_is_there_when_it_is_opened_again(path: Path) -> None:
    with Ledger.open(path) as ledger:
        with ledger.transaction():
            ledger.add_authorisation("1", "order", "EUR", 1450, "")
            ledger.keep_answer("1", "print", Answer(200, {"a": 1}))
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as reader:
            assert reader.execute("select amount, state from authorisations").fetchall() == [(1450, "held")]

    with Ledger.open(path) as ledger:
        assert ledger.accounts()["order"]["authorised"] == 1450
        assert ledger.find_answer("1", "print") == Answer(200, {"a": 1})
        with pytest.raises(KeyReused):
            ledger.find_answer("1", "other")
