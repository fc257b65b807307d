"""The orders service at work: replicas of it, its peers, and what its database says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID, uuid4

from shop.orders.v1 import orders_pb2 as pb
from shop.orders.v1 import orders_pb2_grpc
from shop.shipping.v1 import shipping_pb2
from sqlalchemy import text

from services.orders import peers as asked
from services.orders.carts import Carts
from services.orders.journal import Journal
from services.orders.ordering import Ordering
from services.orders.saga import Pace, Sagas
from services.orders.servicer import OrdersServicer
from services.orders.watching import Changes
from tests.mesh.services.calls import KEY, Calls
from tests.mesh.services.orders_peers import MUG, Inventory, Payments, Shipping
from tests.mesh.services.orders_peers import Catalog as CatalogFake
from weft.client import Peers
from weft.data import Database
from weft.events.outbox import Outbox
from weft.saga import Retry
from weft.security import ServiceTokens
from weft.telemetry import Tracing
from weft.testing import TestServer, serving

if TYPE_CHECKING:
    from tests.mesh.services.conftest import Catalog, Users

__all__ = [
    "HOME",
    "NAME",
    "QUICK",
    "STEADY",
    "Fulfilment",
    "Orders",
    "Replica",
    "Shop",
    "order_request",
    "replica",
    "served",
    "until",
]

NAME: Final = "shop.orders.v1.OrdersService"
HOME: Final = shipping_pb2.Address(
    recipient="Ada Lovelace",
    street_lines=["12 St James's Square"],
    postal_code="SW1Y 4JH",
    city="London",
    country_code="GB",
)
SEVERAL: Final = Retry(max_attempts=4, initial_backoff_s=0.005, max_backoff_s=0.02)
STEADY: Final = Pace(retry=SEVERAL, until_known=Retry(max_attempts=4, initial_backoff_s=0.02, max_backoff_s=0.1))
"""Gives up soon, and waits for slow peers as long as in production."""
QUICK: Final = Pace(
    stock_s=0.4,
    payment_s=0.4,
    shipment_s=0.4,
    retry=Retry(max_attempts=2, initial_backoff_s=0.005, max_backoff_s=0.01),
    until_known=Retry(max_attempts=3, initial_backoff_s=0.01, max_backoff_s=0.05),
)
"""Waits for nobody long."""


def order_request(
    *lines: tuple[str, int], request_id: str = "", pay_with: str = "pm_test_accepted"
) -> pb.PlaceOrderRequest:
    wanted = [pb.PlaceOrderLine(product_id=product_id, quantity=quantity) for product_id, quantity in lines]
    return pb.PlaceOrderRequest(lines=wanted, request_id=request_id, payment_method=pay_with, destination=HOME)


@dataclass(frozen=True, kw_only=True)
class Replica:
    """One replica of orders."""

    server: TestServer
    ordering: Ordering
    carts: Carts
    sagas: Sagas
    journal: Journal
    changes: Changes

    def as_user(self, user_id: str, *roles: str) -> Calls:
        return Calls(
            orders_pb2_grpc.OrdersServiceStub(self.server.channel), self.server.token(user_id, roles or ("user",))
        )


@dataclass(frozen=True, kw_only=True)
class Fulfilment:
    """The peers that orders has goods reserved, money taken and parcels sent by."""

    inventory: Inventory
    payments: Payments
    shipping: Shipping
    targets: Mapping[str, str]

    @classmethod
    @asynccontextmanager
    async def running(cls) -> AsyncIterator[Fulfilment]:
        inventory, payments, shipping = Inventory(), Payments(), Shipping()
        async with served(inventory=inventory, payments=payments, shipping=shipping) as targets:
            yield cls(inventory=inventory, payments=payments, shipping=shipping, targets=targets)

    def of(self, order_id: str) -> tuple[str | None, str | None, str | None]:
        """Return where an order's units, money and parcel are; None where a peer has never heard of it."""
        return (
            self.inventory.state.get(order_id),
            self.payments.state.get(order_id),
            self.shipping.state.get(order_id),
        )

    def heal(self) -> None:
        for peer in (self.inventory, self.payments, self.shipping):
            peer.heal()

    def arrive(self) -> None:
        for peer in (self.inventory, self.payments, self.shipping):
            peer.arrive()

    def require_nothing_twice(self) -> None:
        """Every effect was had once; every repeat of a call had the request id of the first."""
        for peer in (self.inventory, self.payments, self.shipping):
            assert all(times == 1 for times in peer.effects.values()), peer.effects
            for method, order_id, _ in peer.calls:
                ids = {request_id for called, order, request_id in peer.calls if (called, order) == (method, order_id)}
                assert "" not in ids
                # An order may be called off several times, and its goods released by two sagas.
                assert len(ids) == 1 or method in ("CancelShipment", "ReleaseStock")


@asynccontextmanager
async def served(**servicers: object) -> AsyncIterator[Mapping[str, str]]:
    """Serve fakes by their mesh names; yield their addresses."""
    async with AsyncExitStack() as stack:
        targets = {}
        for name, servicer in servicers.items():
            full_name = f"shop.{name}.v1.{name.title()}Service"
            server = await stack.enter_async_context(serving({full_name: _Whole(servicer)}, key=KEY))
            targets[name] = server.target
        yield targets


class _Whole:
    """A servicer with all methods of its contract, of which a fake has those that are called."""

    def __init__(self, servicer: object) -> None:
        self._servicer = servicer

    def __getattr__(self, method: str) -> Any:
        if method in type(self._servicer).__dict__:
            return getattr(self._servicer, method)

        async def unasked(_request: object, _context: object) -> None:
            raise AssertionError(f"nobody asks for {method}")

        return unasked


