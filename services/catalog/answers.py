"""Answers that replicas keep, and what makes them stale.

Whoever changes what an answer holds says so in the same transaction: when it commits, every replica forgets the answer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeVar

from google.protobuf.message import Message
from shop.catalog.v1 import catalog_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable
    from uuid import UUID

    from weft.data import Transaction
    from weft.data.cache import Cache

__all__ = ["Answers"]

M = TypeVar("M", bound=Message)

PRODUCT_TTL_S: Final = 600.0
LISTS_TTL_S: Final = 300.0
CATEGORIES_TTL_S: Final = 600.0

_LISTS: Final = "lists"
"""The tag of every list: any change of a product may change any of them, and so may a move of a category."""
_CATEGORIES: Final = "categories"


class Answers:
    """Of one replica. Without a cache all are made anew.

    Args:
        cache: Where they are kept.
    """

    def __init__(self, cache: Cache | None = None) -> None:
        self._cache = cache

    async def product(
        self, product_id: str, make: Callable[[], Awaitable[pb.GetProductResponse]]
    ) -> pb.GetProductResponse:
        tag = product_id.lower()
        return await self._get(tag, tag, pb.GetProductResponse, make, ttl_s=PRODUCT_TTL_S)

    async def products(
        self, request: pb.ListProductsRequest, make: Callable[[], Awaitable[pb.ListProductsResponse]]
    ) -> pb.ListProductsResponse:
        key = f"list:{request.SerializeToString(deterministic=True).hex()}"
        return await self._get(key, _LISTS, pb.ListProductsResponse, make, ttl_s=LISTS_TTL_S)

    async def categories(self, make: Callable[[], Awaitable[pb.ListCategoriesResponse]]) -> pb.ListCategoriesResponse:
        return await self._get(_CATEGORIES, _CATEGORIES, pb.ListCategoriesResponse, make, ttl_s=CATEGORIES_TTL_S)

    async def forget_products(self, tx: Transaction, product_ids: Iterable[UUID]) -> None:
        """Have all replicas forget these products, and every list, when *tx* commits."""
        if self._cache is not None:
            await self._cache.invalidate(tx, *map(str, product_ids), _LISTS)

    async def forget_tree(self, tx: Transaction) -> None:
        """Have all replicas forget the categories, and every list, when *tx* commits."""
        if self._cache is not None:
            await self._cache.invalidate(tx, _CATEGORIES, _LISTS)

    async def _get(self, key: str, tag: str, kind: type[M], make: Callable[[], Awaitable[M]], *, ttl_s: float) -> M:
        if self._cache is None:
            return await make()

        async def load() -> bytes:
            return (await make()).SerializeToString()

        return kind.FromString(await self._cache.get(key, load, ttl_s=ttl_s, tags=(tag,)))
