"""What every broker does for the mesh: the same tests run on NATS and on RabbitMQ."""

from __future__ import annotations

import asyncio

import pytest

from tests.mesh.events.brokers.parts import Topic, apply, holding, number_of, publish, take
from weft.events.broker import Broker, open_broker


async def test_events_arrive_as_they_were_published_and_in_order(broker: Broker, topic: Topic) -> None:
    hearing, events = topic.subscription(), [topic.event(number) for number in range(50)]
    await broker.declare(hearing)

    await publish(broker, *events)

    async with broker.subscribe(hearing, prefetch=8) as deliveries:
        found = []
        for _ in events:
            [delivery] = await take(deliveries, 1)
            found.append(delivery)
            await delivery.ack()
    assert [delivery.data for delivery in found] == [event.SerializeToString() for event in events]
    assert [delivery.message_id for delivery in found] == [event.id for event in events]
    assert {delivery.deliveries for delivery in found} == {1}


async def test_events_may_be_published_side_by_side(broker: Broker, topic: Topic) -> None:
    hearing = topic.subscription()
    await broker.declare(hearing)

    await asyncio.gather(*[broker.publish(topic.event(number)) for number in range(300)])

    assert sorted(await apply(broker, hearing, 300)) == [*range(300)]


async def test_a_subscriber_gets_its_types_only(broker: Broker, topic: Topic) -> None:
    both, one = topic.subscription("both", events=("BookLent", "BookReturned")), topic.subscription("one")
    await broker.declare(both)
    await broker.declare(one)

    await publish(broker, topic.event(1), topic.event(2, name="BookReturned"), topic.event(3, name="BookBound"))
    await publish(broker, topic.event(4))

    assert await apply(broker, both, 3) == [1, 2, 4]
    assert await apply(broker, one, 2) == [1, 4]


async def test_an_event_that_nobody_has_subscribed_to_is_published_all_the_same(broker: Broker, topic: Topic) -> None:
    await broker.publish(topic.event(1))


async def test_declaring_again_changes_nothing_and_loses_nothing(broker: Broker, topic: Topic) -> None:
    hearing = topic.subscription()
    await broker.declare(hearing)
    await broker.publish(topic.event(1))

    await broker.declare(hearing)

    assert await apply(broker, hearing, 1) == [1]


async def test_a_type_may_be_added_to_a_subscription(broker: Broker, topic: Topic) -> None:
    before, after = topic.subscription(), topic.subscription(events=("BookLent", "BookReturned"))
    await broker.declare(before)
    await broker.publish(topic.event(1))

    await broker.declare(after)
    await broker.publish(topic.event(2, name="BookReturned"))

    assert await apply(broker, after, 2) == [1, 2]


async def test_names_with_dots_and_dashes_are_told_apart(broker: Broker, topic: Topic) -> None:
    names = ("new-loans", "new.loans", "newloans")
    subscriptions = [topic.subscription(name) for name in names]
    for subscription in subscriptions:
        await broker.declare(subscription)
    await broker.publish(topic.event(1))

    assert [await apply(broker, subscription, 1) for subscription in subscriptions] == [[1], [1], [1]]


async def test_no_more_is_in_hand_than_was_asked_for(broker: Broker, topic: Topic) -> None:
    hearing = topic.subscription()
    await broker.declare(hearing)
    await publish(broker, *[topic.event(number) for number in range(6)])

    async with broker.subscribe(hearing, prefetch=3) as deliveries:
        held = await take(deliveries, 3)
        fourth = asyncio.ensure_future(anext(deliveries))
        done, _ = await asyncio.wait((fourth,), timeout=1.5)
        assert not done
        await held[0].ack()
        async with asyncio.timeout(10):
            assert number_of(await fourth) == 3


async def test_what_is_not_acknowledged_comes_back_in_order(broker: Broker, topic: Topic) -> None:
    hearing = topic.subscription()
    await broker.declare(hearing)
    await publish(broker, *[topic.event(number) for number in range(8)])

    async with broker.subscribe(hearing, prefetch=5) as deliveries:
        held = await take(deliveries, 5)
        await held[0].ack()
    async with broker.subscribe(hearing, prefetch=20) as deliveries:
        again = await take(deliveries, 7)

    assert [number_of(delivery) for delivery in again] == [*range(1, 8)]
    assert all(delivery.deliveries == 2 for delivery in again[:4])
    assert again[-1].deliveries == 1


async def test_what_a_killed_consumer_held_comes_back_in_order(broker_url: str, broker: Broker, topic: Topic) -> None:
    hearing = topic.subscription()
    await broker.declare(hearing)
    await publish(broker, *[topic.event(number) for number in range(5)])

    async with holding(broker_url, hearing, 3) as (holder, numbers):
        assert numbers == [0, 1, 2]
        holder.kill()
        await holder.wait()
    await broker.publish(topic.event(5))

    assert await apply(broker, hearing, 6) == [*range(6)]


async def test_what_was_acknowledged_before_what_came_earlier_does_not_hide_it(broker: Broker, topic: Topic) -> None:
    hearing = topic.subscription()
    await broker.declare(hearing)
    await publish(broker, *[topic.event(number) for number in range(4)])

    async with broker.subscribe(hearing, prefetch=4) as deliveries:
        held = await take(deliveries, 4)
        await held[1].ack()
        await held[3].ack()
    async with broker.subscribe(hearing, prefetch=4) as deliveries:
        numbers = [number_of(delivery) for delivery in await take(deliveries, 2)]

    assert numbers[0] == 0
    assert numbers in ([0, 2], [0, 1]), "an acknowledged one may be told again, which the inbox knows"


async def test_what_is_released_is_delivered_again_at_once(broker: Broker, topic: Topic) -> None:
    hearing = topic.subscription()
    await broker.declare(hearing)
    await broker.publish(topic.event(1))

    async with broker.subscribe(hearing, prefetch=4) as deliveries:
        [first] = await take(deliveries, 1)
        await first.release()
        async with asyncio.timeout(3):
            second = await anext(deliveries)
        await second.ack()

    assert (first.deliveries, second.deliveries) == (1, 2)
    assert second.data == first.data


async def test_what_is_extended_is_not_given_to_anybody_else(broker: Broker, topic: Topic) -> None:
    hearing = topic.subscription()
    await broker.declare(hearing)
    await broker.publish(topic.event(1))

    async with broker.subscribe(hearing, prefetch=4) as deliveries:
        [delivery] = await take(deliveries, 1)
        again = asyncio.ensure_future(anext(deliveries))
        for _ in range(4):
            await delivery.extend()
            done, _ = await asyncio.wait((again,), timeout=3)
            assert not done
        await delivery.ack()
        again.cancel()


async def test_a_copy_of_an_event_is_known_by_its_id(broker: Broker, broker_url: str, topic: Topic) -> None:
    hearing, event = topic.subscription(), topic.event(1)
    await broker.declare(hearing)

    await publish(broker, event, event, topic.event(2))

    if broker_url.startswith("nats"):
        assert await apply(broker, hearing, 2) == [1, 2]
    else:  # which drops no copies; their ids are equal, so the inbox does
        async with broker.subscribe(hearing, prefetch=3) as deliveries:
            found = await take(deliveries, 3)
        assert [number_of(delivery) for delivery in found] == [1, 1, 2]
        assert found[0].message_id == found[1].message_id == event.id


async def test_another_scheme_is_refused() -> None:
    with pytest.raises(ValueError, match="nats:// or amqp://, not kafka://"):
        open_broker("kafka://127.0.0.1", name="test")
