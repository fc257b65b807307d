from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from shop.catalog.v1 import catalog_pb2 as pb
from sqlalchemy import text

from tests.mesh.services.calls import refusal

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.mesh.services.conftest import Catalog


async def name_of(catalog: Catalog, product_id: str) -> str:
    return (await catalog.calls.GetProduct(pb.GetProductRequest(product_id=product_id))).product.name  # type: ignore[no-any-return]


async def names(catalog: Catalog) -> list[str]:
    return [each.name for each in (await catalog.calls.ListProducts(pb.ListProductsRequest())).products]


async def rename(catalog: Catalog, product_id: str, name: str, request_id: str = "") -> None:
    change = pb.ProductChange(name=name)
    await catalog.admin.UpdateProduct(
        pb.UpdateProductRequest(product_id=product_id, product=change, request_id=request_id)
    )


async def warm(catalog: Catalog, product_id: str) -> None:
    """Read until the answers come from the cache: whatever forgets at start has then done so."""
    assert catalog.cache is not None
    async with asyncio.timeout(10):
        for _ in range(3):
            hits = catalog.cache.hits
            while catalog.cache.hits < hits + 2:
                await name_of(catalog, product_id)
                await names(catalog)


async def test_a_second_read_comes_from_the_cache(cached_catalogs: tuple[Catalog, Catalog]) -> None:
    catalog, _ = cached_catalogs
    mug = await catalog.given("MUG", name="Mug")
    await warm(catalog, mug.product_id)
    async with catalog.database.transaction() as tx:
        await tx.execute(text("update products set name = 'Behind its back'"))

    assert await name_of(catalog, mug.product_id) == "Mug"
    assert await names(catalog) == ["Mug"]


async def test_a_write_is_read_at_once_where_it_was_made(cached_catalogs: tuple[Catalog, Catalog]) -> None:
    catalog, _ = cached_catalogs
    mug = await catalog.given("MUG", name="Mug")

    for number in range(5):
        await warm(catalog, mug.product_id)
        await rename(catalog, mug.product_id, f"Cup {number}", request_id=f"rename-{number}" if number % 2 else "")

        assert await name_of(catalog, mug.product_id) == f"Cup {number}"
        assert await names(catalog) == [f"Cup {number}"]


async def test_a_write_is_soon_read_at_the_other_replica(
    cached_catalogs: tuple[Catalog, Catalog], eventually: Callable[[Callable[[], Awaitable[bool]]], Awaitable[None]]
) -> None:
    catalog, other = cached_catalogs
    mug = await catalog.given("MUG", name="Mug")
    await warm(other, mug.product_id)

    await rename(catalog, mug.product_id, "Cup")

    async def seen() -> bool:
        return await name_of(other, mug.product_id) == "Cup" and await names(other) == ["Cup"]

    await eventually(seen)


async def test_a_new_product_is_in_lists_and_a_deleted_one_is_gone(cached_catalogs: tuple[Catalog, Catalog]) -> None:
    catalog, _ = cached_catalogs
    mug = await catalog.given("MUG", name="Mug")
    await warm(catalog, mug.product_id)

    pot = await catalog.given("POT", name="Pot")
    assert await names(catalog) == ["Pot", "Mug"]
    await warm(catalog, pot.product_id)
    await catalog.admin.DeleteProduct(pb.DeleteProductRequest(product_id=pot.product_id))

    assert await names(catalog) == ["Mug"]
    error = await refusal(catalog.calls.GetProduct(pb.GetProductRequest(product_id=pot.product_id)))
    assert error.reason == "PRODUCT_NOT_FOUND"


async def test_that_a_product_is_missing_is_not_remembered(cached_catalogs: tuple[Catalog, Catalog]) -> None:
    catalog, _ = cached_catalogs
    mug = await catalog.given("MUG", name="Mug")
    async with catalog.database.transaction() as tx:
        await tx.execute(text("update products set delete_time = now()"))
    request = pb.GetProductRequest(product_id=mug.product_id)
    assert (await refusal(catalog.calls.GetProduct(request))).reason == "PRODUCT_NOT_FOUND"

    async with catalog.database.transaction() as tx:
        await tx.execute(text("update products set delete_time = null"))

    assert await name_of(catalog, mug.product_id) == "Mug"
