"""From a transaction that publishes to a transaction that applies: once, in order, and never silently not at all."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import uuid4

import pytest
import sqlalchemy as sa
from mesh.events.v1.event_pb2 import Event

from tests.library import pb
from tests.mesh.events.delivery.harness import LENT, RETURNED, Loans, replica, subscription
from weft import errors
from weft.call import Call, current_call
from weft.data import Transaction
from weft.events import DeadLetter, Received, open_broker
from weft.telemetry import RecentSpans, TraceContext, Tracing

Eventually = Callable[[Callable[[], Awaitable[bool]]], Awaitable[None]]


async def test_a_handler_is_given_the_event_and_runs_as_a_call_of_its_trace(
    loans: Loans, broker_url: str, eventually: Eventually
) -> None:
    spans, seen = RecentSpans(), list[tuple[Received[Any], Call | None, float | None]]()
    hearing = subscription()
    origin = TraceContext("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331", sampled=True)

    async def handle(tx: Transaction, received: Received[Any]) -> None:
        call = current_call.get()
        seen.append((received, call, call.remaining_s() if call else None))
        await loans.record(tx, received)

    tracing = Tracing("archive", exporters=[spans])
    async with replica(loans, broker_url, hearing, handle=handle, tracing=tracing):
        token = current_call.set(Call(method="/m", request_id="r", trace=origin, deadline=None))
        await loans.publish(("dune", 7))
        current_call.reset(token)
        await eventually(loans.are_applied({"dune": [7]}))

    [(received, call, remaining_s)] = [each for each in seen if each[0].subject == loans.book("dune")]
    assert (received.type, received.source, received.attempt) == (LENT, "library", 1)
    assert received.event == loans.lent("dune", 7)
    assert abs(time.time() - received.time.timestamp()) < 60
    assert call is not None
    assert (call.method, call.request_id, call.trace.trace_id) == (LENT, received.id, origin.trace_id)
    assert remaining_s is not None
    assert 0 < remaining_s <= 2
    [published] = [each for each in json.loads(spans.to_json()) if each["kind"] == "SpanKind.PRODUCER"]
    [processed] = [each for each in json.loads(spans.to_json()) if each["kind"] == "SpanKind.CONSUMER"]
    assert (published["name"], published["parent_id"]) == (f"publish {LENT}", f"0x{origin.span_id}")
    assert (processed["name"], processed["parent_id"]) == (
        f"process {hearing.name}", published["context"]["span_id"]
    )  # fmt: skip
    assert processed["context"]["span_id"] == f"0x{call.trace.span_id}"
    system = {"nats": "nats", "amqp": "rabbitmq"}[broker_url.partition(":")[0]]
    assert processed["attributes"] == {
        "messaging.system": system,
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.destination.name": LENT,
        "messaging.destination.subscription.name": hearing.name,
        "messaging.message.id": received.id,
    }


async def test_several_types_of_one_subject_are_applied_in_order(
    loans: Loans, broker_url: str, eventually: Eventually
) -> None:
    async with replica(loans, broker_url, subscription(events=(LENT, RETURNED))):
        for number in range(0, 20, 2):
            async with loans.database.transaction() as tx:
                await loans.outbox.publish(tx, pb.BookLent(book_id=loans.book("dune"), number=number))
                await loans.outbox.publish(tx, pb.BookReturned(book_id=loans.book("dune"), number=number + 1))
        await eventually(loans.are_applied({"dune": [*range(20)]}))

    assert await loans.applied() == {"dune": [*range(20)]}


async def test_every_subscription_hears_every_event(loans: Loans, broker_url: str, eventually: Eventually) -> None:
    first, second = subscription(), subscription()

    async with replica(loans, broker_url, first, second):
        await loans.publish(("dune", 1))
        await eventually(loans.are_applied({"dune": [1, 1]}))

    assert await loans.applied() == {"dune": [1, 1]}


async def test_a_handler_may_publish_in_its_transaction(loans: Loans, broker_url: str, eventually: Eventually) -> None:
    async def answer(tx: Transaction, received: Received[Any]) -> None:
        await loans.record(tx, received)
        if received.subject == loans.book("dune"):
            await loans.outbox.publish(tx, loans.lent("emma", received.event.number + 1))

    async with replica(loans, broker_url, subscription(), handle=answer):
        await loans.publish(("dune", 1))
        await eventually(loans.are_applied({"dune": [1], "emma": [2]}))

    assert await loans.applied() == {"dune": [1], "emma": [2]}


async def test_two_replicas_keep_the_order_of_each_subject_and_apply_each_event_once(
    loans: Loans, broker_url: str, eventually: Eventually
) -> None:
    names, numbers, hearing = [f"book{index}" for index in range(6)], range(25), subscription()

    async with replica(loans, broker_url, hearing), replica(loans, broker_url, hearing):
        await asyncio.gather(*[loans.publish(*[(name, number) for number in numbers]) for name in names])
        await eventually(loans.are_applied({name: [*numbers] for name in names}))

    assert await loans.applied() == {name: [*numbers] for name in names}


async def test_an_event_that_is_published_twice_is_applied_once(
    loans: Loans, broker_url: str, eventually: Eventually
) -> None:
    def envelope(number: int, event_id: str) -> Event:
        data = loans.lent("dune", number).SerializeToString()
        subject = loans.book("dune")
        return Event(id=event_id, type=LENT, source="library", subject=subject, sequence=number, data=data)

    twice, once = str(uuid4()), str(uuid4())
    async with open_broker(broker_url, name="library") as broker, replica(loans, broker_url, subscription()):
        for event in (envelope(1, twice), envelope(1, twice), envelope(2, once), envelope(1, twice)):
            await broker.publish(event)
        await loans.publish(("emma", 3))
        await eventually(loans.are_applied({"dune": [1, 2], "emma": [3]}))

    assert await loans.applied() == {"dune": [1, 2], "emma": [3]}


async def test_an_event_that_fails_holds_up_its_subject_only_and_is_applied_before_what_follows_it(
    loans: Loans, broker_url: str, eventually: Eventually
) -> None:
    mended, attempts = asyncio.Event(), list[int]()

    async def handle(tx: Transaction, received: Received[Any]) -> None:
        if received.event.number == 1 and received.subject == loans.book("dune"):
            attempts.append(received.attempt)
            await loans.record(tx, received)  # is undone
            if not mended.is_set():
                raise errors.FailedPrecondition("not yet")
            return
        await loans.record(tx, received)

    async with replica(loans, broker_url, subscription(max_attempts=1000), handle=handle):
        await loans.publish(("dune", 1), ("dune", 2), ("emma", 3), ("dune", 4), ("emma", 5))
        await eventually(loans.are_applied({"emma": [3, 5]}))
        assert await loans.applied() == {"emma": [3, 5]}
        mended.set()
        await eventually(loans.are_applied({"dune": [1, 2, 4], "emma": [3, 5]}))

    assert await loans.applied() == {"dune": [1, 2, 4], "emma": [3, 5]}
    assert attempts == [*range(1, len(attempts) + 1)]


async def dead(broker_url: str, name: str) -> list[DeadLetter]:
    async with open_broker(broker_url, name="operator") as broker:
        return list(await broker.dead_letters(name))


async def test_an_event_that_always_fails_becomes_a_dead_letter_and_is_applied_when_it_is_redriven(
    loans: Loans, broker_url: str, eventually: Eventually
) -> None:
    hearing, is_mended, attempts = subscription(max_attempts=3), asyncio.Event(), list[int]()

    class ShelfFull(errors.FailedPrecondition):
        pass

    async def handle(tx: Transaction, received: Received[Any]) -> None:
        if received.subject == loans.book("dune") and received.event.number == 1:
            attempts.append(received.attempt)
            if not is_mended.is_set():
                raise ShelfFull("of dune; the reader is ada@example.com")
        await loans.record(tx, received)

    async with replica(loans, broker_url, hearing, handle=handle):
        await loans.publish(("dune", 1), ("dune", 2))
        await eventually(loans.are_applied({"dune": [2]}))
        [letter] = await dead(broker_url, hearing.name)
        is_mended.set()
        async with open_broker(broker_url, name="operator") as broker:
            redriven = await broker.redrive(hearing.name, [letter.id])
        await eventually(loans.are_applied({"dune": [2, 1]}))

        assert await dead(broker_url, hearing.name) == []

    assert (letter.type, letter.source, letter.subject) == (LENT, "library", loans.book("dune"))
    assert (letter.reason, letter.attempts, letter.subscription) == ("SHELF_FULL", 3, hearing.name)
    assert "ada@example.com" not in repr(letter)
    assert redriven == 1
    assert attempts == [1, 2, 3, 1]
    assert await loans.applied() == {"dune": [2, 1]}


async def _unknown(tx: Transaction, received: Received[Any]) -> None:
    raise ZeroDivisionError(f"{received.subject} {tx}")


async def _slow(tx: Transaction, received: Received[Any]) -> None:
    del tx, received
    await asyncio.Event().wait()


async def _cancelled(tx: Transaction, received: Received[Any]) -> None:
    del tx, received
    raise asyncio.CancelledError


async def _commit_fails(tx: Transaction, received: Received[Any]) -> None:
    shelved = sa.text(
        "INSERT INTO effects (event_id, subject, number, shelf) VALUES (CAST(:id AS uuid), :subject, 1, 7), "
        "(CAST(:id AS uuid), :subject, 2, 7)"
    )
    await tx.execute(shelved.bindparams(id=received.id, subject=received.subject))


@pytest.mark.parametrize(
    ("handle", "reason"),
    [
        (_unknown, "ZeroDivisionError"),
        (_slow, "DEADLINE_EXCEEDED"),
        (_cancelled, "CancelledError"),
        (_commit_fails, "UniqueViolation"),  # the constraint is deferred: only COMMIT sees it
    ],
)
async def test_whatever_way_a_handler_fails_the_event_is_not_acknowledged_and_nothing_is_kept(
    loans: Loans,
    broker_url: str,
    eventually: Eventually,
    handle: Callable[[Transaction, Received[Any]], Awaitable[None]],
    reason: str,
) -> None:
    hearing = subscription(max_attempts=2, timeout_s=0.2)

    async def failing(tx: Transaction, received: Received[Any]) -> None:
        if received.subject == loans.book("dune"):
            await handle(tx, received)

    async with replica(loans, broker_url, hearing, handle=failing):
        await loans.publish(("dune", 1))
        await eventually(lambda: _is_dead(broker_url, hearing.name))

    [letter] = await dead(broker_url, hearing.name)
    assert (letter.reason, letter.attempts) == (reason, 2)
    assert await loans.applied() == {}


async def test_a_commit_that_fails_once_is_made_good_by_the_next_attempt(
    loans: Loans, broker_url: str, eventually: Eventually
) -> None:
    async def handle(tx: Transaction, received: Received[Any]) -> None:
        if received.subject == loans.book("dune") and received.attempt == 1:
            await _commit_fails(tx, received)
        await loans.record(tx, received)

    async with replica(loans, broker_url, subscription(), handle=handle):
        await loans.publish(("dune", 1), ("dune", 2))
        await eventually(loans.are_applied({"dune": [1, 2]}))

    assert await loans.applied() == {"dune": [1, 2]}


@pytest.mark.parametrize(
    "changes", [{"data": b"\xff\xff\xff"}, {"id": "not a UUID"}], ids=["its message", "its envelope"]
)
async def test_an_event_that_can_not_be_read_is_buried_at_once_and_holds_up_nothing(
    loans: Loans, broker_url: str, eventually: Eventually, changes: dict[str, Any]
) -> None:
    hearing = subscription()
    values = {"id": str(uuid4()), "type": LENT, "source": "library", "subject": loans.book("dune")}
    unreadable = Event(**(values | changes))

    async with open_broker(broker_url, name="library") as broker, replica(loans, broker_url, hearing):
        await broker.publish(unreadable)
        await loans.publish(("dune", 1))
        await eventually(loans.are_applied({"dune": [1]}))
        await eventually(lambda: _is_dead(broker_url, hearing.name))

    letters = await dead(broker_url, hearing.name)
    [letter] = [each for each in letters if each.subject == loans.book("dune")]
    assert (letter.reason, letter.attempts) == ("UNPARSABLE", 0)
    assert letter.data == unreadable.SerializeToString()


async def _is_dead(broker_url: str, name: str) -> bool:
    return bool(await dead(broker_url, name))


async def test_events_wait_for_a_subscriber_that_is_not_there(
    loans: Loans, broker_url: str, eventually: Eventually
) -> None:
    hearing = subscription()
    async with replica(loans, broker_url, hearing):
        await loans.publish(("dune", 1))
        await eventually(loans.are_applied({"dune": [1]}))

    async with replica(loans, broker_url):
        await loans.publish(("dune", 2), ("dune", 3))
        await eventually(lambda: _is_empty(loans))
    async with replica(loans, broker_url, hearing):
        await eventually(loans.are_applied({"dune": [1, 2, 3]}))

    assert await loans.applied() == {"dune": [1, 2, 3]}


async def _is_empty(loans: Loans) -> bool:
    return await loans.unpublished() == 0