@dataclass(frozen=True, kw_only=True)
class Shop:
    """The orders service at work, with all of its peers."""

    replica: Replica
    fulfilment: Fulfilment
    database: Database
    targets: Mapping[str, str]
    offered: CatalogFake = field(default_factory=CatalogFake)
    """The catalog, unless it is the service itself."""
    user_id: str = field(default_factory=lambda: str(uuid4()))

    @property
    def server(self) -> TestServer:
        return self.replica.server

    @property
    def inventory(self) -> Inventory:
        return self.fulfilment.inventory

    @property
    def payments(self) -> Payments:
        return self.fulfilment.payments

    @property
    def shipping(self) -> Shipping:
        return self.fulfilment.shipping

    def as_user(self, user_id: str, *roles: str) -> Calls:
        return self.replica.as_user(user_id, *roles)

    @property
    def me(self) -> Calls:
        """Calls of somebody who may buy."""
        return self.as_user(self.user_id)

    async def bought(self, quantity: int = 2) -> str:
        """Buy mugs, and wait until nothing of that is left to do; return the order's id."""
        order_id = str((await self.me.PlaceOrder(order_request((MUG, quantity)))).order.order_id)
        await self.at_rest()
        return order_id

    async def rows(self, sql: str, **values: object) -> list[Any]:
        async with self.database.transaction(independent=True) as tx:
            return list(await tx.all(text(sql).bindparams(**values)))

    async def scalar(self, sql: str, **values: object) -> Any:
        return (await self.rows(sql, **values))[0][0]

    async def ids_of_all(self) -> list[str]:
        """Return the orders there are, oldest first."""
        return [str(row[0]) for row in await self.rows("select order_id from orders order by create_time")]

    async def only_id(self) -> str:
        (order_id,) = await self.ids_of_all()
        return order_id

    async def history(self, order_id: str) -> list[str]:
        rows = await self.rows(f"select type from order_events where order_id = '{UUID(order_id)}' order by version")
        return [row[0] for row in rows]

    async def standing(self, order_id: str) -> tuple[str, str]:
        """Return an order's state, and why it is off."""
        (row,) = await self.rows(f"select state, cancel_reason from orders where order_id = '{UUID(order_id)}'")
        return row[0], row[1]

    async def published(self, order_id: str) -> list[str]:
        """Return the names of the events published about an order, in order."""
        rows = await self.rows("select type from outbox where subject = :id order by sequence", id=order_id)
        return [name.rsplit(".", 1)[1] for (name,) in rows]

    async def sagas(self, definition: str = "place_order") -> list[str]:
        """Return what became of the sagas of a definition."""
        rows = await self.rows(
            "select status from sagas where definition = :definition order by create_time", definition=definition
        )
        return [row[0] for row in rows]

    async def at_rest(self) -> None:
        """Wait until no saga does anything more by itself."""
        await until(self._is_at_rest)

    async def _is_at_rest(self) -> bool:
        waiting = await self.scalar("select count(*) from sagas where status in ('running', 'compensating')")
        return bool(waiting == 0)


@dataclass(frozen=True, kw_only=True)
class Orders(Shop):
    """The same, where users and catalog are the services themselves."""

    users: Users
    catalog: Catalog

    async def shopper(self, email: str = "ada@example.com") -> Calls:
        return self.as_user((await self.users.given(email)).user.user_id)


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Wait until a condition is true; fail after twenty seconds."""
    async with asyncio.timeout(20):
        while not await condition():
            await asyncio.sleep(0.01)


@asynccontextmanager
async def replica(
    database: Database,
    targets: Mapping[str, str],
    *,
    pace: Pace = STEADY,
    works: bool = True,
    sagas_database: Database | None = None,
    tracing: Tracing | None = None,
) -> AsyncIterator[Replica]:
    """Run a replica of orders.

    Args:
        database: Of the service.
        targets: Mesh name -> address, of its peers.
        pace: Of its sagas.
        works: Whether it picks up sagas that others left.
        sagas_database: What its sagas see instead of *database*.
        tracing: Of the process.
    """
    tracing = tracing or Tracing("test")
    async with AsyncExitStack() as stack:
        peers = await stack.enter_async_context(Peers(tracing, targets, ServiceTokens("orders", KEY)))
        journal, changes = Journal(Outbox("orders")), Changes(database)
        shipping = asked.Shipping(peers)
        sagas = Sagas(
            sagas_database or database,
            journal,
            asked.Inventory(peers),
            asked.Payments(peers),
            shipping,
            tracing=tracing,
            pace=pace,
            poll_s=0.05,
        )
        offers = asked.Offers(peers)
        ordering = Ordering(database, journal, sagas, asked.Buyers(peers), offers, shipping, changes)
        carts = Carts(database, offers, shipping)
        loops = [asyncio.create_task(changes.run())]
        if works:
            loops.append(asyncio.create_task(sagas.runner.work()))
        try:
            servicer = OrdersServicer(database, ordering, carts)
            async with serving({NAME: servicer}, database=database, key=KEY, tracing=tracing) as server:
                yield Replica(
                    server=server, ordering=ordering, carts=carts, sagas=sagas, journal=journal, changes=changes
                )
        finally:
            for loop in loops:
                loop.cancel()
            for loop in loops:
                with suppress(asyncio.CancelledError):
                    await loop
            await sagas.runner.stop()
