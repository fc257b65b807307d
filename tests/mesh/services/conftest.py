from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from uuid import uuid4

import pytest
from argon2 import PasswordHasher
from google.type.money_pb2 import Money
from shop.catalog.v1 import catalog_pb2, catalog_pb2_grpc
from shop.catalog.v1 import events_pb2 as catalog_events
from shop.users.v1 import users_pb2, users_pb2_grpc
from sqlalchemy import text

import services
from services.catalog.answers import Answers
from services.catalog.assortment import Assortment
from services.catalog.servicer import CatalogServicer
from services.orders.saga import Pace
from services.users.passwords import Passwords
from services.users.peers import HOLDERS, Holders
from services.users.servicer import UsersServicer
from tests.mesh.services import orders_peers
from tests.mesh.services.calls import KEY, Calls, product
from tests.mesh.services.orders_parts import QUICK, STEADY, Fulfilment, Orders, Shop, replica, served
from weft.client import Peers
from weft.data import Database
from weft.data.cache import Cache, open_cache
from weft.data.migrate import migrate
from weft.events import Outbox
from weft.security import TokenIssuer
from weft.telemetry import Tracing
from weft.testing import TestServer, serving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from weft.data.postgres import EmbeddedPostgres

ADMIN = ("user", "admin")


class CountingHasher(PasswordHasher):
    """Cheap, and counts its work."""

    def __init__(self) -> None:
        super().__init__(time_cost=1, memory_cost=8, parallelism=1)
        self.verified = 0

    def verify(self, hash: str | bytes, password: str | bytes) -> Literal[True]:  # noqa: A002  # argon2-cffi's name
        self.verified += 1
        return super().verify(hash, password)


@dataclass(frozen=True, kw_only=True)
class Users:
    """The users service at work."""

    server: TestServer
    calls: Calls
    database: Database
    hasher: CountingHasher
    passwords: Passwords

    def as_user(self, user_id: str, roles: tuple[str, ...] = ("user",)) -> Calls:
        return Calls(users_pb2_grpc.UsersServiceStub(self.server.channel), self.server.token(user_id, roles))

    def as_admin(self) -> Calls:
        return self.as_user(str(uuid4()), ADMIN)

    async def given(self, email: str = "ada@example.com", **fields: str) -> Any:
        """Register an account; return its response."""
        values = {"email": email, "password": "correct horse", "first_name": "Ada", "last_name": "Lovelace"}
        return await self.calls.Register(users_pb2.RegisterRequest(**(values | fields)))

    async def rows(self, sql: str, **values: object) -> list[Any]:
        async with self.database.transaction() as tx:
            return list(await tx.all(text(sql).bindparams(**values)))


@dataclass(frozen=True, kw_only=True)
class Catalog:
    """One replica of the catalog at work."""

    server: TestServer
    calls: Calls
    admin: Calls
    database: Database
    cache: Cache | None

    async def given(self, sku: str, price: str | Money = "14.50", **fields: Any) -> catalog_pb2.Product:
        """Put a product on sale and return it."""
        response = await self.admin.CreateProduct(
            catalog_pb2.CreateProductRequest(product=product(sku, price, **fields))
        )
        return response.product  # type: ignore[no-any-return]  # stubs of tests are untyped

    async def told(self) -> list[Any]:
        """Return the events that others are told, in order."""
        kinds = {
            each.DESCRIPTOR.full_name: each for each in (catalog_events.ProductOffered, catalog_events.ProductWithdrawn)
        }
        async with self.database.transaction() as tx:
            rows = await tx.all(text("select type, data from outbox order by sequence"))
        return [kinds[row.type].FromString(row.data) for row in rows]


@pytest.fixture(scope="session", name="database_url")
def _database_url(postgres: EmbeddedPostgres) -> Callable[[str], str]:
    """Return the URL of a service's database as its migrations leave it; made once for all tests."""

    @cache
    def make(service: str) -> str:
        url = postgres.ensure_database(f"{service}_{uuid4().hex}")
        migrate(url, Path(services.__path__[0]) / service / "migrations")
        return url

    return make


@pytest.fixture(name="empty_database")
async def _empty_database(database_url: Callable[[str], str]) -> AsyncIterator[Callable[[str], Awaitable[Database]]]:
    """Open a service's database without any rows."""
    async with AsyncExitStack() as stack:

        async def make(service: str) -> Database:
            url = await asyncio.to_thread(database_url, service)
            database = await stack.enter_async_context(Database.open(url, pool_size=5))
            async with database.transaction() as tx:
                names = await tx.all(
                    text(
                        "select tablename from pg_tables where schemaname = 'public' and tablename not like '%version'"
                    )
                )
                await tx.execute(text(f"truncate {', '.join(name for (name,) in names)} cascade"))
            return database

        yield make


