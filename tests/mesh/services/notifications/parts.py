"""Notifications at work for tests, beside the real users service."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from google.type.money_pb2 import Money
from shop.notifications.v1 import notifications_pb2 as pb
from shop.notifications.v1 import notifications_pb2_grpc
from shop.orders.v1 import events_pb2 as orders
from shop.users.v1 import users_pb2
from sqlalchemy import text

from services.notifications.__main__ import Config, open_transports
from services.notifications.office import Office
from services.notifications.peers import Contacts
from services.notifications.rendering import Renderer
from services.notifications.sending import Pace
from services.notifications.servicer import NotificationsServicer
from tests.mesh.services.calls import KEY, Calls
from weft.client import Peers
from weft.events import Received
from weft.security import ServiceTokens
from weft.telemetry import Tracing
from weft.testing import TestServer, serving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from google.protobuf.message import Message

    from tests.mesh.services.conftest import Users
    from weft.data import Database

QUICK = Pace(lease_s=6.0, send_s=3.0, poll_s=0.05, finish_s=1.0, wait=lambda _: 0.05)
"""Nobody waits for long, and nobody is overtaken."""
ROOT = ("user", "admin")


@dataclass(frozen=True, kw_only=True)
class Desk:
    """The service's database and calls, and the users it writes to; what sends is started by `at_work`."""

    server: TestServer
    database: Database
    users: Users
    tracing: Tracing

    @property
    def admin(self) -> Calls:
        return self.calls("root", ROOT)

    def calls(self, user_id: str, roles: tuple[str, ...] = ("user",)) -> Calls:
        stub = notifications_pb2_grpc.NotificationsServiceStub(self.server.channel)
        return Calls(stub, self.server.token(user_id, roles))

    async def given(self, email: str = "ada@example.com", first_name: str = "Ada", **preferences: Any) -> str:
        """Register a user who prefers this; return the id."""
        user_id: str = (await self.users.given(email, first_name=first_name)).user.user_id
        if preferences:
            wanted = users_pb2.User(preferences=users_pb2.Preferences(**preferences))
            await self.users.as_user(user_id).UpdateMe(users_pb2.UpdateMeRequest(user=wanted))
        return user_id

    async def hear(self, event: Message, *, event_id: str = "") -> str:
        """Apply *event* as the inbox does; return its id."""
        received: Received[Any] = Received(
            id=event_id or str(uuid4()),
            type=event.DESCRIPTOR.full_name,
            source="test",
            subject="",
            sequence=1,
            time=datetime.now(UTC),
            attempt=1,
            event=event,
        )
        handler = self.office({}).handlers[type(event)]
        async with self.database.transaction() as tx:
            await handler(tx, received)
        return received.id

    def office(self, transports: Any, peers: Peers | None = None, pace: Pace = QUICK) -> Office:
        contacts = Contacts(peers or Peers(self.tracing, {"users": self.users.server.target}))
        return Office(self.database, contacts, Renderer("Weft Shop"), transports, pace=pace)

    @asynccontextmanager
    async def at_work(self, *, users_at: str = "", pace: Pace = QUICK, **settings: Any) -> AsyncIterator[Office]:
        """Run a replica that sends as *settings*, fields of `Config`, say."""
        targets = {"users": users_at or self.users.server.target}
        tokens = ServiceTokens("notifications", KEY)
        async with (
            Peers(self.tracing, targets, tokens) as peers,
            open_transports(Config(**settings)) as transports,
            asyncio.TaskGroup() as group,
        ):
            office = self.office(transports, peers, pace)
            loops = [group.create_task(loop()) for loop in office.loops]
            try:
                yield office
            finally:
                for loop in loops:
                    loop.cancel()

    async def history(self, user_id: str = "") -> list[Any]:
        """Return what users were told, newest first."""
        response = await self.admin.ListNotifications(pb.ListNotificationsRequest(user_id=user_id))
        return list(response.notifications)

    async def states(self) -> set[tuple[str, str]]:
        """Return the template and the state of every notification."""
        return {(each.template, pb.Notification.State.Name(each.state)[6:]) for each in await self.history()}

    async def are(self, state: str, count: int = 1) -> bool:
        """Tell whether at least *count* notifications, and all of them, are in *state*, `SENT`."""
        found = [pb.Notification.State.Name(each.state)[6:] for each in await self.history()]
        return len(found) >= count and set(found) == {state}

    async def rows(self, sql: str) -> list[Any]:
        async with self.database.transaction() as tx:
            return list(await tx.all(text(sql)))


@asynccontextmanager
async def desk(database: Database, users: Users, tracing: Tracing | None = None) -> AsyncIterator[Desk]:
    tracing = tracing or Tracing("test")
    servicers = {"shop.notifications.v1.NotificationsService": NotificationsServicer(database)}
    async with serving(servicers, database=database, key=KEY, tracing=tracing) as server:
        yield Desk(server=server, database=database, users=users, tracing=tracing)


def euros(units: int, nanos: int = 0) -> Money:
    return Money(currency_code="EUR", units=units, nanos=nanos)


def confirmed(user_id: str, order_id: str = "", name: str = "Stoneware mug, blue") -> orders.OrderConfirmed:
    line = orders.OrderedLine(sku="MUG-BLUE", quantity=2, unit_price=euros(14, 500_000_000), name=name)
    return orders.OrderConfirmed(
        order_id=order_id or str(uuid4()),
        user_id=user_id,
        lines=[line],
        total=euros(33, 900_000_000),
        shipping=euros(4, 900_000_000),
    )
