"""From users to whoever has to forget: a real broker, the subscriptions of contracts, and services put together."""

from __future__ import annotations

import asyncio
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from shop.analytics.v1 import analytics_pb2
from shop.notifications.v1 import notifications_pb2
from shop.payments.v1 import payments_pb2
from shop.shipping.v1 import shipping_pb2
from shop.users.v1.events_pb2 import UserDeleted
from sqlalchemy import text

from tests.mesh.events.conftest import NatsServer
from tests.mesh.services.test_composition import built
from weft.contract import read_contract
from weft.events import Outbox, ServiceEvents, open_broker
from weft.telemetry import Tracing

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping
    from types import ModuleType

    from weft.data import Database


@pytest.fixture(scope="module", name="nats")
def _nats() -> Iterator[NatsServer]:
    with TemporaryDirectory() as folder:
        server = NatsServer(Path(folder))
        server.start()
        yield server
        server.kill()


@pytest.mark.parametrize(
    ("service", "contract", "env"),
    [
        ("shipping", shipping_pb2, {}),
        ("payments", payments_pb2, {"PAYMENTS_PROVIDER_URL": "http://127.0.0.1:1"}),
        ("notifications", notifications_pb2, {"NOTIFICATIONS_MAIL_URL": "smtp://127.0.0.1:1"}),
        ("analytics", analytics_pb2, {}),
    ],
)
async def test_who_has_deleted_their_account_is_told_to_each_service(
    service: str,
    contract: ModuleType,
    env: Mapping[str, str],
    nats: NatsServer,
    database_url: Callable[[str], str],
    empty_database: Callable[[str], Awaitable[Database]],
    eventually: Callable[[Callable[[], Awaitable[bool]]], Awaitable[None]],
) -> None:
    users, database = await empty_database("users"), await empty_database(service)
    file = FileDescriptorProto()
    contract.DESCRIPTOR.CopyToProto(file)
    subscriptions = read_contract([file]).services[0].subscriptions
    outbox, tracing = Outbox("users"), Tracing("test")

    async def applied() -> bool:
        async with database.transaction() as tx:
            found = await tx.first(
                text("select 1 from inbox where is_applied and event_id = :id").bindparams(id=event_id)
            )
        return found is not None

    async with (
        built(service, database_url(service), env) as parts,
        open_broker(nats.url, name="users") as of_users,
        open_broker(nats.url, name=service) as of_service,
        asyncio.TaskGroup() as group,
    ):
        said = ServiceEvents(
            database=users, outbox=outbox, subscriptions=(), handlers={}, broker=of_users, tracing=tracing
        )
        heard = ServiceEvents(
            database=database,
            outbox=Outbox(service),
            subscriptions=subscriptions,
            handlers=parts.handlers,
            broker=of_service,
            tracing=tracing,
        )
        async with users.transaction() as tx:
            await outbox.publish(tx, UserDeleted(user_id=str(uuid4())))
            event_id = await tx.scalar(text("select event_id from outbox"))
        loops = [group.create_task(each.run()) for each in (said, heard)]
        await eventually(applied)
        for loop in loops:
            loop.cancel()
