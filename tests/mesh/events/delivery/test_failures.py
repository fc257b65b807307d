"""Whatever is killed, stopped or restarted: every event is applied once, and those of a subject in order."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from tests.mesh.events.delivery.harness import BrokerServer, Loans, Worker, prepare_database, replica, subscription
from weft.data import Database
from weft.data.postgres import EmbeddedPostgres
from weft.events import open_broker

Eventually = Callable[[Callable[[], Awaitable[bool]]], Awaitable[None]]
NAMES = [f"book{index}" for index in range(5)]


async def _is_empty(loans: Loans) -> bool:
    return await loans.unpublished() == 0


async def test_a_broker_that_is_killed_and_comes_back_loses_nothing(
    loans: Loans, broker_server: BrokerServer, eventually: Eventually
) -> None:
    numbers, under_way = range(40), asyncio.Event()

    async def publish(name: str) -> None:
        for number in numbers:
            await loans.publish((name, number))
            if number == 10:
                under_way.set()

    async with replica(loans, broker_server.url, subscription()):
        publishing = asyncio.gather(*[publish(name) for name in NAMES])
        await under_way.wait()
        await asyncio.to_thread(broker_server.kill)
        await publishing
        broker_server.start()  # which dies with the thread that starts it
        await eventually(loans.are_applied({name: [*numbers] for name in NAMES}))

    assert await loans.applied() == {name: [*numbers] for name in NAMES}
    assert await loans.unpublished() == 0


async def test_a_relay_that_is_killed_between_confirmation_and_mark_publishes_again_and_the_effect_is_one(
    loans: Loans, broker_url: str, eventually: Eventually
) -> None:
    hearing = subscription()
    await loans.publish(("dune", 1), ("dune", 2), ("emma", 3))
    async with open_broker(broker_url, name="archive") as broker:
        await broker.declare(hearing)

    async with Worker.started(loans, broker_url, die_after_confirmation=True) as worker:
        await worker.process.wait()
    confirmed_and_not_marked = await loans.unpublished()
    async with replica(loans, broker_url, hearing):
        await eventually(loans.are_applied({"dune": [1, 2], "emma": [3]}))
        await eventually(lambda: _is_empty(loans))
        await loans.publish(("dune", 4))
        await eventually(loans.are_applied({"dune": [1, 2, 4], "emma": [3]}))

    assert worker.process.returncode == -signal.SIGKILL
    assert confirmed_and_not_marked == 3
    assert await loans.applied() == {"dune": [1, 2, 4], "emma": [3]}


async def test_what_a_consumer_had_in_hand_when_it_was_killed_is_applied_once_and_in_order_by_another(
    loans: Loans, broker_url: str, eventually: Eventually
) -> None:
    hearing = subscription(timeout_s=30)

    async with Worker.started(loans, broker_url, hearing, hold=3) as worker:
        await worker.says("applying events")
        await loans.publish(*[("dune", number) for number in range(1, 7)])
        await worker.says("began 3")
        worker.signal(signal.SIGKILL)
        await worker.process.wait()
        assert await loans.applied() == {"dune": [1, 2]}
        async with replica(loans, broker_url, hearing):
            await loans.publish(("dune", 7))
            await eventually(loans.are_applied({"dune": [*range(1, 8)]}))

    assert await loans.applied() == {"dune": [*range(1, 8)]}


@pytest.mark.parametrize("during", ["began 2", "was not applied"], ids=["in a transaction", "between attempts"])
async def test_a_consumer_that_stood_still_while_its_lease_was_taken_applies_nothing_more(
    loans: Loans, broker_url: str, eventually: Eventually, tmp_path: Path, during: str
) -> None:
    hearing = subscription(timeout_s=1.0, initial_backoff_s=30.0, max_backoff_s=30.0)
    held = {"hold": 2} if during == "began 2" else {"fail": 2}

    async with Worker.started(loans, broker_url, hearing, go=str(tmp_path / "go"), **held) as worker:
        await worker.says("applying events")
        await loans.publish(("dune", 1), ("dune", 2), ("dune", 3))
        await worker.says(during)
        worker.signal(signal.SIGSTOP)
        async with replica(loans, broker_url, hearing):
            await eventually(loans.are_applied({"dune": [1, 2, 3]}))
            (tmp_path / "go").touch()
            worker.signal(signal.SIGCONT)
            await worker.says("lost the lease of a subscription")
            await loans.publish(("dune", 4))
            await eventually(loans.are_applied({"dune": [1, 2, 3, 4]}))

    assert await loans.applied() == {"dune": [1, 2, 3, 4]}


async def test_a_consumer_that_is_stopped_hands_over_at_once_and_in_order(
    loans: Loans, broker_url: str, eventually: Eventually
) -> None:
    hearing, held = subscription(), asyncio.Event()

    async def hold(tx: object, received: object) -> None:
        del tx, received
        held.set()
        await asyncio.Event().wait()

    async with replica(loans, broker_url, hearing, handle=hold, lease_s=1000):
        await loans.publish(*[("dune", number) for number in range(5)])
        await held.wait()
    async with replica(loans, broker_url, hearing, lease_s=1000):
        await loans.publish(("dune", 5))
        await eventually(loans.are_applied({"dune": [*range(6)]}))

    assert await loans.applied() == {"dune": [*range(6)]}


async def test_a_database_that_restarts_loses_nothing_and_makes_no_dead_letter(
    own_postgres: EmbeddedPostgres, broker_url: str, eventually: Eventually
) -> None:
    url, hearing = own_postgres.ensure_database("library"), subscription(max_attempts=1)
    prepare_database(url)
    async with Database.open(url, checkout_s=1) as database:
        loans, numbers = Loans(database), range(30)

        async with replica(loans, broker_url, hearing):
            await loans.publish(*[(name, number) for number in numbers for name in NAMES])
            await asyncio.to_thread(own_postgres.stop)
            await asyncio.to_thread(own_postgres.start)
            await eventually(loans.are_applied({name: [*numbers] for name in NAMES}))

        assert await loans.applied() == {name: [*numbers] for name in NAMES}
