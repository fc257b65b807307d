"""What a consumer makes of deliveries that come late, twice, in the wrong order or not at all."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import sqlalchemy as sa
from mesh.events.v1.event_pb2 import Event
from prometheus_client import REGISTRY

from tests.library import pb
from tests.mesh.events.delivery.harness import LENT, RETURNED, Handle, Loans, running, subscription
from weft.contract import Subscription
from weft.data import Transaction
from weft.events import BrokerUnavailable, Consumer, DeadLetter, QueueMismatch, Received
from weft.events.arrival import Route
from weft.telemetry import Tracing

Eventually = Callable[[Callable[[], Awaitable[bool]]], Awaitable[None]]


@dataclass(eq=False)
class Copy:
    """A delivery that remembers what became of it."""

    event: Event
    deliveries: int = 1
    ends: list[str] = field(default_factory=list)
    letters: list[DeadLetter] = field(default_factory=list)

    @property
    def data(self) -> bytes:
        return self.event.SerializeToString()

    @property
    def message_id(self) -> str:
        return self.event.id

    async def ack(self) -> None:
        self.ends.append("ack")

    async def extend(self) -> None: ...

    async def release(self) -> None:
        self.ends.append("release")

    async def bury(self, letter: DeadLetter) -> None:
        self.letters.append(letter)
        self.ends.append("bury")


@dataclass
class Scripted:
    """Stands for a broker that delivers just this: in each subscription the next of *scripts*, then nothing more."""

    scripts: list[Sequence[Copy]]
    system: str = "scripted"
    is_lost: asyncio.Event = field(default_factory=asyncio.Event)

    async def declare(self, hearing: Subscription) -> None: ...

    @asynccontextmanager
    async def subscribe(self, hearing: Subscription, *, prefetch: int) -> AsyncIterator[AsyncIterator[Copy]]:
        del hearing, prefetch
        script = self.scripts.pop(0)

        async def deliveries() -> AsyncIterator[Copy]:
            for each in script:
                yield each
            await self.is_lost.wait()
            self.is_lost.clear()
            raise BrokerUnavailable("gone")

        yield deliveries()


def copy(loans: Loans, number: int, *, deliveries: int = 1, event_id: str | None = None, type: str = LENT) -> Copy:  # noqa: A002
    event = Event(
        id=event_id or str(uuid4()),
        type=type,
        source="library",
        subject=loans.book("dune"),
        sequence=number,
        data=loans.lent("dune", number).SerializeToString(),
    )
    return Copy(event, deliveries=deliveries)


def consumer(
    loans: Loans, broker: Scripted, hearing: Subscription, handle: Handle | None = None, lease_s: float = 5.0
) -> Consumer:
    scripted: Any = broker
    return Consumer(
        hearing,
        {LENT: Route(pb.BookLent, handle or loans.record)},
        database=loans.database,
        broker=scripted,
        tracing=Tracing("archive"),
        turns=asyncio.Semaphore(3),
        lease_s=lease_s,
    )


def all_end(*copies: Copy) -> Callable[[], Awaitable[bool]]:
    async def condition() -> bool:
        return all(each.ends for each in copies)

    return condition


async def test_events_of_a_subject_that_come_in_another_order_behind_a_slow_one_are_put_in_order(
    loans: Loans, eventually: Eventually
) -> None:
    copies = [copy(loans, number) for number in (1, 4, 2, 3)]

    async with running(consumer(loans, Scripted([copies]), subscription()).run):
        await eventually(all_end(*copies))

    assert await loans.applied() == {"dune": [1, 2, 3, 4]}
    assert [each.ends for each in copies] == [["ack"]] * 4


async def test_an_event_whose_attempts_all_ended_with_their_process_is_buried_without_another(
    loans: Loans, eventually: Eventually
) -> None:
    hearing, event_id, began = subscription(max_attempts=2), str(uuid4()), asyncio.Event()

    async def die(tx: Transaction, received: Received[Any]) -> None:
        del tx, received
        began.set()
        await asyncio.Event().wait()

    for deliveries in (2, 3):
        first = copy(loans, 1, deliveries=deliveries, event_id=event_id)
        async with running(consumer(loans, Scripted([[first]]), hearing, die).run):
            await began.wait()
        began.clear()
    last = copy(loans, 1, deliveries=4, event_id=event_id)
    async with running(consumer(loans, Scripted([[last]]), hearing, die).run):
        await eventually(all_end(last))

    [letter] = last.letters
    assert (letter.reason, letter.attempts) == ("ATTEMPTS_LOST", 2)
    assert not began.is_set()


async def test_an_event_that_was_often_delivered_and_never_tried_is_tried(loans: Loans, eventually: Eventually) -> None:
    often = copy(loans, 1, deliveries=1000)

    async with running(consumer(loans, Scripted([[often]]), subscription(max_attempts=1)).run):
        await eventually(all_end(often))

    assert often.ends == ["ack"]
    assert await loans.applied() == {"dune": [1]}


async def test_an_event_of_a_type_that_nobody_handles_is_buried_at_once(loans: Loans, eventually: Eventually) -> None:
    unknown, known = copy(loans, 1, type=RETURNED), copy(loans, 2)

    async with running(consumer(loans, Scripted([[unknown, known]]), subscription()).run):
        await eventually(all_end(unknown, known))

    [letter] = unknown.letters
    assert (letter.reason, letter.attempts, letter.subject) == ("UNKNOWN_TYPE", 0, loans.book("dune"))
    assert await loans.applied() == {"dune": [2]}


async def test_a_subscription_that_is_lost_is_made_again_and_what_comes_twice_is_applied_once(
    loans: Loans, eventually: Eventually
) -> None:
    first, again, second = copy(loans, 1), copy(loans, 1), copy(loans, 2)
    again.event.CopyFrom(first.event)
    broker = Scripted([[first], [again, second]])

    async with running(consumer(loans, broker, subscription()).run):
        await eventually(all_end(first))
        broker.is_lost.set()
        await eventually(all_end(again, second))

    assert [each.ends for each in (first, again, second)] == [["ack"]] * 3
    assert await loans.applied() == {"dune": [1, 2]}


async def test_a_cancellation_that_a_brokers_client_takes_for_a_lost_connection_is_one_all_the_same(
    loans: Loans,
) -> None:
    class Mistaken(Scripted):
        is_asked = asyncio.Event()

        async def declare(self, hearing: Subscription) -> None:
            del hearing
            self.is_asked.set()
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                raise BrokerUnavailable("gone") from None

    broker = Mistaken([])

    async with asyncio.timeout(20), running(consumer(loans, broker, subscription()).run):
        await broker.is_asked.wait()


async def test_a_replica_that_may_not_have_its_queue_leaves_the_subscription_to_one_that_may(
    loans: Loans, eventually: Eventually
) -> None:
    class Refusing(Scripted):
        is_asked = asyncio.Event()

        async def declare(self, hearing: Subscription) -> None:
            self.is_asked.set()
            raise QueueMismatch("declared with other arguments", queue=hearing.name)

    hearing, newer, copies = subscription(), Refusing([]), [copy(loans, 1)]

    async with running(consumer(loans, newer, hearing, lease_s=1000).run):
        await newer.is_asked.wait()
        async with running(consumer(loans, Scripted([copies]), hearing, lease_s=1000).run):
            await eventually(all_end(*copies))

    assert await loans.applied() == {"dune": [1]}


async def test_a_handler_that_fails_for_the_databases_sake_has_not_used_up_an_attempt(
    loans: Loans, eventually: Eventually
) -> None:
    hearing, copies, attempts = subscription(max_attempts=1), [copy(loans, 1)], list[int]()
    cut_off = sa.text("SELECT pg_terminate_backend(pg_backend_pid())")

    async def handle(tx: Transaction, received: Received[Any]) -> None:
        attempts.append(received.attempt)
        if len(attempts) < 4:
            await tx.scalar(cut_off)
        await loans.record(tx, received)

    async with running(consumer(loans, Scripted([copies]), hearing, handle).run):
        await eventually(all_end(*copies))

    assert attempts == [1, 1, 1, 1]
    assert copies[0].ends == ["ack"]
    assert await loans.applied() == {"dune": [1]}
    outcomes = {name: _count(hearing, name) for name in ("applied", "postponed", "failed", "buried")}
    assert outcomes == {"applied": 1, "postponed": 3, "failed": None, "buried": None}


def _count(hearing: Subscription, outcome: str) -> float | None:
    labels = {"subscription": hearing.name, "outcome": outcome}
    return REGISTRY.get_sample_value("weft_events_applied_total", labels)
