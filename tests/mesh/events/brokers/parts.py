"""Events that mean nothing, and what a subscriber of them gets."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final
from uuid import uuid4

from mesh.events.v1.event_pb2 import Event

from weft.contract import Subscription
from weft.errors import Unavailable
from weft.events.broker import Broker, DeadLetter, Delivery

ROOT: Final = Path(__file__).parents[4]
PATIENCE_S: Final = 60.0


@dataclass
class Topic:
    """Types of event and a subscription to them that no other test has heard of."""

    mark: str = field(default_factory=lambda: uuid4().hex[:8])

    def type(self, name: str = "BookLent") -> str:
        return f"library.v1.{name}{self.mark}"

    def event(self, number: int, *, name: str = "BookLent") -> Event:
        """Return an event that is told from others by its number."""
        return Event(id=str(uuid4()), type=self.type(name), source="library", subject="dune", sequence=number)

    def subscription(self, name: str = "loans", *, events: Collection[str] = ("BookLent",)) -> Subscription:
        types = tuple(self.type(each) for each in events)
        return Subscription(name=f"archive.{name}-{self.mark}", service="archive", events=types)


def number_of(delivery: Delivery) -> int:
    return Event.FromString(delivery.data).sequence


def letter_of(delivery: Delivery, subscription: Subscription, *, reason: str = "SHELF_FULL") -> DeadLetter:
    return DeadLetter.read(
        delivery.data,
        subscription=subscription.name,
        id=delivery.message_id,
        reason=reason,
        attempts=3,
        buried_time=datetime(2026, 11, 21, 5, 30, tzinfo=UTC),
    )


async def publish(broker: Broker, *events: Event) -> None:
    for event in events:
        await broker.publish(event)


async def take(deliveries: AsyncIterator[Delivery], count: int) -> list[Delivery]:
    """Return the next *count* deliveries; fail when they don't come."""
    async with asyncio.timeout(PATIENCE_S):
        return [await anext(deliveries) for _ in range(count)]


async def bury(broker: Broker, subscription: Subscription, count: int) -> list[str]:
    """Bury the next *count* events, and return their ids."""
    async with broker.subscribe(subscription, prefetch=count) as deliveries:
        found = await take(deliveries, count)
        for delivery in found:
            await delivery.bury(letter_of(delivery, subscription))
    return [delivery.message_id for delivery in found]


async def apply(broker: Broker, subscription: Subscription, count: int) -> list[int]:
    """Acknowledge the next *count* events, and return their numbers."""
    async with broker.subscribe(subscription, prefetch=8) as deliveries:
        numbers = []
        for _ in range(count):
            [delivery] = await take(deliveries, 1)
            numbers.append(number_of(delivery))
            await delivery.ack()
        return numbers


async def hear_until(broker: Broker, subscription: Subscription, last: int) -> list[int]:
    """Acknowledge events up to the one with the number *last*, and return their numbers."""
    numbers: list[int] = []
    async with asyncio.timeout(PATIENCE_S), broker.subscribe(subscription, prefetch=8) as deliveries:
        while not numbers or numbers[-1] != last:
            delivery = await anext(deliveries)
            await delivery.ack()
            numbers.append(number_of(delivery))
    return numbers


async def until_back(work: Callable[[], Awaitable[None]]) -> None:
    """Do *work*, again and again while the broker is away."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            try:
                return await work()
            except Unavailable:
                await asyncio.sleep(0.05)


@asynccontextmanager
async def holding(
    url: str, subscription: Subscription, count: int
) -> AsyncIterator[tuple[asyncio.subprocess.Process, list[int]]]:
    """Run a consumer that holds *count* events; yield its process and their numbers; kill it when the block is left."""
    told = {"url": url, "subscription": asdict(subscription), "count": count}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.mesh.events.brokers.holder", json.dumps(told)),
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'gen'}"},
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(PATIENCE_S):
            yield process, json.loads(await process.stdout.readline())
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