@pytest.fixture(name="users")
async def _users(empty_database: Callable[[str], Awaitable[Database]]) -> AsyncIterator[Users]:
    database = await empty_database("users")
    hasher = CountingHasher()
    with Passwords(hasher) as passwords:
        async with Peers(Tracing("test"), dict.fromkeys(HOLDERS, "127.0.0.1:1")) as nobody:
            servicer = UsersServicer(database, passwords, TokenIssuer(KEY), Outbox("users"), Holders(nobody))
            async with serving({"shop.users.v1.UsersService": servicer}, database=database, key=KEY) as server:
                calls = Calls(users_pb2_grpc.UsersServiceStub(server.channel))
                yield Users(server=server, calls=calls, database=database, hasher=hasher, passwords=passwords)


@asynccontextmanager
async def catalog_replica(database: Database, *, cached: bool) -> AsyncIterator[Catalog]:
    async with AsyncExitStack() as stack:
        cache = None
        if cached:
            cache = await stack.enter_async_context(open_cache("memory://", namespace="catalog", database=database))
        answers = Answers(cache)
        servicer = CatalogServicer(
            database, Assortment(database, Outbox("catalog"), answers), answers, is_fresh=lambda: True
        )
        server = await stack.enter_async_context(
            serving({"shop.catalog.v1.CatalogService": servicer}, database=database, key=KEY)
        )
        stub = catalog_pb2_grpc.CatalogServiceStub(server.channel)
        admin = Calls(stub, server.token(str(uuid4()), ADMIN))
        yield Catalog(server=server, calls=Calls(stub), admin=admin, database=database, cache=cache)


@pytest.fixture(name="catalog")
async def _catalog(empty_database: Callable[[str], Awaitable[Database]]) -> AsyncIterator[Catalog]:
    async with catalog_replica(await empty_database("catalog"), cached=False) as catalog:
        yield catalog


@pytest.fixture(name="cached_catalogs")
async def _cached_catalogs(
    empty_database: Callable[[str], Awaitable[Database]],
) -> AsyncIterator[tuple[Catalog, Catalog]]:
    """Two replicas of the catalog, each with a cache of its own."""
    database = await empty_database("catalog")
    async with catalog_replica(database, cached=True) as one, catalog_replica(database, cached=True) as other:
        yield one, other


@pytest.fixture(name="orders")
async def _orders(
    empty_database: Callable[[str], Awaitable[Database]], users: Users, catalog: Catalog
) -> AsyncIterator[Orders]:
    database = await empty_database("orders")
    async with Fulfilment.running() as fulfilment:
        targets = {"users": users.server.target, "catalog": catalog.server.target, **fulfilment.targets}
        async with replica(database, targets) as only:
            yield Orders(
                replica=only, users=users, catalog=catalog, fulfilment=fulfilment, database=database, targets=targets
            )


@pytest.fixture(name="shop")
async def _shop(empty_database: Callable[[str], Awaitable[Database]]) -> AsyncIterator[Shop]:
    """Orders, where all of its peers are fakes."""
    async with _shop_of(await empty_database("orders"), STEADY) as shop:
        yield shop


@pytest.fixture(name="hasty_shop")
async def _hasty_shop(empty_database: Callable[[str], Awaitable[Database]]) -> AsyncIterator[Shop]:
    """The same, where nobody is waited for for long."""
    async with _shop_of(await empty_database("orders"), QUICK) as shop:
        yield shop


@asynccontextmanager
async def _shop_of(database: Database, pace: Pace) -> AsyncIterator[Shop]:
    offered = orders_peers.Catalog()
    async with (
        Fulfilment.running() as fulfilment,
        served(users=orders_peers.Users(), catalog=offered) as others,
    ):
        targets = {**others, **fulfilment.targets}
        async with replica(database, targets, pace=pace) as only:
            yield Shop(replica=only, fulfilment=fulfilment, database=database, targets=targets, offered=offered)


@pytest.fixture(name="eventually")
def _eventually() -> Callable[[Callable[[], Awaitable[bool]]], Awaitable[None]]:
    """Wait until a condition is true; fail after ten seconds."""

    async def wait(condition: Callable[[], Awaitable[bool]]) -> None:
        async with asyncio.timeout(10):
            while not await condition():  # what is waited for happens in another process
                await asyncio.sleep(0.005)

    return wait
