"""What catalog tells others: in the transaction that makes it true, and nothing where nothing changed."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import uuid4

from shop.catalog.v1 import catalog_pb2 as pb
from shop.catalog.v1 import events_pb2

from tests.mesh.services.calls import euros, product, refusal

if TYPE_CHECKING:
    from tests.mesh.services.conftest import Catalog


def offered(of: pb.Product) -> events_pb2.ProductOffered:
    return events_pb2.ProductOffered(
        product_id=of.product_id, sku=of.sku, name=of.name, category=of.category, price=of.price
    )


async def test_a_product_is_told_when_it_is_added_changed_and_withdrawn(catalog: Catalog) -> None:
    mug = await catalog.given("MUG")
    change = pb.ProductChange(name="Cup", price=euros("9.90"), category="home")
    request = pb.UpdateProductRequest(product_id=mug.product_id, product=change)
    cup = (await catalog.admin.UpdateProduct(request)).product
    await catalog.admin.DeleteProduct(pb.DeleteProductRequest(product_id=mug.product_id))

    withdrawn = events_pb2.ProductWithdrawn(product_id=mug.product_id, sku="MUG")
    assert await catalog.told() == [offered(mug), offered(cup), withdrawn]
    assert cup.category == "home"


async def test_a_change_to_what_is_there_is_none(catalog: Catalog) -> None:
    mug = await catalog.given("MUG", tags=["blue"])
    same = pb.ProductChange(name=mug.name, price=mug.price, tags=["blue"])

    again = await catalog.admin.UpdateProduct(pb.UpdateProductRequest(product_id=mug.product_id, product=same))

    assert again.product == mug
    assert await catalog.told() == [offered(mug)]


async def test_what_is_withdrawn_twice_is_told_once(catalog: Catalog) -> None:
    mug = await catalog.given("MUG")

    for _ in range(2):
        await catalog.admin.DeleteProduct(pb.DeleteProductRequest(product_id=mug.product_id))

    assert len(await catalog.told()) == 2


async def test_what_is_refused_or_answered_from_memory_tells_nothing(catalog: Catalog) -> None:
    request = pb.CreateProductRequest(product=product("MUG"), request_id="add-mug")
    await catalog.admin.CreateProduct(request)

    await catalog.admin.CreateProduct(request)
    await refusal(catalog.given("MUG"))
    await refusal(catalog.admin.DeleteProduct(pb.DeleteProductRequest(product_id=str(uuid4()))))

    assert len(await catalog.told()) == 1
