"""`shop.catalog.v1.CatalogService`."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, TypeVar
from uuid import UUID, uuid4

from google.protobuf.timestamp_pb2 import Timestamp
from google.type.money_pb2 import Money as MoneyMessage
from shop.catalog.v1 import catalog_pb2 as pb
from shop.catalog.v1 import catalog_pb2_grpc as pb_grpc

from services import paging
from services.catalog import store
from services.catalog.domain import (
    CHANGEABLE,
    NANOS,
    Amount,
    Image,
    Listing,
    Money,
    OrderKey,
    Product,
    require_currency,
)
from services.masks import changed_fields

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from google.protobuf.message import Message

    from weft.data import Database, Transaction
    from weft.data.cache import Cache
    from weft.server import Context

__all__ = ["CatalogServicer"]

Request = TypeVar("Request")

PAGE_SIZE: Final = 20
PRODUCT_TTL_S: Final = 600.0
LISTS_TTL_S: Final = 300.0

_LISTS: Final = "lists"
"""The tag of every cached list: any change of a product may change any of them."""

_POSITIONS: Final = {
    OrderKey.NAME: (paging.text, UUID),
    OrderKey.PRICE: (paging.whole(0, 2**63 - 1), paging.whole(0, NANOS - 1), UUID),
    OrderKey.CREATE_TIME: (paging.time, UUID),
}
"""What `Listing.position` holds for each order."""


class CatalogServicer(pb_grpc.CatalogServiceServicer):
    """Translates; see the contract for what each method promises."""

    def __init__(self, database: Database, *, currency: str = "EUR", cache: Cache | None = None) -> None:
        self._database = database
        self._currency = currency
        self._cache = cache

    async def GetProduct(self, request: pb.GetProductRequest, context: Context) -> pb.GetProductResponse:
        if self._cache is None:
            return await self._get_product(request)
        tag = request.product_id.lower()
        cached = await self._cache.get(tag, _bytes(self._get_product, request), ttl_s=PRODUCT_TTL_S, tags=(tag,))
        return pb.GetProductResponse.FromString(cached)

    async def BatchGetProducts(
        self, request: pb.BatchGetProductsRequest, context: Context
    ) -> pb.BatchGetProductsResponse:
        found = await store.find_products(self._database, request.product_ids)
        wanted = (found.get(UUID(product_id)) for product_id in request.product_ids)
        return pb.BatchGetProductsResponse(products=[_message(product) for product in wanted if product])

    async def ListProducts(self, request: pb.ListProductsRequest, context: Context) -> pb.ListProductsResponse:
        if self._cache is None:
            return await self._list_products(request)
        key = f"list:{request.SerializeToString(deterministic=True).hex()}"
        cached = await self._cache.get(key, _bytes(self._list_products, request), ttl_s=LISTS_TTL_S, tags=(_LISTS,))
        return pb.ListProductsResponse.FromString(cached)

    async def CreateProduct(self, request: pb.CreateProductRequest, context: Context) -> pb.CreateProductResponse:
        given, now = request.product, datetime.now(UTC)
        product = Product(
            product_id=uuid4(),
            sku=given.sku,
            name=given.name,
            description=given.description,
            category=given.category,
            price=_money(given.price),
            images=_images(given.images),
            tags=tuple(given.tags),
            create_time=now,
            update_time=now,
        )
        require_currency(product.price, self._currency)
        async with self._database.transaction() as tx:
            await store.add_product(tx, product)
            await self._invalidate(tx, product.product_id)
        return pb.CreateProductResponse(product=_message(product))

    async def UpdateProduct(self, request: pb.UpdateProductRequest, context: Context) -> pb.UpdateProductResponse:
        given = request.product
        values: dict[str, Any] = {
            "name": given.name,
            "description": given.description,
            "category": given.category,
            "price": _money(given.price) if given.HasField("price") else None,
            "images": _images(given.images),
            "tags": tuple(given.tags),
        }
        populated = [name for name, value in values.items() if value]
        fields = changed_fields(request.update_mask.paths, populated, CHANGEABLE)
        changes = {name: values[name] for name in fields}
        if changes.get("price"):
            require_currency(changes["price"], self._currency)
        async with self._database.transaction() as tx:
            product = await store.lock_product(tx, UUID(request.product_id))
            product = product.change(changes, now=datetime.now(UTC))
            await store.save_product(tx, product)
            await self._invalidate(tx, product.product_id)
        return pb.UpdateProductResponse(product=_message(product))

    async def DeleteProduct(self, request: pb.DeleteProductRequest, context: Context) -> pb.DeleteProductResponse:
        product_id = UUID(request.product_id)
        async with self._database.transaction() as tx:
            await store.take_off_sale(tx, product_id, now=datetime.now(UTC))
            await self._invalidate(tx, product_id)
        return pb.DeleteProductResponse()

    async def _get_product(self, request: pb.GetProductRequest) -> pb.GetProductResponse:
        return pb.GetProductResponse(product=_message(await store.get_product(self._database, request.product_id)))

    async def _list_products(self, request: pb.ListProductsRequest) -> pb.ListProductsResponse:
        listing = Listing.parse(
            category=request.category,
            min_price=request.min_price,
            max_price=request.max_price,
            query=request.query,
            order_by=request.order_by,
        )
        size = request.page_size or PAGE_SIZE
        after = None
        if request.page_token:
            after = paging.decode(request.page_token, listing.fingerprint, *_POSITIONS[listing.order_key])
        products = await store.list_page(self._database, listing, size + 1, after)
        token = ""
        if len(products) > size:
            token = paging.encode(listing.fingerprint, *listing.position(products[size - 1]))
        return pb.ListProductsResponse(
            products=map(_message, products[:size]),
            next_page_token=token,
            total_size=await store.count(self._database, listing),
        )

    async def _invalidate(self, tx: Transaction, product_id: UUID) -> None:
        """Have all replicas forget the product, and every list, when *tx* commits."""
        if self._cache is not None:
            await self._cache.invalidate(tx, str(product_id), _LISTS)


def _bytes(read: Callable[[Request], Awaitable[Message]], request: Request) -> Callable[[], Awaitable[bytes]]:
    """Return what reads the answer to *request* for the cache, which keeps bytes."""

    async def load() -> bytes:
        return (await read(request)).SerializeToString()

    return load


def _message(product: Product) -> pb.Product:
    currency, (units, nanos) = product.price
    return pb.Product(
        product_id=str(product.product_id),
        sku=product.sku,
        name=product.name,
        description=product.description,
        category=product.category,
        price=MoneyMessage(currency_code=currency, units=units, nanos=nanos),
        images=[pb.Image(uri=uri, alt_text=alt_text) for uri, alt_text in product.images],
        tags=product.tags,
        create_time=_timestamp(product.create_time),
        update_time=_timestamp(product.update_time),
    )


def _money(message: MoneyMessage) -> Money:
    return Money(message.currency_code, Amount(message.units, message.nanos))


def _images(messages: Iterable[pb.Image]) -> tuple[Image, ...]:
    return tuple(Image(message.uri, message.alt_text) for message in messages)


def _timestamp(time: datetime) -> Timestamp:
    stamp = Timestamp()
    stamp.FromDatetime(time)
    return stamp
