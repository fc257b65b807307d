"""Catalogs that answer without a service behind them."""

from __future__ import annotations

from typing import Any, Final

import asyncpg
from google.protobuf.timestamp_pb2 import Timestamp
from google.type.money_pb2 import Money
from shop.catalog.v1 import catalog_pb2 as pb
from shop.catalog.v1 import catalog_pb2_grpc as pb_grpc

__all__ = ["GET_PRODUCT", "PRODUCT", "SERVICE", "ConstantCatalog", "RawCatalog"]

SERVICE: Final = "shop.catalog.v1.CatalogService"
GET_PRODUCT: Final = f"/{SERVICE}/GetProduct"

PRODUCT: Final = pb.Product(
    product_id="00000000-0000-4000-8000-000000000000",
    sku="MUG-BLUE",
    name="Blue mug",
    description="Stoneware, glazed by hand, 350 ml. Dishwasher safe, and no two are alike.",
    category="kitchen",
    price=Money(currency_code="EUR", units=10, nanos=500_000_000),
    tags=["mug", "blue", "handmade"],
)

_BY_ID: Final = """
SELECT product_id, sku, name, description, category, price_currency, price_units, price_nanos, images, tags,
       create_time, update_time, (SELECT level FROM availability WHERE availability.sku = products.sku) AS availability
FROM products WHERE product_id = $1 AND delete_time IS NULL
"""
_AVAILABILITIES: Final = {
    None: pb.AVAILABILITY_UNSPECIFIED,
    "in_stock": pb.AVAILABILITY_IN_STOCK,
    "low": pb.AVAILABILITY_LOW,
    "out": pb.AVAILABILITY_OUT,
}


class _Catalog(pb_grpc.CatalogServiceServicer):
    """A contract is served whole; what no bench calls is here."""

    async def _uncalled(self, request: Any, context: Any) -> Any:
        raise NotImplementedError

    GetProduct = BatchGetProducts = ListProducts = _uncalled
    CreateProduct = UpdateProduct = DeleteProduct = _uncalled
    ListCategories = PutCategory = DeleteCategory = _uncalled

    async def ImportProducts(self, request_iterator: Any, context: Any) -> Any:
        raise NotImplementedError


class ConstantCatalog(_Catalog):
    """Answers what it has at hand."""

    def __init__(self, product: pb.Product = PRODUCT) -> None:
        self._product = pb.GetProductResponse(product=product)
        self._deleted = pb.DeleteProductResponse()

    async def GetProduct(self, request: Any, context: Any) -> pb.GetProductResponse:
        return self._product

    async def DeleteProduct(self, request: Any, context: Any) -> pb.DeleteProductResponse:
        return self._deleted


class RawCatalog(_Catalog):
    """Runs one query written by hand, and gives the answer the catalog gives."""

    def __init__(self, pool: asyncpg.Pool[asyncpg.Record]) -> None:
        self._pool = pool

    async def GetProduct(self, request: Any, context: Any) -> pb.GetProductResponse:
        row = await self._pool.fetchrow(_BY_ID, request.product_id)
        assert row is not None, "the bench asks for rows that it made"
        product = pb.Product(
            product_id=str(row["product_id"]),
            sku=row["sku"],
            name=row["name"],
            description=row["description"],
            category=row["category"],
            price=Money(currency_code=row["price_currency"], units=row["price_units"], nanos=row["price_nanos"]),
            images=[pb.Image(uri=uri, alt_text=alt_text) for uri, alt_text in row["images"]],
            tags=row["tags"],
            create_time=_timestamp(row["create_time"]),
            update_time=_timestamp(row["update_time"]),
            availability=_AVAILABILITIES[row["availability"]],
        )
        return pb.GetProductResponse(product=product)


def _timestamp(time: Any) -> Timestamp:
    result = Timestamp()
    result.FromDatetime(time)
    return result
