"""What could not be applied waits, can be read, comes back to its own subscription only, or is dropped."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from nats import connect

from tests.mesh.events.brokers.parts import PATIENCE_S, Topic, apply, bury, holding, letter_of, number_of, publish, take
from tests.mesh.events.conftest import BrokerServer
from weft.events.broker import Broker, Depth, open_broker
from weft.events.brokers.nats import DEAD, EVENTS
from weft.events.retention import BROKER_KEPT_S, DEAD_KEPT_S, INBOX_KEPT_S


async def test_a_buried_event_is_a_dead_letter_and_is_not_delivered_again(broker: Broker, topic: Topic) -> None:
    hearing, event = topic.subscription(), topic.event(1)
    event.time.CopyFrom(Timestamp(seconds=1_700_000_000))
    await broker.declare(hearing)
    await publish(broker, event, topic.event(2))

    await bury(broker, hearing, 1)

    [letter] = await broker.dead_letters(hearing.name)
    assert (letter.id, letter.subscription, letter.type) == (event.id, hearing.name, event.type)
    assert (letter.source, letter.subject) == ("library", "dune")
    assert letter.time == datetime.fromtimestamp(1_700_000_000, UTC)
    assert (letter.reason, letter.attempts) == ("SHELF_FULL", 3)
    assert letter.buried_time == datetime(2026, 11, 21, 5, 30, tzinfo=UTC)
    assert letter.data == event.SerializeToString()
    assert await apply(broker, hearing, 1) == [2]


async def test_reading_dead_letters_leaves_them_where_they_are(broker: Broker, topic: Topic) -> None:
    hearing = topic.subscription()
    await broker.declare(hearing)
    await publish(broker, *[topic.event(number) for number in range(5)])
    ids = await bury(broker, hearing, 5)

    readings = [[letter.id for letter in await broker.dead_letters(hearing.name)] for _ in range(25)]
    first_two = [letter.id for letter in await broker.dead_letters(hearing.name, limit=2)]

    assert readings == [ids] * 25
    assert first_two == ids[:2]


async def test_what_is_redriven_comes_to_its_subscription_only_and_in_order(broker: Broker, topic: Topic) -> None:
    hearing, other = topic.subscription("loans"), topic.subscription("other")
    for subscription in (hearing, other):
        await broker.declare(subscription)
    events = [topic.event(number) for number in range(3)]
    await publish(broker, *events)
    assert await apply(broker, other, 3) == [0, 1, 2]
    await bury(broker, hearing, 3)

    redriven = await broker.redrive(hearing.name)
    await broker.publish(topic.event(3))

    assert redriven == 3
    assert await broker.dead_letters(hearing.name) == []
    async with broker.subscribe(hearing, prefetch=8) as deliveries:
        found = await take(deliveries, 4)
        for delivery in found:
            await delivery.ack()
    assert [number_of(delivery) for delivery in found] == [0, 1, 2, 3]
    assert [delivery.message_id for delivery in found[:3]] == [event.id for event in events]
    assert [delivery.data for delivery in found[:3]] == [event.SerializeToString() for event in events]
    assert await apply(broker, other, 1) == [3]


async def test_single_letters_are_redriven_and_dropped_by_their_ids(broker: Broker, topic: Topic) -> None:
    hearing = topic.subscription()
    await broker.declare(hearing)
    await publish(broker, *[topic.event(number) for number in range(5)])
    ids = await bury(broker, hearing, 5)

    assert await broker.redrive(hearing.name, [ids[3], "unknown"]) == 1
    assert await broker.drop(hearing.name, [ids[0], ids[1]]) == 2
    assert await broker.drop(hearing.name, [ids[0]]) == 0

    assert [letter.id for letter in await broker.dead_letters(hearing.name)] == [ids[2], ids[4]]
    assert await apply(broker, hearing, 1) == [3]


async def test_what_is_dropped_never_comes_back(broker: Broker, topic: Topic) -> None:
    hearing = topic.subscription()
    await broker.declare(hearing)
    await publish(broker, *[topic.event(number) for number in range(3)])
    await bury(broker, hearing, 3)

    dropped = await broker.drop(hearing.name)
    await broker.publish(topic.event(3))

    assert dropped == 3
    assert await broker.redrive(hearing.name) == 0
    assert await apply(broker, hearing, 1) == [3]


async def test_an_event_may_die_and_be_redriven_twice(broker: Broker, topic: Topic) -> None:
    hearing = topic.subscription()
    await broker.declare(hearing)
    await broker.publish(topic.event(1))

    for _ in range(2):
        await bury(broker, hearing, 1)
        assert await broker.redrive(hearing.name) == 1

    assert await apply(broker, hearing, 1) == [1]
    assert await broker.dead_letters(hearing.name) == []


async def test_what_can_not_be_read_can_be_buried_and_read_as_it_came(broker: Broker, topic: Topic) -> None:
    hearing, event = topic.subscription(), topic.event(1)
    await broker.declare(hearing)
    await broker.publish(event)

    async with broker.subscribe(hearing, prefetch=1) as deliveries:
        [delivery] = await take(deliveries, 1)
        delivery.data = b"\xff\xfe"
        await delivery.bury(letter_of(delivery, hearing, reason="UNPARSABLE"))

    [letter] = await broker.dead_letters(hearing.name)
    assert (letter.data, letter.id, letter.reason) == (b"\xff\xfe", event.id, "UNPARSABLE")
    assert (letter.type, letter.subject) == ("", "")


async def test_depths_count_what_waits_and_what_is_dead(broker: Broker, topic: Topic) -> None:
    hearing, never = topic.subscription(), topic.subscription("never")
    await broker.declare(hearing)
    await publish(broker, *[topic.event(number) for number in range(5)])
    await bury(broker, hearing, 2)

    async def depths() -> Mapping[str, Depth]:
        return await broker.depths([hearing.name, never.name])

    async with asyncio.timeout(30):  # what a consumer gave back is counted a moment later
        while (await depths())[hearing.name].waiting != 3:
            await asyncio.sleep(0.05)
    assert await depths() == {hearing.name: Depth(waiting=3, dead=2), never.name: Depth(waiting=0, dead=0)}
    assert await broker.dead_letters(never.name) == []
    assert await broker.redrive(never.name) == await broker.drop(never.name) == 0


@pytest.mark.parametrize("work", ["redrive", "drop"])
async def test_letters_are_reached_while_their_subscription_is_being_heard(
    broker: Broker, broker_url: str, topic: Topic, work: str
) -> None:
    hearing = topic.subscription()
    await broker.declare(hearing)
    await publish(broker, topic.event(0), topic.event(1))
    await bury(broker, hearing, 1)

    async with holding(broker_url, hearing, 1):
        count = await getattr(broker, work)(hearing.name)

    assert count == 1
    assert await broker.dead_letters(hearing.name) == []


async def test_rabbitmq_forgets_a_dead_letter_in_the_end(
    rabbitmq: BrokerServer, topic: Topic, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("weft.events.brokers.rabbitmq.DEAD_KEPT_S", 0.01)
    rabbitmq.start()
    hearing = topic.subscription()
    async with open_broker(rabbitmq.url, name="test") as broker:
        await broker.declare(hearing)
        await publish(broker, topic.event(1))
        await bury(broker, hearing, 1)

        async with asyncio.timeout(PATIENCE_S):
            while await broker.dead_letters(hearing.name):
                await asyncio.sleep(0.05)


async def test_nats_forgets_events_and_dead_letters_in_the_end(nats: BrokerServer, topic: Topic) -> None:
    nats.start()
    async with open_broker(nats.url, name="test") as broker:
        await broker.declare(topic.subscription())

    client = await connect(nats.url)
    kept = [(await client.jetstream().stream_info(name)).config.max_age for name in (EVENTS, DEAD)]
    await client.close()

    assert kept == [BROKER_KEPT_S, DEAD_KEPT_S]


def test_an_event_is_remembered_as_applied_for_longer_than_a_copy_of_it_may_come() -> None:
    assert INBOX_KEPT_S > BROKER_KEPT_S + DEAD_KEPT_S + BROKER_KEPT_S
