from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from services.payments.simulated import SimulatedProvider
from tests.mesh.services.payments.parts import Payments, Simulator, Tap, replica, simulated_replica

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
    from contextlib import AbstractAsyncContextManager

    from weft.data import Database


@pytest.fixture(scope="module", name="running_simulator")
def _running_simulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Simulator]:
    simulator = Simulator(tmp_path_factory.mktemp("provider") / "ledger.db")
    simulator.start()
    yield simulator
    simulator.kill()


@pytest.fixture(name="simulator")
async def _simulator(running_simulator: Simulator) -> Simulator:
    """The provider without any trouble, whatever a test before did to it. Its ledger is long; orders are new."""
    running_simulator.start()
    await running_simulator.faults()
    return running_simulator


@pytest.fixture(name="payments_database")
async def _payments_database(empty_database: Callable[[str], Awaitable[Database]]) -> Database:
    return await empty_database("payments")


@pytest.fixture(name="payments")
async def _payments(payments_database: Database, simulator: Simulator) -> AsyncIterator[Payments]:
    async with simulated_replica(payments_database, simulator) as payments:
        yield payments


@pytest.fixture(name="another_replica")
def _another_replica(payments: Payments, simulator: Simulator) -> Callable[[], AbstractAsyncContextManager[Payments]]:
    """Start a second replica beside `payments`."""

    @asynccontextmanager
    async def make() -> AsyncIterator[Payments]:
        async with simulated_replica(payments.database, simulator) as other:
            yield other

    return make


@pytest.fixture(name="tap")
async def _tap(simulator: Simulator) -> AsyncIterator[Tap]:
    async with SimulatedProvider.open(simulator.url) as provider:
        yield Tap(provider)


@pytest.fixture(name="tapped")
async def _tapped(payments_database: Database, tap: Tap) -> AsyncIterator[Payments]:
    """Payments with a tap on the way to the provider."""
    async with replica(payments_database, tap) as payments:
        yield payments
