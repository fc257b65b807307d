"""The broker is killed, started again, away for long, or stands still."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from tests.mesh.events.brokers.parts import Topic, apply, bury, hear_until, number_of, publish, take, until_back
from weft.events.broker import BrokerUnavailable, open_broker

BOUND_S = 20.0
"""No answer of a broker is waited for as long as this, whatever has become of it."""


async def test_what_is_confirmed_survives_a_kill(broker_server: Any, topic: Topic) -> None:
    hearing = topic.subscription()
    async with open_broker(broker_server.url, name="test") as broker:
        await broker.declare(hearing)
        # RabbitMQ 3.10 loses the youngest of all quorum queues when it is killed within three seconds of its making.
        await broker.declare(topic.subscription("younger"))
        await publish(broker, *[topic.event(number) for number in range(20)])
        await bury(broker, hearing, 3)

        await asyncio.to_thread(broker_server.kill)
        await asyncio.to_thread(broker_server.start)

        async def letters_are_there() -> None:
            assert len(await broker.dead_letters(hearing.name)) == 3

        await until_back(letters_are_there)
        # NATS may forget the last acknowledgements when it is killed; their events come again, in their place.
        numbers = await hear_until(broker, hearing, 19)
        assert numbers == sorted(numbers)
        assert {*numbers} >= {*range(3, 20)}


async def test_a_subscriber_is_told_that_the_broker_is_gone_and_hears_on_when_it_is_back(
    broker_server: Any, topic: Topic
) -> None:
    hearing = topic.subscription()
    async with open_broker(broker_server.url, name="test") as broker:
        await broker.declare(hearing)
        await publish(broker, *[topic.event(number) for number in range(4)])

        with pytest.raises(BrokerUnavailable):
            async with broker.subscribe(hearing, prefetch=3) as deliveries:
                [first, *_] = await take(deliveries, 3)
                await first.ack()
                await asyncio.to_thread(broker_server.kill)
                async with asyncio.timeout(BOUND_S):
                    async for _ in deliveries:
                        pass
        await asyncio.to_thread(broker_server.start)

        async def subscribe_again() -> None:
            async with broker.subscribe(hearing, prefetch=3) as deliveries:
                numbers.extend([number_of(delivery) for delivery in await take(deliveries, 3)])

        numbers: list[int] = []
        await until_back(subscribe_again)
        assert numbers in ([1, 2, 3], [0, 1, 2]), "the acknowledgement may have been lost with the broker"


async def test_while_the_broker_is_away_every_wish_fails_within_a_bound(broker_server: Any, topic: Topic) -> None:
    hearing = topic.subscription()
    async with open_broker(broker_server.url, name="test") as broker:
        await broker.declare(hearing)
        await asyncio.to_thread(broker_server.kill)
        began_s = time.monotonic()

        async def subscribe() -> None:
            async with broker.subscribe(hearing, prefetch=1) as deliveries:
                await anext(deliveries)

        wishes = {
            "publish": broker.publish(topic.event(1)),
            "publish too": broker.publish(topic.event(2)),
            "declare": broker.declare(hearing),
            "subscribe": subscribe(),
            "dead letters": broker.dead_letters(hearing.name),
            "redrive": broker.redrive(hearing.name),
            "drop": broker.drop(hearing.name),
            "depths": broker.depths([hearing.name]),
        }
        answers = await asyncio.gather(*wishes.values(), return_exceptions=True)

        assert {name: type(answer) for name, answer in zip(wishes, answers, strict=True)} == dict.fromkeys(
            wishes, BrokerUnavailable
        )
        assert time.monotonic() - began_s < BOUND_S
        await asyncio.to_thread(broker_server.start)
        await until_back(lambda: broker.publish(topic.event(3)))
        assert await apply(broker, hearing, 1) == [3]


async def test_a_broker_may_come_later_than_its_clients(broker_server: Any, topic: Topic) -> None:
    await asyncio.to_thread(broker_server.kill)
    async with open_broker(broker_server.url, name="test") as broker:
        with pytest.raises(BrokerUnavailable):
            await broker.publish(topic.event(1))

        await asyncio.to_thread(broker_server.start)

        await until_back(lambda: broker.declare(topic.subscription()))
        await broker.publish(topic.event(2))
        assert await apply(broker, topic.subscription(), 1) == [2]


async def test_a_broker_that_stands_still_is_not_waited_for(broker_server: Any, topic: Topic) -> None:
    hearing = topic.subscription()
    async with open_broker(broker_server.url, name="test") as broker:
        await broker.declare(hearing)
        broker_server.pause()
        try:
            async with asyncio.timeout(BOUND_S):
                with pytest.raises(BrokerUnavailable):
                    await broker.publish(topic.event(1))
        finally:
            broker_server.resume()

        await until_back(lambda: broker.publish(topic.event(2)))
        assert await hear_until(broker, hearing, 2) in ([1, 2], [2]), "the first may have been taken after all"


async def test_closing_is_quick_while_the_broker_is_away(broker_server: Any, topic: Topic) -> None:
    async with open_broker(broker_server.url, name="test") as broker:
        await broker.publish(topic.event(1))
        await asyncio.to_thread(broker_server.kill)
        began_s = time.monotonic()

    assert time.monotonic() - began_s < BOUND_S


@pytest.mark.parametrize("is_away", [False, True], ids=["there", "away"])
async def test_a_task_that_is_cancelled_ends_as_cancelled_whatever_the_broker_does_meanwhile(
    broker_server: Any, topic: Topic, is_away: bool
) -> None:
    hearing = topic.subscription()
    async with open_broker(broker_server.url, name="test") as broker:
        await broker.declare(hearing)

        async def hear() -> None:
            async with broker.subscribe(hearing, prefetch=1) as deliveries:
                hearing_now.set()
                async for delivery in deliveries:
                    await delivery.release()

        async def speak() -> None:
            while True:
                await broker.publish(topic.event(1))

        hearing_now = asyncio.Event()
        tasks = [asyncio.create_task(hear()), asyncio.create_task(speak())]
        await hearing_now.wait()
        if is_away:
            await asyncio.to_thread(broker_server.kill)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks, timeout=BOUND_S)

        ends = [task.cancelled() or task.exception() for task in tasks]
        assert all(end is True or (is_away and isinstance(end, BrokerUnavailable)) for end in ends), ends
