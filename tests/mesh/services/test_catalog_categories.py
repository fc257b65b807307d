"""The tree of categories, and products in it."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Any

import pytest
from shop.catalog.v1 import catalog_pb2 as pb
from sqlalchemy import text

from tests.mesh.services.calls import Calls, outcome, refusal
from tests.mesh.services.test_catalog_service import listed

if TYPE_CHECKING:
    from tests.mesh.services.conftest import Catalog


async def put(catalog: Catalog, slug: str, parent: str = "", name: str = "") -> pb.Category:
    category = pb.Category(slug=slug, name=name or slug.title(), parent=parent)
    return (await catalog.admin.PutCategory(pb.PutCategoryRequest(category=category))).category  # type: ignore[no-any-return]


async def remove(catalog: Catalog, slug: str) -> None:
    await catalog.admin.DeleteCategory(pb.DeleteCategoryRequest(slug=slug))


async def shown(catalog: Catalog) -> list[tuple[str, str]]:
    """Return slug and parent of every category, in the order shown."""
    response = await catalog.calls.ListCategories(pb.ListCategoriesRequest())
    return [(category.slug, category.parent) for category in response.categories]


async def closure_is_right(catalog: Catalog) -> bool:
    """Tell whether what lists are made from is what the parents say."""
    parents = dict(await shown(catalog))
    expected = set()
    for slug in parents:
        above = slug
        while above:
            expected.add((above, slug))
            above = parents[above]
    async with catalog.database.transaction() as tx:
        rows = await tx.all(text("select ancestor, slug from category_tree"))
    return {tuple(row) for row in rows} == expected


async def test_a_category_lists_the_products_of_all_below_it(catalog: Catalog) -> None:
    for slug, parent in [("home", ""), ("kitchen", "home"), ("mugs", "kitchen"), ("paper", "")]:
        await put(catalog, slug, parent)
    for sku, category in [("SOFA", "home"), ("KNIFE", "kitchen"), ("MUG", "mugs"), ("PEN", "paper")]:
        await catalog.given(sku, category=category)

    assert await listed(catalog, category="home", order_by="name") == ["KNIFE", "MUG", "SOFA"]
    assert await listed(catalog, category="kitchen", order_by="name") == ["KNIFE", "MUG"]
    assert await listed(catalog, category="mugs") == ["MUG"]
    assert await listed(catalog, category="nowhere") == []


async def test_a_category_takes_all_below_it_along(catalog: Catalog) -> None:
    for slug, parent in [("home", ""), ("kitchen", "home"), ("mugs", "kitchen"), ("office", "")]:
        await put(catalog, slug, parent)
    await catalog.given("MUG", category="mugs")

    moved = await put(catalog, "kitchen", "office", name="Tea kitchen")

    assert moved == pb.Category(slug="kitchen", name="Tea kitchen", parent="office")
    assert await shown(catalog) == [("home", ""), ("office", ""), ("kitchen", "office"), ("mugs", "kitchen")]
    assert (await listed(catalog, category="home"), await listed(catalog, category="office")) == ([], ["MUG"])
    assert await closure_is_right(catalog)


async def test_a_product_in_a_category_that_nobody_has_put_makes_a_root(catalog: Catalog) -> None:
    mug = await catalog.given("MUG", category="garden-tools")
    change = pb.UpdateProductRequest(product_id=mug.product_id, product=pb.ProductChange(category="paper"))
    await catalog.admin.UpdateProduct(change)

    response = await catalog.calls.ListCategories(pb.ListCategoriesRequest())

    assert list(response.categories) == [
        pb.Category(slug="garden-tools", name="Garden tools"),
        pb.Category(slug="paper", name="Paper"),
    ]
    await put(catalog, "paper", "garden-tools")
    assert await listed(catalog, category="garden-tools") == ["MUG"]


async def test_what_would_be_no_tree_is_refused_and_changes_nothing(catalog: Catalog) -> None:
    for level in range(8):
        await put(catalog, f"l{level}", f"l{level - 1}" if level else "")
    before = await shown(catalog)

    for slug, parent, reason in [
        ("l0", "l7", "CATEGORY_CYCLE"),
        ("l3", "l3", "CATEGORY_CYCLE"),
        ("l8", "l7", "CATEGORY_TOO_DEEP"),
        ("l8", "nowhere", "CATEGORY_NOT_FOUND"),
    ]:
        error = await refusal(put(catalog, slug, parent))
        assert (error.code, error.reason) == ("FAILED_PRECONDITION", reason)

    assert await shown(catalog) == before
    assert await closure_is_right(catalog)


@pytest.mark.parametrize(
    ("fields", "violation"),
    [
        ({"slug": "", "name": "X"}, "category.slug"),
        ({"slug": "Home", "name": "X"}, "category.slug"),
        ({"slug": "a/b", "name": "X"}, "category.slug"),
        ({"slug": "home", "name": ""}, "category.name"),
        ({"slug": "home", "name": "X", "parent": "../x"}, "category.parent"),
    ],
)
async def test_a_category_is_as_the_contract_says(catalog: Catalog, fields: dict[str, Any], violation: str) -> None:
    error = await refusal(catalog.admin.PutCategory(pb.PutCategoryRequest(category=pb.Category(**fields))))

    assert (error.reason, [each.field for each in error.violations]) == ("INVALID_FIELDS", [violation])


async def test_only_an_empty_category_can_be_removed(catalog: Catalog) -> None:
    for slug, parent in [("home", ""), ("kitchen", "home")]:
        await put(catalog, slug, parent)
    mug = await catalog.given("MUG", category="kitchen")

    for slug in ("home", "kitchen"):
        error = await refusal(remove(catalog, slug))
        assert (error.code, error.reason) == ("FAILED_PRECONDITION", "CATEGORY_NOT_EMPTY")
    await catalog.admin.DeleteProduct(pb.DeleteProductRequest(product_id=mug.product_id))
    for slug in ("kitchen", "home", "home", "nowhere"):
        await remove(catalog, slug)

    assert await shown(catalog) == []
    assert await closure_is_right(catalog)


async def test_of_two_moves_that_together_make_a_cycle_one_is_refused(catalog: Catalog) -> None:
    for _ in range(5):
        await put(catalog, "a")
        await put(catalog, "b")

        outcomes = await asyncio.gather(outcome(put(catalog, "a", "b")), outcome(put(catalog, "b", "a")))

        assert [each for each in outcomes if isinstance(each, str)] == ["CATEGORY_CYCLE"]
        assert await closure_is_right(catalog)
        child = next(slug for slug, parent in await shown(catalog) if parent)
        await remove(catalog, child)


async def test_a_category_is_not_removed_under_a_product_that_is_being_added(catalog: Catalog) -> None:
    dice = random.Random(3)
    slugs = [f"c{number}" for number in range(4)]

    async def something(number: int) -> None:
        slug, parent = dice.sample(slugs, 2)
        match number % 4:
            case 0 | 1:
                await catalog.given(f"SKU-{number}", category=slug)
            case 2:
                await outcome(remove(catalog, slug))
            case _:
                await outcome(put(catalog, slug, parent))

    for begin in range(0, 60, 12):
        await asyncio.gather(*(something(number) for number in range(begin, begin + 12)))

    assert await closure_is_right(catalog)
    products = (await catalog.calls.ListProducts(pb.ListProductsRequest(page_size=100))).products
    assert len(products) == 30
    assert {each.category for each in products} <= dict(await shown(catalog)).keys()


async def test_only_administrators_shape_the_tree(catalog: Catalog) -> None:
    shopper = Calls(catalog.calls._stub, catalog.server.token("somebody"))
    request = pb.PutCategoryRequest(category=pb.Category(slug="a", name="A"))

    assert (await refusal(shopper.PutCategory(request))).code == "PERMISSION_DENIED"
    assert (await refusal(shopper.DeleteCategory(pb.DeleteCategoryRequest(slug="a")))).code == "PERMISSION_DENIED"
    assert (await refusal(catalog.calls.PutCategory(request))).code == "UNAUTHENTICATED"


async def test_a_change_of_the_tree_is_seen_at_once_where_answers_are_kept(
    cached_catalogs: tuple[Catalog, Catalog],
) -> None:
    catalog, _ = cached_catalogs
    await put(catalog, "home")
    await catalog.given("MUG", category="mugs")
    assert (await shown(catalog), await listed(catalog, category="home")) == ([("home", ""), ("mugs", "")], [])

    await put(catalog, "mugs", "home")

    assert await shown(catalog) == [("home", ""), ("mugs", "home")]
    assert await listed(catalog, category="home") == ["MUG"]
