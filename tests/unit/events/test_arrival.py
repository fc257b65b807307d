"""What can be applied, and what never will be."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from mesh.events.v1.event_pb2 import Event

from tests.library import pb
from weft.data import Transaction
from weft.events import Received
from weft.events.arrival import UNKNOWN_TYPE, UNPARSABLE, Route, Unreadable, dead_letter, read


async def handle(tx: Transaction, received: Received[Any]) -> None:
    del tx, received


ROUTES = {"library.v1.BookLent": Route(pb.BookLent, handle)}
TIME = Timestamp(seconds=1_700_000_000, nanos=5_000)


class Delivered:
    deliveries = 1
    message_id = "as the broker calls it"

    def __init__(self, data: bytes) -> None:
        self.data = data


def envelope(**changes: Any) -> Event:
    message = pb.BookLent(book_id="dune", number=7)
    values = {
        "id": str(uuid4()),
        "type": "library.v1.BookLent",
        "source": "library",
        "subject": "dune",
        "sequence": 12,
        "time": TIME,
        "data": message.SerializeToString(),
    }
    return Event(**(values | changes))


def delivered(event: Event) -> Any:
    return Delivered(event.SerializeToString())


def test_a_handler_gets_the_message_and_all_that_its_envelope_says() -> None:
    event = envelope()

    received = read(delivered(event), ROUTES).received(attempt=3)

    assert received == Received(
        id=event.id,
        type="library.v1.BookLent",
        source="library",
        subject="dune",
        sequence=12,
        time=datetime(2023, 11, 14, 22, 13, 20, 5, tzinfo=UTC),
        attempt=3,
        event=pb.BookLent(book_id="dune", number=7),
    )


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"\xff\xff\xff", UNPARSABLE),
        (envelope(id="not a UUID").SerializeToString(), UNPARSABLE),
        (envelope(data=b"\xff\xff\xff").SerializeToString(), UNPARSABLE),
        (envelope(type="library.v1.BookBurnt").SerializeToString(), UNKNOWN_TYPE),
    ],
)
def test_what_can_never_be_applied_says_why(data: bytes, reason: str) -> None:
    with pytest.raises(Unreadable) as refused:
        read(Delivered(data), ROUTES)  # type: ignore[arg-type]  # is read, not answered

    assert refused.value.reason == reason


def test_a_dead_letter_says_what_could_be_read_and_keeps_what_came() -> None:
    event = envelope(type="library.v1.BookBurnt")
    delivery = delivered(event)

    letter = dead_letter("archive.loans", delivery, event, UNKNOWN_TYPE, attempts=0)

    assert (letter.id, letter.subscription, letter.type) == (event.id, "archive.loans", event.type)
    assert (letter.source, letter.subject, letter.reason, letter.attempts) == ("library", "dune", UNKNOWN_TYPE, 0)
    assert letter.data == delivery.data
