"""Inventory at work for tests."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from shop.inventory.v1 import events_pb2, inventory_pb2_grpc
from shop.inventory.v1 import inventory_pb2 as pb
from sqlalchemy import text

from services.inventory.servicer import InventoryServicer
from services.inventory.stockroom import Stockroom
from tests.mesh.services.calls import KEY, Calls
from weft.events import Outbox
from weft.testing import TestServer, serving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from weft.data import Database

NAME = "shop.inventory.v1.InventoryService"
HOLD_S = 900.0
Units = tuple[int, int, int]
"""On hand, reserved, sold."""


@dataclass(frozen=True, kw_only=True)
class Inventory:
    """One replica of the inventory service at work. Nothing expires by itself: tests say when."""

    server: TestServer
    database: Database
    stockroom: Stockroom

    @property
    def orders(self) -> Calls:
        """Calls as the orders service makes them."""
        return Calls(self._stub, self.server.service_token("orders"))

    @property
    def admin(self) -> Calls:
        return Calls(self._stub, self.server.token("root", ("user", "admin")))

    @property
    def _stub(self) -> inventory_pb2_grpc.InventoryServiceStub:
        return inventory_pb2_grpc.InventoryServiceStub(self.server.channel)

    async def given(self, sku: str, on_hand: int, *, threshold: int | None = None) -> None:
        """Put units of a SKU on the shelf."""
        await self.adjust(sku, on_hand, low_stock_threshold=threshold)

    async def adjust(self, sku: str, delta: int, **fields: Any) -> Any:
        """Return the stock after the change."""
        request = pb.AdjustStockRequest(sku=sku, delta=delta, **({"reason": "delivery"} | fields))
        return (await self.admin.AdjustStock(request)).stock

    async def reserve(self, order_id: str, request_id: str = "", /, **lines: int) -> Any:
        request = pb.ReserveStockRequest(order_id=order_id, lines=stock_lines(lines), request_id=request_id)
        return await self.orders.ReserveStock(request)

    async def reserved(self, **lines: int) -> str:
        """Reserve *lines* for a new order; return its id."""
        order_id = str(uuid4())
        await self.reserve(order_id, **lines)
        return order_id

    async def release(self, order_id: str) -> None:
        await self.orders.ReleaseStock(pb.ReleaseStockRequest(order_id=order_id))

    async def commit(self, order_id: str) -> None:
        await self.orders.CommitStock(pb.CommitStockRequest(order_id=order_id))

    async def units(self, sku: str) -> Units:
        stock = (await self.admin.GetStock(pb.GetStockRequest(sku=sku))).stock
        return stock.on_hand, stock.reserved, stock.sold

    async def ledger(self, sku: str) -> list[tuple[str, Units]]:
        """Return kind and deltas of a SKU's changes, oldest first."""
        response = await self.admin.ListStockChanges(pb.ListStockChangesRequest(sku=sku, page_size=200))
        return [
            (
                pb.StockChange.Kind.Name(change.kind).removeprefix("KIND_"),
                (change.on_hand_delta, change.reserved_delta, change.sold_delta),
            )
            for change in reversed(response.changes)
        ]

    async def kinds(self, sku: str) -> list[str]:
        return [kind for kind, _ in await self.ledger(sku)]

    async def low(self) -> list[tuple[str, int, int]]:
        """Return what was published as low, in order: SKU, on hand, threshold."""
        events = await self._published(events_pb2.StockLow)
        return [(event.sku, event.on_hand, event.low_stock_threshold) for event in events]

    async def told(self, sku: str) -> list[tuple[str, int]]:
        """Return what others were told of a SKU's availability, in order: the word and its revision."""
        return [
            (pb.StockLevel.Name(event.level).removeprefix("STOCK_LEVEL_"), event.revision)
            for event in await self._published(events_pb2.AvailabilityChanged)
            if event.sku == sku
        ]

    async def listed(self, **fields: Any) -> dict[str, tuple[str, int]]:
        """Return SKU -> word and revision, as catalog pages through them."""
        catalog = Calls(self._stub, self.server.service_token("catalog"))
        found: dict[str, tuple[str, int]] = {}
        token = ""
        while True:
            page = await catalog.ListAvailability(pb.ListAvailabilityRequest(page_token=token, **fields))
            for each in page.availability:
                word = pb.StockLevel.Name(each.level).removeprefix("STOCK_LEVEL_")
                found[each.sku] = (word, each.revision)
            token = page.next_page_token
            if not token:
                return found

    async def _published(self, kind: Any) -> list[Any]:
        name = kind.DESCRIPTOR.full_name
        rows = await self.rows("select type, data from outbox order by sequence")
        return [kind.FromString(data) for type_, data in rows if type_ == name]

    async def let_expire(self) -> None:
        """Let the time pass until every reservation is overdue."""
        await self.run("update reservations set expire_time = now() - interval '1 ms'")

    async def let_pass(self, days: float) -> None:
        """Let time pass for all reservations."""
        await self.run(f"update reservations set update_time = update_time - interval '{days} days'")

    async def balance(self) -> None:
        """Assert that the ledger explains every level, and that reservations explain what is reserved and sold."""
        levels = await self.rows("select sku, on_hand, reserved, sold from stock order by sku")
        ledger = await self.rows(
            "select sku, sum(on_hand_delta)::bigint, sum(reserved_delta)::bigint, sum(sold_delta)::bigint"
            " from stock_changes group by sku order by sku"
        )
        promised = await self.rows(
            """
            select sku, coalesce(sum(quantity) filter (where state = 'reserved'), 0)::bigint,
                coalesce(sum(quantity) filter (where state = 'committed'), 0)::bigint
            from stock left join lateral (
                select state, (lines -> sku)::bigint as quantity from reservations where lines ? sku
            ) as line on true group by sku order by sku
            """
        )
        assert levels == ledger
        assert [(sku, reserved, sold) for sku, _, reserved, sold in levels] == promised

    async def rows(self, sql: str) -> list[tuple[Any, ...]]:
        async with self.database.transaction() as tx:
            return [tuple(row) for row in await tx.all(text(sql))]

    async def run(self, sql: str) -> None:
        async with self.database.transaction() as tx:
            await tx.execute(text(sql))


def stock_lines(lines: dict[str, int]) -> list[pb.StockLine]:
    return [pb.StockLine(sku=sku, quantity=quantity) for sku, quantity in lines.items()]


@asynccontextmanager
async def replica(database: Database) -> AsyncIterator[Inventory]:
    stockroom = Stockroom(database, Outbox("inventory"), hold_s=HOLD_S)
    servicer = InventoryServicer(database, stockroom)
    async with serving({NAME: servicer}, database=database, key=KEY) as server:
        yield Inventory(server=server, database=database, stockroom=stockroom)
