"""What catalog asks of inventory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from shop.inventory.v1 import inventory_pb2, inventory_pb2_grpc

from services.catalog.domain import Availability

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from weft.client import Peers

__all__ = ["AVAILABILITIES", "Inventory", "Word"]

PAGE_SIZE: Final = 2000
AVAILABILITIES: Final = {
    inventory_pb2.STOCK_LEVEL_PLENTY: Availability.IN_STOCK,
    inventory_pb2.STOCK_LEVEL_LOW: Availability.LOW,
    inventory_pb2.STOCK_LEVEL_OUT: Availability.OUT,
}

Word = tuple[str, Availability, int]
"""What inventory says of one SKU: itself, how much is left, and the revision of that."""


class Inventory:
    """Stock, as catalog knows it."""

    def __init__(self, peers: Peers, *, page_size: int = PAGE_SIZE) -> None:
        self._inventory: inventory_pb2_grpc.InventoryServiceAsyncStub = peers.stub(  # type: ignore[assignment]  # a stub made of an asynchronous channel
            inventory_pb2_grpc.InventoryServiceStub, "inventory"
        )
        self._page_size = page_size

    async def pages(self) -> AsyncIterator[tuple[Sequence[Word], bool]]:
        """Yield all SKUs that inventory knows by SKU, page by page, and whether that is the last. Raises PeerError."""
        token = ""
        while True:
            request = inventory_pb2.ListAvailabilityRequest(page_size=self._page_size, page_token=token)
            page = await self._inventory.ListAvailability(request)
            token = page.next_page_token
            yield [(each.sku, AVAILABILITIES[each.level], each.revision) for each in page.availability], not token
            if not token:
                return
