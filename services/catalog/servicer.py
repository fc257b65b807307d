"""`shop.catalog.v1.CatalogService`."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID, uuid4

from shop.catalog.v1 import catalog_pb2 as pb
from shop.catalog.v1 import catalog_pb2_grpc as pb_grpc

from services import paging
from services.catalog import category_store, store
from services.catalog.answers import Answers
from services.catalog.domain import CHANGEABLE, NANOS, Listing, OrderKey, Product, require_currency
from services.catalog.importing import Importer
from services.catalog.messages import (
    category_message,
    category_of,
    images_of,
    money_of,
    product_message,
)
from services.masks import changed_fields

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable

    from services.catalog.assortment import Assortment
    from weft.data import Database
    from weft.server import Context

__all__ = ["CatalogServicer"]

PAGE_SIZE: Final = 20

_POSITIONS: Final = {
    OrderKey.NAME: (paging.text, UUID),
    OrderKey.PRICE: (paging.whole(0, 2**63 - 1), paging.whole(0, NANOS - 1), UUID),
    OrderKey.CREATE_TIME: (paging.time, UUID),
}
"""What `Listing.position` holds for each order."""


class CatalogServicer(pb_grpc.CatalogServiceServicer):
    """Translates; see the contract for what each method promises.

    Args:
        database: Of the service.
        assortment: Does what administrators ask for.
        answers: Keeps what shoppers are answered.
        currency: ISO 4217 code of all prices.
        is_fresh: Tells whether what is known of availability may be shown.
    """

    def __init__(
        self,
        database: Database,
        assortment: Assortment,
        answers: Answers,
        *,
        currency: str = "EUR",
        is_fresh: Callable[[], bool],
    ) -> None:
        self._database, self._assortment, self._answers = database, assortment, answers
        self._currency = currency
        self._is_fresh = is_fresh
        self._importer = Importer(assortment, currency=currency)

    async def GetProduct(self, request: pb.GetProductRequest, context: Context) -> pb.GetProductResponse:
        async def make() -> pb.GetProductResponse:
            product = await store.get_product(self._database, request.product_id)
            return pb.GetProductResponse(product=product_message(product))

        response = await self._answers.product(request.product_id, make)
        self._hide_what_is_old([response.product])
        return response

    async def BatchGetProducts(
        self, request: pb.BatchGetProductsRequest, context: Context
    ) -> pb.BatchGetProductsResponse:
        found = await store.find_products(self._database, request.product_ids)
        wanted = (found.get(UUID(product_id)) for product_id in request.product_ids)
        response = pb.BatchGetProductsResponse(products=[product_message(product) for product in wanted if product])
        self._hide_what_is_old(response.products)
        return response

    async def ListProducts(self, request: pb.ListProductsRequest, context: Context) -> pb.ListProductsResponse:
        response = await self._answers.products(request, lambda: self._list_products(request))
        self._hide_what_is_old(response.products)
        return response

    async def CreateProduct(self, request: pb.CreateProductRequest, context: Context) -> pb.CreateProductResponse:
        given, now = request.product, datetime.now(UTC)
        product = Product(
            product_id=uuid4(),
            sku=given.sku,
            name=given.name,
            description=given.description,
            category=given.category,
            price=money_of(given.price),
            images=images_of(given.images),
            tags=tuple(given.tags),
            create_time=now,
            update_time=now,
        )
        require_currency(product.price, self._currency)
        return pb.CreateProductResponse(product=self._shown(await self._assortment.add(product)))

    async def UpdateProduct(self, request: pb.UpdateProductRequest, context: Context) -> pb.UpdateProductResponse:
        given = request.product
        values: dict[str, Any] = {
            "name": given.name,
            "description": given.description,
            "category": given.category,
            "price": money_of(given.price) if given.HasField("price") else None,
            "images": images_of(given.images),
            "tags": tuple(given.tags),
        }
        populated = [name for name, value in values.items() if value]
        fields = changed_fields(request.update_mask.paths, populated, CHANGEABLE)
        changes = {name: values[name] for name in fields}
        if changes.get("price"):
            require_currency(changes["price"], self._currency)
        product = await self._assortment.change(UUID(request.product_id), changes, now=datetime.now(UTC))
        return pb.UpdateProductResponse(product=self._shown(product))

    async def DeleteProduct(self, request: pb.DeleteProductRequest, context: Context) -> pb.DeleteProductResponse:
        await self._assortment.withdraw(UUID(request.product_id), now=datetime.now(UTC))
        return pb.DeleteProductResponse()

    async def ImportProducts(
        self, requests: AsyncIterator[pb.ImportProductsRequest], context: Context
    ) -> pb.ImportProductsResponse:
        return await self._importer.run(requests)

    async def ListCategories(self, request: pb.ListCategoriesRequest, context: Context) -> pb.ListCategoriesResponse:
        async def make() -> pb.ListCategoriesResponse:
            tree = await category_store.load_tree(self._database)
            return pb.ListCategoriesResponse(categories=map(category_message, tree))

        return await self._answers.categories(make)

    async def PutCategory(self, request: pb.PutCategoryRequest, context: Context) -> pb.PutCategoryResponse:
        category = category_of(request.category)
        await self._assortment.put_category(category)
        return pb.PutCategoryResponse(category=category_message(category))

    async def DeleteCategory(self, request: pb.DeleteCategoryRequest, context: Context) -> pb.DeleteCategoryResponse:
        await self._assortment.remove_category(request.slug)
        return pb.DeleteCategoryResponse()

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
            products=map(product_message, products[:size]),
            next_page_token=token,
            total_size=await store.count(self._database, listing),
        )

    def _shown(self, product: Product) -> pb.Product:
        message = product_message(product)
        self._hide_what_is_old([message])
        return message

    def _hide_what_is_old(self, products: Iterable[pb.Product]) -> None:
        """Let products not show availability that is too old; asked each time, since an answer may have been kept."""
        if not self._is_fresh():
            for product in products:
                product.availability = pb.AVAILABILITY_UNSPECIFIED
