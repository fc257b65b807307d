"""What services are told of somebody who has deleted their account, and what they then say they hold."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from shop.users.v1.events_pb2 import UserDeleted
from sqlalchemy import text

from weft.events import Received

if TYPE_CHECKING:
    from collections.abc import Mapping

    from google.protobuf.message import Message

    from tests.mesh.services.calls import Calls
    from weft.data import Database
    from weft.events import Handler


def deleted(user_id: str, *, time: datetime | None = None) -> Received[UserDeleted]:
    return Received(
        id=str(uuid4()),
        type=UserDeleted.DESCRIPTOR.full_name,
        source="users",
        subject=user_id,
        sequence=2,
        time=time or datetime.now(UTC),
        attempt=1,
        event=UserDeleted(user_id=user_id),
    )


async def hear(database: Database, handlers: Mapping[type[Message], Handler], received: Received[Any]) -> None:
    """Apply *received* as a subscription does."""
    async with database.transaction() as tx:
        await handlers[type(received.event)](tx, received)


async def exported(calls: Calls, request: Any, *kinds: type[Message]) -> list[Any]:
    """Return what a service says it holds, in order; all of it is of *kinds*."""
    by_name = {kind.DESCRIPTOR.full_name: kind for kind in kinds}
    items = []
    async for response in calls.ExportUserData(request):
        item = by_name[response.item.TypeName()]()
        assert response.item.Unpack(item)
        items.append(item)
    return items


async def somebody_waits(database: Database) -> None:
    """Return when a transaction of this database waits for another one; may be awaited inside one."""
    await asyncio.create_task(_look_for_waiting(database))


async def _look_for_waiting(database: Database) -> None:
    waiting = text("select 1 from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'")
    async with asyncio.timeout(10):
        while True:
            async with database.transaction() as tx:
                if await tx.first(waiting):
                    return
            await asyncio.sleep(0.005)
