"""What products show of stock: what inventory said last, and never for longer than five minutes."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from prometheus_client import REGISTRY
from shop.catalog.v1 import catalog_pb2 as pb
from shop.catalog.v1 import catalog_pb2_grpc
from shop.inventory.v1 import events_pb2
from shop.inventory.v1 import inventory_pb2 as inventory_pb
from sqlalchemy import text

from services.catalog.answers import Answers
from services.catalog.assortment import Assortment
from services.catalog.availability import FRESH_S, Knowledge
from services.catalog.peers import Inventory as Peer
from services.catalog.servicer import CatalogServicer
from tests.mesh.services.calls import KEY, Calls, product
from tests.mesh.services.inventory.parts import Inventory, replica
from weft.client import PeerError, Peers
from weft.data.cache import Cache, open_cache
from weft.events import Outbox, Received
from weft.security import ServiceTokens
from weft.telemetry import Tracing
from weft.testing import TestServer, serving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from weft.data import Database

IN_STOCK, LOW, OUT, UNKNOWN = "IN_STOCK", "LOW", "OUT", "UNSPECIFIED"
FAR_PAST = datetime(2020, 1, 1, tzinfo=UTC)


@dataclass
class Clock:
    now_s: float = 1000.0

    def __call__(self) -> float:
        return self.now_s


@dataclass(frozen=True, kw_only=True)
class Catalog:
    """A replica of catalog that has a cache, on a clock of its own."""

    server: TestServer
    database: Database
    knowledge: Knowledge
    cache: Cache
    clock: Clock = field(default_factory=Clock)

    @property
    def calls(self) -> Calls:
        stub = catalog_pb2_grpc.CatalogServiceStub(self.server.channel)
        return Calls(stub, self.server.token("root", ("admin",)))

    async def given(self, sku: str) -> pb.Product:
        return (await self.calls.CreateProduct(pb.CreateProductRequest(product=product(sku)))).product  # type: ignore[no-any-return]

    async def shown(self, *products: pb.Product) -> list[list[str]]:
        """Return the availability of products: alone, in a batch, in the list by name."""
        ids = [each.product_id for each in products]
        alone = [(await self.calls.GetProduct(pb.GetProductRequest(product_id=each))).product for each in ids]
        batch = (await self.calls.BatchGetProducts(pb.BatchGetProductsRequest(product_ids=ids))).products
        listed = (await self.calls.ListProducts(pb.ListProductsRequest(order_by="name"))).products
        return [[word(each) for each in found] for found in (alone, batch, listed)]

    async def hear(self, sku: str, level: str, revision: int, time: datetime | None = None) -> None:
        """Apply an event as the subscription does."""
        event = events_pb2.AvailabilityChanged(
            sku=sku, level=inventory_pb.StockLevel.Value(f"STOCK_LEVEL_{level}"), revision=revision
        )
        received: Received[Any] = Received(
            id=str(uuid4()),
            type=event.DESCRIPTOR.full_name,
            source="inventory",
            subject=sku,
            sequence=revision,
            time=time or datetime.now(UTC),
            attempt=1,
            event=event,
        )
        async with self.database.transaction() as tx:
            await self.knowledge.hear(tx, received)
        await self.knowledge.look()

    async def rows(self) -> dict[str, tuple[str, int]]:
        async with self.database.transaction() as tx:
            rows = await tx.all(text("select sku, level, revision from availability order by sku"))
        return {row.sku: (row.level, row.revision) for row in rows}

    async def grow_old(self, by: timedelta) -> None:
        """Let time pass: for what is known, and for this replica."""
        async with self.database.transaction() as tx:
            old = text(
                "update availability_knowledge set compare_time = compare_time - :by, event_time = event_time - :by"
            )
            await tx.execute(old.bindparams(by=by))
        self.clock.now_s += by.total_seconds()


def word(of: pb.Product) -> str:
    return pb.Availability.Name(of.availability).removeprefix("AVAILABILITY_")


@asynccontextmanager
async def catalog_replica(database: Database, peers: Peers, *, page_size: int = 3) -> AsyncIterator[Catalog]:
    async with AsyncExitStack() as stack:
        cache = await stack.enter_async_context(open_cache("memory://", namespace="catalog", database=database))
        answers, clock = Answers(cache), Clock()
        knowledge = Knowledge(database, Peer(peers, page_size=page_size), answers, clock=clock)
        assortment = Assortment(database, Outbox("catalog"), answers)
        servicer = CatalogServicer(database, assortment, answers, is_fresh=knowledge.is_fresh)
        name = "shop.catalog.v1.CatalogService"
        server = await stack.enter_async_context(serving({name: servicer}, database=database, key=KEY))
        await cache.is_following.wait()
        yield Catalog(server=server, database=database, knowledge=knowledge, cache=cache, clock=clock)


@pytest.fixture(name="inventory")
async def _inventory(empty_database: Callable[[str], Awaitable[Database]]) -> AsyncIterator[Inventory]:
    async with replica(await empty_database("inventory")) as inventory:
        yield inventory


@pytest.fixture(name="peers")
async def _peers(inventory: Inventory) -> AsyncIterator[Peers]:
    async with Peers(Tracing("test"), {"inventory": inventory.server.target}, ServiceTokens("catalog", KEY)) as peers:
        yield peers


@pytest.fixture(name="catalog")
async def _catalog(empty_database: Callable[[str], Awaitable[Database]], peers: Peers) -> AsyncIterator[Catalog]:
    async with catalog_replica(await empty_database("catalog"), peers) as catalog:
        yield catalog


async def test_a_product_shows_what_inventory_said_last(catalog: Catalog) -> None:
    mug, pot = await catalog.given("MUG"), await catalog.given("POT")

    await catalog.hear("MUG", "PLENTY", 1)
    assert await catalog.shown(mug, pot) == [[IN_STOCK, UNKNOWN]] * 3

    await catalog.hear("POT", "LOW", 1)
    await catalog.hear("MUG", "OUT", 2)
    assert await catalog.shown(mug, pot) == [[OUT, LOW]] * 3


async def test_an_event_that_comes_late_or_twice_changes_nothing(catalog: Catalog) -> None:
    mug = await catalog.given("MUG")
    await catalog.hear("MUG", "OUT", 3)

    await catalog.hear("MUG", "LOW", 2)
    await catalog.hear("MUG", "PLENTY", 3)

    assert await catalog.shown(mug) == [[OUT]] * 3


async def test_what_is_known_of_a_sku_waits_for_its_product(catalog: Catalog) -> None:
    await catalog.hear("MUG", "LOW", 1)

    mug = await catalog.given("MUG")

    assert word(mug) == LOW
    change = pb.UpdateProductRequest(product_id=mug.product_id, product=pb.ProductChange(name="Cup"))
    assert word((await catalog.calls.UpdateProduct(change)).product) == LOW


async def test_what_a_client_says_of_availability_is_passed_over(catalog: Catalog) -> None:
    wish = product("MUG", availability=pb.AVAILABILITY_IN_STOCK)

    made = (await catalog.calls.CreateProduct(pb.CreateProductRequest(product=wish))).product

    assert word(made) == UNKNOWN


async def test_a_change_is_seen_at_once_at_every_replica_whatever_it_keeps(catalog: Catalog, peers: Peers) -> None:
    mug = await catalog.given("MUG")
    await catalog.hear("MUG", "PLENTY", 1)
    async with catalog_replica(catalog.database, peers) as other:
        await other.knowledge.look()
        assert await other.shown(mug) == [[IN_STOCK]] * 3

        await catalog.hear("MUG", "OUT", 2)

        assert await catalog.shown(mug) == [[OUT]] * 3
        async with asyncio.timeout(10):
            while await other.shown(mug) != [[OUT]] * 3:
                await asyncio.sleep(0.005)


async def test_what_is_older_than_five_minutes_is_not_shown_even_from_a_cache(catalog: Catalog) -> None:
    mug = await catalog.given("MUG")
    await catalog.hear("MUG", "PLENTY", 1)
    assert await catalog.shown(mug) == [[IN_STOCK]] * 3

    catalog.clock.now_s += FRESH_S - 5
    assert await catalog.shown(mug) == [[IN_STOCK]] * 3
    hits = catalog.cache.hits
    catalog.clock.now_s += 10

    assert await catalog.shown(mug) == [[UNKNOWN]] * 3
    assert catalog.cache.hits > hits
    age_s = REGISTRY.get_sample_value("catalog_availability_age_seconds")
    assert age_s is not None
    assert FRESH_S < age_s < FRESH_S + 60


async def test_news_of_another_product_makes_what_is_known_young_again(catalog: Catalog) -> None:
    mug = await catalog.given("MUG")
    await catalog.hear("MUG", "LOW", 1)
    await catalog.grow_old(timedelta(minutes=10))
    assert await catalog.shown(mug) == [[UNKNOWN]] * 3

    await catalog.hear("POT", "PLENTY", 1)

    assert await catalog.shown(mug) == [[LOW]] * 3


async def test_an_event_of_long_ago_is_no_proof_that_what_is_known_is_young(catalog: Catalog) -> None:
    mug = await catalog.given("MUG")

    await catalog.hear("MUG", "LOW", 1, time=FAR_PAST)

    assert await catalog.shown(mug) == [[UNKNOWN]] * 3
    assert await catalog.rows() == {"MUG": ("low", 1)}


async def test_a_comparison_finds_what_no_event_has_told(catalog: Catalog, inventory: Inventory) -> None:
    products = [await catalog.given(f"SKU-{number}") for number in range(8)]
    for number in range(8):
        await inventory.given(f"SKU-{number}", number, threshold=3)

    assert await catalog.knowledge.compare()
    await catalog.knowledge.look()

    assert await catalog.shown(*products) == [[OUT, LOW, LOW, LOW, *[IN_STOCK] * 4]] * 3


async def test_a_comparison_that_finds_nothing_new_writes_nothing(catalog: Catalog, inventory: Inventory) -> None:
    await inventory.given("MUG", 5)
    await catalog.knowledge.compare()
    async with catalog.database.transaction() as tx:
        before = await tx.all(text("select xmin::text, sku from availability"))

    assert await catalog.knowledge.compare(every_s=0)

    async with catalog.database.transaction() as tx:
        assert await tx.all(text("select xmin::text, sku from availability")) == before


async def test_after_inventory_was_restored_the_next_comparison_goes_back_with_it(
    catalog: Catalog, inventory: Inventory
) -> None:
    mug, pot, pen = [await catalog.given(sku) for sku in ("MUG", "POT", "PEN")]
    await inventory.given("MUG", 5)
    for sku, revision in (("MUG", 9), ("POT", 4), ("PEN", 1)):  # of which inventory knows no more
        await catalog.hear(sku, "OUT", revision)

    await catalog.knowledge.compare()

    assert await catalog.rows() == {"MUG": ("in_stock", 1)}
    assert await catalog.shown(mug, pen, pot) == [[IN_STOCK, UNKNOWN, UNKNOWN]] * 3
    await catalog.hear("MUG", "LOW", 2)  # and goes on from there
    assert (await catalog.rows())["MUG"] == ("low", 2)


async def test_what_is_heard_during_a_comparison_is_not_undone_by_it(catalog: Catalog, inventory: Inventory) -> None:
    for sku in ("A", "B", "C", "D", "E"):
        await inventory.given(sku, 5)
    pages = catalog.knowledge._inventory.pages

    async def slow() -> AsyncIterator[Any]:
        async for page in pages():  # what these pages say is old when it is taken over
            await catalog.hear("A", "LOW", 2)
            await catalog.hear("E", "OUT", 7)
            await catalog.hear("NEW", "LOW", 1)
            yield page

    catalog.knowledge._inventory.pages = slow  # type: ignore[method-assign]
    await catalog.knowledge.compare()

    rows = await catalog.rows()
    assert (rows["A"], rows["E"], rows["NEW"]) == (("low", 2), ("out", 7), ("low", 1))
    assert rows["B"] == ("in_stock", 1)


async def test_replicas_compare_once_a_minute_between_them(catalog: Catalog, peers: Peers) -> None:
    async with catalog_replica(catalog.database, peers) as other:
        done = await asyncio.gather(*(each.knowledge.compare() for each in (catalog, other) * 3))
        assert sum(done) == 1
        assert not await other.knowledge.compare()

        await catalog.grow_old(timedelta(minutes=1))

        assert await other.knowledge.compare()


async def test_while_inventory_is_away_what_is_known_grows_old_and_the_next_look_finds_it_again(
    catalog: Catalog, inventory: Inventory
) -> None:
    mug = await catalog.given("MUG")
    await inventory.given("MUG", 5)
    await catalog.knowledge.compare()
    await catalog.grow_old(timedelta(minutes=6))
    tokens = catalog.knowledge._inventory._inventory
    async with Peers(Tracing("test"), {"inventory": "127.0.0.1:1"}, ServiceTokens("catalog", KEY)) as nobody:
        catalog.knowledge._inventory = Peer(nobody)

        with pytest.raises(PeerError):
            await catalog.knowledge.compare()

        await catalog.knowledge.look()
        assert await catalog.shown(mug) == [[UNKNOWN]] * 3
    catalog.knowledge._inventory._inventory = tokens

    assert await catalog.knowledge.compare()  # no lease of the one that failed is waited for
    await catalog.knowledge.look()
    assert await catalog.shown(mug) == [[IN_STOCK]] * 3


async def test_the_loop_compares_looks_and_outlives_failures(catalog: Catalog, inventory: Inventory) -> None:
    mug = await catalog.given("MUG")
    await inventory.given("MUG", 5)
    pages, failures = catalog.knowledge._inventory.pages, [RuntimeError("first")]

    def failing_once() -> Any:
        if failures:
            raise failures.pop()
        return pages()

    catalog.knowledge._inventory.pages = failing_once  # type: ignore[method-assign]
    loop = asyncio.create_task(catalog.knowledge.run(poll_s=0.01))
    try:
        async with asyncio.timeout(10):
            while await catalog.shown(mug) != [[IN_STOCK]] * 3:
                await asyncio.sleep(0.005)
    finally:
        loop.cancel()
        await asyncio.wait([loop])

    assert failures == []
