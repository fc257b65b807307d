"""`shop.inventory.v1.InventoryService`."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Final
from uuid import UUID

from google.protobuf.timestamp_pb2 import Timestamp
from shop.inventory.v1 import inventory_pb2 as pb
from shop.inventory.v1 import inventory_pb2_grpc as pb_grpc

from services import paging
from services.inventory import store
from services.inventory.domain import Kind, Level, Line
from services.inventory.stockroom import LEVELS

if TYPE_CHECKING:
    from services.inventory.stockroom import Stockroom
    from services.inventory.store import Entry
    from weft.data import Database
    from weft.server import Context

__all__ = ["InventoryServicer"]

PAGE_SIZE: Final = 50
AVAILABILITY_PAGE_SIZE: Final = 1000
_STOCK_PAGES: Final = "stock"
_AVAILABILITY_PAGES: Final = "availability"
_NEWEST: Final = 2**63 - 1
"""More than any change's number."""
_KINDS: Final = {kind: pb.StockChange.Kind.Value(f"KIND_{kind.name}") for kind in Kind}


class InventoryServicer(pb_grpc.InventoryServiceServicer):
    """Translates; see the contract for what each method promises."""

    def __init__(self, database: Database, stockroom: Stockroom) -> None:
        self._database = database
        self._stockroom = stockroom

    async def ReserveStock(self, request: pb.ReserveStockRequest, context: Context) -> pb.ReserveStockResponse:
        lines = [Line(line.sku, line.quantity) for line in request.lines]
        expire_time = await self._stockroom.reserve(UUID(request.order_id), lines)
        return pb.ReserveStockResponse(expire_time=_timestamp(expire_time))

    async def ReleaseStock(self, request: pb.ReleaseStockRequest, context: Context) -> pb.ReleaseStockResponse:
        await self._stockroom.release(UUID(request.order_id))
        return pb.ReleaseStockResponse()

    async def CommitStock(self, request: pb.CommitStockRequest, context: Context) -> pb.CommitStockResponse:
        await self._stockroom.commit(UUID(request.order_id))
        return pb.CommitStockResponse()

    async def AdjustStock(self, request: pb.AdjustStockRequest, context: Context) -> pb.AdjustStockResponse:
        threshold = request.low_stock_threshold if request.HasField("low_stock_threshold") else None
        level = await self._stockroom.adjust(request.sku, request.delta, request.reason, threshold=threshold)
        return pb.AdjustStockResponse(stock=_stock(level))

    async def GetStock(self, request: pb.GetStockRequest, context: Context) -> pb.GetStockResponse:
        return pb.GetStockResponse(stock=_stock(await store.get_level(self._database, request.sku)))

    async def ListStock(self, request: pb.ListStockRequest, context: Context) -> pb.ListStockResponse:
        size, after = request.page_size or PAGE_SIZE, ""
        if request.page_token:
            (after,) = paging.decode(request.page_token, _STOCK_PAGES, paging.text)
        levels = await store.list_levels(self._database, size + 1, after)
        token = paging.encode(_STOCK_PAGES, levels[size - 1].sku) if len(levels) > size else ""
        return pb.ListStockResponse(stock=map(_stock, levels[:size]), next_page_token=token)

    async def ListStockChanges(
        self, request: pb.ListStockChangesRequest, context: Context
    ) -> pb.ListStockChangesResponse:
        scope = f"changes of {request.sku}"
        size, before = request.page_size or PAGE_SIZE, _NEWEST
        if request.page_token:
            (before,) = paging.decode(request.page_token, scope, paging.whole(1, _NEWEST))
        entries = await store.list_changes(self._database, request.sku, size + 1, before)
        token = paging.encode(scope, entries[size - 1][0]) if len(entries) > size else ""
        return pb.ListStockChangesResponse(changes=map(_change, entries[:size]), next_page_token=token)

    async def ListAvailability(
        self, request: pb.ListAvailabilityRequest, context: Context
    ) -> pb.ListAvailabilityResponse:
        size, after = request.page_size or AVAILABILITY_PAGE_SIZE, ""
        if request.page_token:
            (after,) = paging.decode(request.page_token, _AVAILABILITY_PAGES, paging.text)
        levels = await store.list_levels(self._database, size + 1, after)
        token = paging.encode(_AVAILABILITY_PAGES, levels[size - 1].sku) if len(levels) > size else ""
        return pb.ListAvailabilityResponse(availability=map(_availability, levels[:size]), next_page_token=token)


def _availability(level: Level) -> pb.SkuAvailability:
    return pb.SkuAvailability(sku=level.sku, level=LEVELS[level.availability], revision=level.revision)


def _stock(level: Level) -> pb.Stock:
    return pb.Stock(
        sku=level.sku,
        on_hand=level.units.on_hand,
        reserved=level.units.reserved,
        sold=level.units.sold,
        low_stock_threshold=level.low_stock_threshold,
        update_time=_timestamp(level.update_time),
    )


def _change(entry: Entry) -> pb.StockChange:
    change_id, change, create_time = entry
    return pb.StockChange(
        change_id=change_id,
        sku=change.sku,
        kind=_KINDS[change.kind],
        on_hand_delta=change.units.on_hand,
        reserved_delta=change.units.reserved,
        sold_delta=change.units.sold,
        order_id=str(change.order_id or ""),
        reason=change.reason,
        create_time=_timestamp(create_time),
    )


def _timestamp(time: datetime) -> Timestamp:
    stamp = Timestamp()
    stamp.FromDatetime(time)
    return stamp
