"""Events leave a service with the transaction that makes them true, or not at all."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from secrets import randbits
from typing import Final
from uuid import UUID

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from mesh.v1 import options_pb2
from sqlalchemy import LargeBinary, Text, Uuid, bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY

from weft.call import current_call
from weft.data import Transaction

__all__ = ["MAX_EVENT_BYTES", "Outbox"]

MAX_EVENT_BYTES: Final = 512 * 1024
"""Of an event's message: half of what a broker takes by default, since what it refuses would hold up its subject."""
MAX_SUBJECT_LENGTH: Final = 255

# One round trip: the turns of all subjects are taken before the next sequences are, and held until the transaction has
# ended, so that in a subject sequences grow in the order of commits. They are taken by subject, so that two who publish
# on the same ones don't wait for each other. The hash's seed keeps these locks apart from others'.
_ADD: Final = text(
    """
    WITH event AS (
        SELECT * FROM unnest(:event_ids, :types, :subjects, :messages)
            WITH ORDINALITY AS event (event_id, type, subject, data, place)
    ), turn AS MATERIALIZED (
        SELECT pg_advisory_xact_lock(hashtextextended(subject, 16715982))
        FROM (SELECT DISTINCT subject FROM event ORDER BY subject) AS waiting
    )
    INSERT INTO outbox (event_id, type, source, subject, time, traceparent, data)
    SELECT event_id, type, :source, subject, clock_timestamp(), :traceparent, data
    FROM event, (SELECT count(*) FROM turn) AS turns ORDER BY place
    """
).bindparams(
    bindparam("event_ids", type_=ARRAY(Uuid)),
    bindparam("types", type_=ARRAY(Text)),
    bindparam("subjects", type_=ARRAY(Text)),
    bindparam("messages", type_=ARRAY(LargeBinary)),
)


class Outbox:
    """Takes a service's events; `Relay` carries them to the broker.

    Args:
        source: Mesh name of the service.
    """

    def __init__(self, source: str) -> None:
        self.source = source
        self._listeners: list[Callable[[], object]] = []

    async def publish(self, tx: Transaction, event: Message) -> None:
        """Publish *event* if and when *tx* commits, after every earlier event of its subject.

        Whoever publishes on the same subject meanwhile waits for *tx* to end. Trace context comes from the current
        call.

        Raises:
            TypeError: the message is no event: it lacks the option `mesh.v1.event`.
            ValueError: its subject is empty or longer than 255 characters, or it is larger than `MAX_EVENT_BYTES`.
        """
        await self.publish_all(tx, [event])

    async def publish_all(self, tx: Transaction, events: Sequence[Message]) -> None:
        """Publish *events* in their order, at the cost of one. Raises what `publish` does, and then publishes none."""
        messages = [_described(event) for event in events]
        if not messages:
            return
        call = current_call.get()
        types, subjects, data = zip(*messages, strict=True)
        await tx.execute(
            _ADD,
            {
                "event_ids": [_time_ordered_uuid() for _ in messages],
                "types": types,
                "source": self.source,
                "subjects": subjects,
                "traceparent": call.trace.traceparent() if call else "",
                "messages": data,
            },
        )
        tx.after_commit(self._tell)

    def when_committed(self, listener: Callable[[], object]) -> None:
        """Call *listener* each time events of this process have been committed."""
        self._listeners.append(listener)

    async def _tell(self) -> None:
        for listener in self._listeners:
            listener()


@dataclass(frozen=True, slots=True)
class _Kind:
    type: str
    subject: str


def _described(event: Message) -> tuple[str, str, bytes]:
    """Return an event's type and subject, and the event as it travels. Raises TypeError, ValueError."""
    kind = _kind(event.DESCRIPTOR)
    subject = str(getattr(event, kind.subject))
    data = event.SerializeToString(deterministic=True)
    if not 0 < len(subject) <= MAX_SUBJECT_LENGTH:
        raise ValueError(f"{kind.type}.{kind.subject}, its subject, is empty or too long")
    if len(data) > MAX_EVENT_BYTES:
        raise ValueError(f"{kind.type} has {len(data)} bytes; {MAX_EVENT_BYTES} are allowed")
    return kind.type, subject, data


@cache
def _kind(descriptor: Descriptor) -> _Kind:
    options = descriptor.GetOptions()
    if not options.HasExtension(options_pb2.event):
        raise TypeError(f"{descriptor.full_name} is no event: it has no option (mesh.v1.event)")
    subject = options.Extensions[options_pb2.event].subject
    field = descriptor.fields_by_name.get(subject)
    if field is None or field.type != FieldDescriptor.TYPE_STRING or field.is_repeated:
        raise TypeError(f"{descriptor.full_name}: its subject {subject!r} is not one of its string fields")
    return _Kind(descriptor.full_name, subject)


def _time_ordered_uuid() -> UUID:
    """Return a UUID whose neighbours in time are its neighbours in an index.

    Source: RFC 9562, section 5.7 (version 7)
    """
    milliseconds, chance = time.time_ns() // 1_000_000, randbits(74)
    return UUID(int=milliseconds << 80 | 7 << 76 | (chance >> 62) << 64 | 2 << 62 | chance & (1 << 62) - 1)
