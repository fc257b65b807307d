"""The right to be told: everything the shop holds about a user, service by service."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from grpc import aio
from shop.analytics.v1 import analytics_pb2
from shop.notifications.v1 import notifications_pb2
from shop.orders.v1 import orders_pb2
from shop.payments.v1 import payments_pb2
from shop.shipping.v1 import shipping_pb2
from shop.users.v1 import users_pb2 as pb
from shop.users.v1 import users_pb2_grpc

from services.users.peers import HOLDERS, Holders
from services.users.servicer import UsersServicer
from tests.mesh.services.calls import KEY
from tests.mesh.services.orders_parts import served, until
from weft.client import PeerError, Peers
from weft.errors import Internal, Unavailable
from weft.events import Outbox
from weft.security import ServiceTokens, TokenIssuer
from weft.telemetry import Tracing
from weft.testing import serving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from google.protobuf.message import Message

    from tests.mesh.services.conftest import Users

MODULES = {
    "orders": orders_pb2,
    "payments": payments_pb2,
    "shipping": shipping_pb2,
    "notifications": notifications_pb2,
    "analytics": analytics_pb2,
}
LARGE, MANY = 100_000, 1_000
"""100 MB, which is far more than gRPC keeps on the way (some 10 MB here)."""


class Holder:
    """A service that holds something about everybody."""

    def __init__(self, module: Any, *items: Message) -> None:
        self._response = module.ExportUserDataResponse
        self.items = list(items)
        self.asked: list[str] = []
        self.told = 0
        self.is_done = asyncio.Event()
        self.fails: Exception | None = None
        """What ends its stream, after all items."""

    async def ExportUserData(self, request: Any, context: Any) -> Any:
        self.asked.append(request.user_id)
        try:
            for item in self.items:
                response = self._response()
                response.item.Pack(item)
                self.told += 1
                yield response
        finally:
            self.is_done.set()
        if self.fails:
            raise self.fails


class Mesh:
    """Users, and whoever else holds something."""

    def __init__(self, channel: aio.Channel, token: Any, holders: dict[str, Holder]) -> None:
        self.holders = holders
        self._stub: Any = users_pb2_grpc.UsersServiceStub(channel)
        self._token = token

    def export(self, user_id: str) -> Any:
        return self._stub.ExportMe(pb.ExportMeRequest(), metadata=self._token(user_id), timeout=20)

    async def told(self, user_id: str) -> tuple[list[pb.ExportMeResponse], PeerError | None]:
        """Return what is exported, and how it fails if it does."""
        responses: list[pb.ExportMeResponse] = []
        try:
            async for response in self.export(user_id):
                responses.append(response)  # noqa: PERF401  # what came before a failure counts
        except aio.AioRpcError as error:
            return responses, PeerError.from_rpc_error("users", error)
        return responses, None


@asynccontextmanager
async def mesh_of(users: Users, **changed: Holder) -> AsyncIterator[Mesh]:
    """Run a replica of users that has peers: by default each holds one thing."""
    holders = {
        "orders": Holder(orders_pb2, orders_pb2.Order(order_id="order-1")),
        "payments": Holder(payments_pb2, payments_pb2.Payment(payment_id="payment-1")),
        "shipping": Holder(shipping_pb2, shipping_pb2.Shipment(shipment_id="shipment-1")),
        "notifications": Holder(notifications_pb2, notifications_pb2.Notification(notification_id="mail-1")),
        "analytics": Holder(analytics_pb2, analytics_pb2.SoldLine(order_id="order-1")),
        **changed,
    }
    tracing = Tracing("test")
    async with (
        served(**holders) as targets,
        Peers(tracing, targets, ServiceTokens("users", KEY)) as peers,
    ):
        servicer = UsersServicer(users.database, users.passwords, TokenIssuer(KEY), Outbox("users"), Holders(peers))
        async with serving(
            {"shop.users.v1.UsersService": servicer}, database=users.database, key=KEY, tracing=tracing
        ) as server:
            yield Mesh(server.channel, server.token, holders)


def services_of(responses: list[pb.ExportMeResponse]) -> list[str]:
    return [response.service for response in responses]


async def test_a_user_is_told_what_every_service_holds_and_last_that_it_is_all(users: Users) -> None:
    registered = await users.given()
    user_id = registered.user.user_id
    async with mesh_of(users) as mesh:
        responses, error = await mesh.told(user_id)

        assert error is None
        assert services_of(responses) == ["users", "users", *HOLDERS, ""]
        assert {name: holder.asked for name, holder in mesh.holders.items()} == {name: [user_id] for name in HOLDERS}
    account, session = pb.User(), pb.Session()
    assert responses[0].item.Unpack(account)
    assert account == registered.user
    assert responses[1].item.Unpack(session)
    assert session.create_time == registered.user.create_time
    assert session.expire_time == registered.tokens.refresh_expire_time
    assert not session.HasField("end_time")
    order = orders_pb2.Order()
    assert responses[2].item.Unpack(order)
    assert order.order_id == "order-1"
    assert responses[-1] == pb.ExportMeResponse(complete=True)
    assert [response.complete for response in responses[:-1]] == [False] * (len(responses) - 1)


async def test_sessions_are_told_by_their_times_and_nothing_that_opens_them(users: Users) -> None:
    registered = await users.given()
    login = pb.LoginRequest(email="ada@example.com", password="correct horse")
    newer = (await users.calls.Login(login)).tokens
    await users.calls.Logout(pb.LogoutRequest(refresh_token=newer.refresh_token))
    async with mesh_of(users) as mesh:
        responses, _ = await mesh.told(registered.user.user_id)

    sessions = [response.item for response in responses if response.item.Is(pb.Session.DESCRIPTOR)]
    found = [pb.Session.FromString(item.value) for item in sessions]
    assert [session.HasField("end_time") for session in found] == [True, False]
    told = b"".join(response.SerializeToString() for response in responses)
    for secret in (newer.refresh_token, newer.access_token, "correct horse", "argon2"):
        assert secret.encode() not in told


async def test_nothing_is_told_of_others(users: Users) -> None:
    ada = (await users.given()).user.user_id
    await users.given("eve@example.com", first_name="Eve")
    async with mesh_of(users) as mesh:
        responses, _ = await mesh.told(ada)

    assert services_of(responses).count("users") == 2
    assert b"eve" not in b"".join(response.SerializeToString() for response in responses).lower()


@pytest.mark.parametrize("away", [*HOLDERS])
async def test_without_one_of_the_services_it_is_not_called_complete(users: Users, away: str) -> None:
    user_id = (await users.given()).user.user_id
    holder = Holder(MODULES[away])
    holder.fails = Unavailable("no", reason="DATABASE_UNAVAILABLE")
    async with mesh_of(users, **{away: holder}) as mesh:
        responses, error = await mesh.told(user_id)

    assert error is not None
    assert (error.code, error.reason, error.metadata) == ("UNAVAILABLE", "PEER_UNAVAILABLE", {"peer": away})
    assert not any(response.complete for response in responses)
    before = [*HOLDERS][: [*HOLDERS].index(away)]
    assert services_of(responses) == ["users", "users", *before]


async def test_a_service_that_fails_half_way_makes_it_incomplete(users: Users) -> None:
    user_id = (await users.given()).user.user_id
    shipments = [shipping_pb2.Shipment(shipment_id=f"shipment-{number}") for number in range(3)]
    holder = Holder(shipping_pb2, *shipments)
    holder.fails = Internal("no")
    async with mesh_of(users, shipping=holder) as mesh:
        responses, error = await mesh.told(user_id)

    assert services_of(responses).count("shipping") == 3
    assert error is not None
    assert error.code == "INTERNAL"
    assert not any(response.complete for response in responses)


async def test_a_service_that_can_not_be_reached_makes_it_incomplete(users: Users) -> None:
    user_id = (await users.given()).user.user_id
    stub: Any = users_pb2_grpc.UsersServiceStub(users.server.channel)  # its peers listen nowhere

    stream = stub.ExportMe(pb.ExportMeRequest(), metadata=users.server.token(user_id), timeout=20)
    told: list[pb.ExportMeResponse] = []
    with pytest.raises(aio.AioRpcError) as failed:
        async for response in stream:
            told.append(response)  # noqa: PERF401  # what came before a failure counts

    error = PeerError.from_rpc_error("users", failed.value)
    assert (error.code, error.reason) == ("UNAVAILABLE", "PEER_UNAVAILABLE")
    assert services_of(told) == ["users", "users"]


async def test_who_reads_slowly_holds_services_back(users: Users) -> None:
    user_id = (await users.given()).user.user_id
    large = orders_pb2.Order(cancel_reason="x" * LARGE)
    many = Holder(orders_pb2, *[large] * MANY)
    async with mesh_of(users, orders=many) as mesh:
        stream = mesh.export(user_id)
        reader = aiter(stream)
        await anext(reader)
        await until(lambda: _has_stopped(many))

        assert 0 < many.told < MANY / 2, "and not all, which nobody has taken"
        assert mesh.holders["payments"].asked == []

        rest = [response async for response in reader]
        assert services_of(rest).count("orders") == MANY
        assert rest[-1].complete


async def test_who_leaves_stops_it(users: Users) -> None:
    user_id = (await users.given()).user.user_id
    large = orders_pb2.Order(cancel_reason="x" * LARGE)
    many = Holder(orders_pb2, *[large] * MANY)
    async with mesh_of(users, orders=many) as mesh:
        stream = mesh.export(user_id)
        await anext(aiter(stream))
        await until(lambda: _has_begun(many))

        stream.cancel()
        async with asyncio.timeout(10):
            await many.is_done.wait()

        assert many.told < MANY
        assert mesh.holders["analytics"].asked == []


async def test_an_account_that_is_deactivated_is_told_too_and_one_that_is_not_there_is_not(users: Users) -> None:
    user_id = (await users.given()).user.user_id
    await users.as_admin().DeactivateUser(pb.DeactivateUserRequest(user_id=user_id))
    async with mesh_of(users) as mesh:
        responses, error = await mesh.told(user_id)
        assert error is None
        assert responses[-1].complete

        await users.as_user(user_id).DeleteMe(pb.DeleteMeRequest())
        responses, error = await mesh.told(user_id)

        assert responses == []
        assert error is not None
        assert (error.code, error.reason) == ("NOT_FOUND", "USER_NOT_FOUND")
        assert mesh.holders["orders"].asked == [user_id], "nobody is asked about nobody"


async def _has_begun(holder: Holder) -> bool:
    return holder.told > 0


async def _has_stopped(holder: Holder) -> bool:
    """Return whether a service that was asked tells nothing more for the time being.

    One that is only slow may be taken for one that is held back; then it has told even less.
    """
    before = holder.told
    await asyncio.sleep(0.1)
    return before == holder.told > 0
