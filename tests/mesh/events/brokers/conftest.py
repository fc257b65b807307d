from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.mesh.events.brokers.parts import Topic
from weft.events.broker import Broker, open_broker


@pytest.fixture(name="broker")
async def _broker(broker_url: str) -> AsyncIterator[Broker]:
    async with open_broker(broker_url, name="test") as broker:
        yield broker


@pytest.fixture
def topic() -> Topic:
    return Topic()
