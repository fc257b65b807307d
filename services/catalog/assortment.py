"""Changes what is for sale, in one transaction each time: its rows, what others hear, and what caches forget."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from shop.catalog.v1 import events_pb2

from services.catalog import category_store, store
from services.catalog.categories import CategoryNotEmpty
from services.catalog.lines import merge
from services.catalog.messages import money_message

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from datetime import datetime
    from uuid import UUID

    from services.catalog.answers import Answers
    from services.catalog.categories import Category
    from services.catalog.domain import Product
    from services.catalog.lines import Line, Outcome, Refused
    from weft.data import Database, Transaction
    from weft.events import Outbox

__all__ = ["Assortment"]


class Assortment:
    """Does what administrators ask for.

    Args:
        database: Of the service.
        outbox: Takes events.
        answers: That hold what changes here.
    """

    def __init__(self, database: Database, outbox: Outbox, answers: Answers) -> None:
        self._database, self._outbox, self._answers = database, outbox, answers

    async def add(self, product: Product) -> Product:
        """Put a product on sale; return it. Raises SkuTaken."""
        async with self._database.transaction() as tx:
            await self._require_categories(tx, [product.category])
            await store.add_products(tx, [product])
            await self._offer(tx, [product])
            return replace(product, availability=await store.find_availability(tx, product.sku))

    async def change(self, product_id: UUID, changes: Mapping[str, Any], *, now: datetime) -> Product:
        """Give a product new values; return it. Values that it has already are no change.

        Raises:
            ProductNotFound: it isn't on sale.
            InvalidFields: see `Product.change`.
        """
        async with self._database.transaction() as tx:
            before = await store.lock_product(tx, product_id)
            product = before.change(changes, now=now)
            if product is not before:
                await self._require_categories(tx, [product.category])
                await store.save_products(tx, [product])
                await self._offer(tx, [product])
            return product

    async def withdraw(self, product_id: UUID, *, now: datetime) -> None:
        """Take a product off sale, unless it is. Raises ProductNotFound: it never was on sale."""
        async with self._database.transaction() as tx:
            sku = await store.take_off_sale(tx, product_id, now=now)
            if sku is not None:
                await self._outbox.publish(tx, events_pb2.ProductWithdrawn(product_id=str(product_id), sku=sku))
                await self._answers.forget_products(tx, [product_id])

    async def take(
        self, lines: Sequence[Line], *, now: datetime, new_id: Callable[[], UUID]
    ) -> list[Outcome | Refused]:
        """Add or change the products that *lines* are about; return what became of each line.

        Raises:
            SkuTaken, Aborted: somebody else changed one of them at this moment. Nothing was done.
        """
        async with self._database.transaction() as tx:
            found = await store.lock_skus(tx, {line.sku for line in lines})
            merged = merge(lines, found, now=now, new_id=new_id)
            offered = [*merged.added, *merged.changed]
            if offered:
                await self._require_categories(tx, [product.category for product in offered])
                if merged.added:
                    await store.add_products(tx, merged.added)
                if merged.changed:
                    await store.save_products(tx, merged.changed)
                await self._offer(tx, offered)
            return merged.outcomes

    async def put_category(self, category: Category) -> None:
        """Add a category, or give it its name and place.

        Raises:
            CategoryNotFound, CategoryCycle, CategoryTooDeep: it can't be there.
        """
        async with self._database.transaction() as tx:
            before = await category_store.lock_tree(tx)
            if before.categories.get(category.slug) != category:
                await category_store.save(tx, before.put(category), category.slug)
                await self._answers.forget_tree(tx)

    async def remove_category(self, slug: str) -> None:
        """Remove a category, if there is one. Raises CategoryNotEmpty."""
        async with self._database.transaction() as tx:
            await category_store.lock_tree(tx)
            if not await category_store.lock_category(tx, slug):
                return
            if not await category_store.is_empty(tx, slug):
                raise CategoryNotEmpty(slug)
            await category_store.remove(tx, slug)
            await self._answers.forget_tree(tx)

    async def _require_categories(self, tx: Transaction, slugs: Iterable[str]) -> None:
        if await category_store.add_roots(tx, set(slugs)):
            await self._answers.forget_tree(tx)

    async def _offer(self, tx: Transaction, products: Sequence[Product]) -> None:
        """Tell others, and every cache, of products as they now are."""
        await self._outbox.publish_all(tx, [_offered(product) for product in products])
        await self._answers.forget_products(tx, [product.product_id for product in products])


def _offered(product: Product) -> events_pb2.ProductOffered:
    return events_pb2.ProductOffered(
        product_id=str(product.product_id),
        sku=product.sku,
        name=product.name,
        category=product.category,
        price=money_message(product.price),
    )
