"""A queue that another build declared with other arguments: RabbitMQ lets nobody use it as we need it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import aio_pika
import pytest
from prometheus_client import REGISTRY

from tests.library import pb
from tests.mesh.events.delivery.harness import LENT, BrokerServer, Loans, replica, running, subscription
from weft.events import Consumer, QueueMismatch, open_broker
from weft.events.arrival import Route
from weft.telemetry import Tracing

Eventually = Callable[[Callable[[], Awaitable[bool]]], Awaitable[None]]
OLDER: Any = {"x-queue-type": "quorum"}


async def test_it_is_said_once_and_loudly_while_the_rest_goes_on_and_heard_when_it_was_deleted(
    loans: Loans,
    rabbitmq: BrokerServer,
    eventually: Eventually,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("weft.events.consumer._STAND_BACK_S", 0.02)
    rabbitmq.start()
    hearing = subscription()
    async with (
        await aio_pika.connect(rabbitmq.url) as connection,
        open_broker(rabbitmq.url, name="archive") as broker,
    ):
        queue = await (await connection.channel()).declare_queue(hearing.name, durable=True, arguments=OLDER)
        consumer = Consumer(
            hearing,
            {LENT: Route(pb.BookLent, loans.record)},
            database=loans.database,
            broker=broker,
            tracing=Tracing("archive"),
            turns=asyncio.Semaphore(3),
        )

        async def is_refused_again() -> bool:
            return logging.DEBUG in [record.levelno for record in refusals(caplog)]

        async def is_published() -> bool:
            return await loans.unpublished() == 0

        with caplog.at_level(logging.DEBUG, "weft.events.consumer"):
            async with replica(loans, rabbitmq.url), running(consumer.run):
                await eventually(is_refused_again)
                assert active(hearing.name) == 0
                await loans.publish(("dune", 1))
                await eventually(is_published)

                await queue.delete(if_unused=False, if_empty=False)
                await broker.declare(hearing)
                await loans.publish(("dune", 2))
                await eventually(loans.are_applied({"dune": [2]}))
                assert active(hearing.name) == 1

    [said, *_] = refusals(caplog)
    assert [record.levelno for record in refusals(caplog)].count(logging.ERROR) == 1
    assert said.levelno == logging.ERROR
    assert vars(said).items() >= {"reason": "QUEUE_MISMATCH", "queue": hearing.name}.items()
    assert f"rabbitmqctl delete_queue {hearing.name}" in vars(said)["detail"]


async def test_declaring_names_the_queue_that_is_in_the_way_be_it_that_of_dead_letters(rabbitmq: BrokerServer) -> None:
    rabbitmq.start()
    hearing = subscription()
    async with (
        await aio_pika.connect(rabbitmq.url) as connection,
        open_broker(rabbitmq.url, name="archive") as broker,
    ):
        await (await connection.channel()).declare_queue(f"{hearing.name}.dead", durable=True)

        with pytest.raises(QueueMismatch) as refused:
            await broker.declare(hearing)

    assert refused.value.metadata == {"queue": f"{hearing.name}.dead"}


def refusals(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    return [record for record in caplog.records if record.getMessage() == "cannot hear a subscription"]


def active(subscription_name: str) -> float | None:
    return REGISTRY.get_sample_value("weft_events_consumer_active", {"subscription": subscription_name})
