"""A consumer in a process of its own: takes what it is told to, says which, and holds it until it is killed."""

from __future__ import annotations

import asyncio
import json
import sys

from tests.mesh.events.brokers.parts import number_of, take
from weft.contract import Subscription
from weft.events.broker import open_broker


async def hold(url: str, subscription: Subscription, count: int) -> None:
    async with (
        open_broker(url, name="holder") as broker,
        broker.subscribe(subscription, prefetch=count) as deliveries,
    ):
        held = await take(deliveries, count)
        print([number_of(delivery) for delivery in held], flush=True)  # noqa: T201
        await asyncio.Event().wait()


if __name__ == "__main__":
    told = json.loads(sys.argv[1])
    asyncio.run(hold(told["url"], Subscription(**told["subscription"]), told["count"]))
