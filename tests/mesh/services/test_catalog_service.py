from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from google.type.money_pb2 import Money
from shop.catalog.v1 import catalog_pb2 as pb
from shop.catalog.v1 import catalog_pb2_grpc

from tests.mesh.services.calls import Calls, euros, outcome, product, refusal

if TYPE_CHECKING:
    from tests.mesh.services.conftest import Catalog


async def listed(catalog: Catalog, **fields: Any) -> list[str]:
    """Return the SKUs of one page."""
    return [each.sku for each in (await catalog.calls.ListProducts(pb.ListProductsRequest(**fields))).products]


async def all_pages(catalog: Catalog, **fields: Any) -> list[pb.Product]:
    """Return the products of all pages."""
    seen: list[pb.Product] = []
    token = ""
    while True:
        page = await catalog.calls.ListProducts(pb.ListProductsRequest(page_token=token, **fields))
        seen += page.products
        token = page.next_page_token
        if not token:
            return seen


async def test_a_product_is_read_as_it_was_added(catalog: Catalog) -> None:
    wanted = product(
        "MUG-BLUE",
        "14.500000001",
        description="Thrown by hand.",
        tags=["ceramic", "coffee"],
        images=[pb.Image(uri="https://example.com/a.png", alt_text="A mug"), pb.Image(uri="https://example.com/b.png")],
    )

    added = (await catalog.admin.CreateProduct(pb.CreateProductRequest(product=wanted))).product

    read = (await catalog.calls.GetProduct(pb.GetProductRequest(product_id=added.product_id))).product
    assert read == added
    wanted.product_id = added.product_id
    wanted.create_time.CopyFrom(added.create_time)
    wanted.update_time.CopyFrom(added.create_time)
    assert read == wanted


async def test_an_id_may_be_written_in_capitals(catalog: Catalog) -> None:
    mug = await catalog.given("MUG")

    assert (await catalog.calls.GetProduct(pb.GetProductRequest(product_id=mug.product_id.upper()))).product == mug
    batch = pb.BatchGetProductsRequest(product_ids=[mug.product_id.upper()])
    assert list((await catalog.calls.BatchGetProducts(batch)).products) == [mug]


@pytest.mark.parametrize("method", ["GetProduct", "UpdateProduct", "DeleteProduct"])
async def test_a_product_that_does_not_exist_is_not_found(catalog: Catalog, method: str) -> None:
    fields = {"product": pb.ProductChange(name="No")} if method == "UpdateProduct" else {}
    request = getattr(pb, f"{method}Request")(product_id=str(uuid4()), **fields)

    error = await refusal(getattr(catalog.admin, method)(request))

    assert (error.code, error.reason) == ("NOT_FOUND", "PRODUCT_NOT_FOUND")


async def test_a_batch_keeps_the_order_of_its_ids_and_leaves_out_what_is_not_there(catalog: Catalog) -> None:
    mug, pot, gone = [await catalog.given(sku) for sku in ("MUG", "POT", "GONE")]
    await catalog.admin.DeleteProduct(pb.DeleteProductRequest(product_id=gone.product_id))
    ids = [pot.product_id, str(uuid4()), mug.product_id, gone.product_id, pot.product_id]

    response = await catalog.calls.BatchGetProducts(pb.BatchGetProductsRequest(product_ids=ids))

    assert list(response.products) == [pot, mug, pot]


async def test_a_sku_is_taken_for_ever(catalog: Catalog) -> None:
    mug = await catalog.given("MUG")

    first = await refusal(catalog.given("MUG"))
    await catalog.admin.DeleteProduct(pb.DeleteProductRequest(product_id=mug.product_id))
    second = await refusal(catalog.given("MUG"))

    for error in (first, second):
        assert (error.code, error.reason) == ("ALREADY_EXISTS", "SKU_TAKEN")
        assert error.metadata["sku"] == "MUG"


async def test_of_twenty_products_with_one_sku_at_once_exactly_one_is_added(catalog: Catalog) -> None:
    start = asyncio.Event()

    async def add() -> Any:
        await start.wait()
        return await outcome(catalog.given("MUG"))

    tasks = [asyncio.create_task(add()) for _ in range(20)]
    start.set()

    assert (await asyncio.gather(*tasks)).count("SKU_TAKEN") == 19
    assert await listed(catalog) == ["MUG"]


async def test_prices_are_in_the_shops_currency(catalog: Catalog) -> None:
    mug = await catalog.given("MUG")
    dollars = Money(currency_code="USD", units=1)
    change = pb.UpdateProductRequest(product_id=mug.product_id, product=pb.ProductChange(price=dollars))

    errors = [await refusal(catalog.given("POT", dollars)), await refusal(catalog.admin.UpdateProduct(change))]

    for error in errors:
        assert (error.code, error.reason) == ("INVALID_ARGUMENT", "CURRENCY_NOT_SUPPORTED")
    assert await all_pages(catalog) == [mug]


@pytest.mark.parametrize(
    "price",
    [
        Money(currency_code="EUR", units=-1),
        Money(currency_code="EUR", nanos=-1),
        Money(currency_code="EUR", units=1, nanos=1_000_000_000),
        Money(currency_code="EUR", units=1, nanos=-5),
        Money(currency_code="EUR", units=1_000_000_001),
        Money(units=1),
    ],
)
async def test_a_price_is_never_negative_and_always_well_formed(catalog: Catalog, price: Money) -> None:
    error = await refusal(catalog.given("MUG", price))

    assert (error.code, error.reason) == ("INVALID_ARGUMENT", "INVALID_FIELDS")
    assert [violation.field for violation in error.violations] == ["product.price"]


async def test_a_product_may_be_free(catalog: Catalog) -> None:
    leaflet = await catalog.given("LEAFLET", "0")

    assert await listed(catalog, max_price="0") == ["LEAFLET"]
    assert leaflet.price == Money(currency_code="EUR")


async def test_a_mask_says_what_changes(catalog: Catalog) -> None:
    mug = await catalog.given("MUG", tags=["ceramic"], description="Old")
    new = pb.ProductChange(name="Cup", price=euros("9.90"), description="Ignored")

    changed = (
        await catalog.admin.UpdateProduct(
            pb.UpdateProductRequest(
                product_id=mug.product_id, product=new, update_mask=FieldMask(paths=["name", "price", "tags"])
            )
        )
    ).product

    assert (changed.sku, changed.name, changed.price, list(changed.tags)) == ("MUG", "Cup", euros("9.90"), [])
    assert (changed.description, changed.category) == ("Old", "kitchen")
    assert changed.create_time == mug.create_time
    assert changed.update_time.ToDatetime() > mug.update_time.ToDatetime()
    assert await all_pages(catalog) == [changed]


async def test_without_a_mask_all_that_is_set_changes(catalog: Catalog) -> None:
    mug = await catalog.given("MUG", tags=["ceramic"])

    changed = (
        await catalog.admin.UpdateProduct(
            pb.UpdateProductRequest(product_id=mug.product_id, product=pb.ProductChange(description="New"))
        )
    ).product

    assert (changed.description, changed.name, list(changed.tags)) == ("New", mug.name, ["ceramic"])


@pytest.mark.parametrize(
    ("paths", "field"),
    [
        (["name", "sku"], "updateMask.paths[1]"),
        (["product_id"], "updateMask.paths[0]"),
        (["create_time"], "updateMask.paths[0]"),
        (["price.units"], "updateMask.paths[0]"),
        (["name"], "product.name"),
        (["price"], "product.price"),
    ],
)
async def test_what_cannot_be_changed_is_named_and_nothing_changes(
    catalog: Catalog, paths: list[str], field: str
) -> None:
    mug = await catalog.given("MUG")
    request = pb.UpdateProductRequest(
        product_id=mug.product_id, product=pb.ProductChange(description="x"), update_mask=FieldMask(paths=paths)
    )

    error = await refusal(catalog.admin.UpdateProduct(request))

    assert (error.code, error.reason) == ("INVALID_ARGUMENT", "INVALID_FIELDS")
    assert [violation.field for violation in error.violations] == [field]
    assert await all_pages(catalog) == [mug]


async def test_a_deleted_product_is_gone_and_deleting_it_again_changes_nothing(catalog: Catalog) -> None:
    mug = await catalog.given("MUG")
    request = pb.DeleteProductRequest(product_id=mug.product_id)

    assert await catalog.admin.DeleteProduct(request) == pb.DeleteProductResponse()
    assert await catalog.admin.DeleteProduct(request) == pb.DeleteProductResponse()

    change = pb.UpdateProductRequest(product_id=mug.product_id, product=pb.ProductChange(name="No"))
    for call in (
        catalog.calls.GetProduct(pb.GetProductRequest(product_id=mug.product_id)),
        catalog.admin.GetProduct(pb.GetProductRequest(product_id=mug.product_id)),
        catalog.admin.UpdateProduct(change),
    ):
        assert (await refusal(call)).reason == "PRODUCT_NOT_FOUND"
    page = await catalog.calls.ListProducts(pb.ListProductsRequest())
    assert (list(page.products), page.total_size) == ([], 0)


async def test_a_repeated_request_adds_one_product(catalog: Catalog) -> None:
    request = pb.CreateProductRequest(product=product("MUG"), request_id="add-mug")

    first = await catalog.admin.CreateProduct(request)
    second = await catalog.admin.CreateProduct(request)
    other = await refusal(
        catalog.admin.CreateProduct(pb.CreateProductRequest(product=product("POT"), request_id="add-mug"))
    )

    assert first == second
    assert (other.code, other.reason) == ("INVALID_ARGUMENT", "REQUEST_ID_REUSED")
    assert await listed(catalog) == ["MUG"]


@pytest.mark.parametrize("method", ["CreateProduct", "UpdateProduct", "DeleteProduct"])
async def test_only_administrators_write(catalog: Catalog, method: str) -> None:
    mug = await catalog.given("MUG")
    fields: dict[str, dict[str, Any]] = {
        "CreateProduct": {"product": product("POT")},
        "UpdateProduct": {"product_id": mug.product_id, "product": pb.ProductChange(name="No")},
        "DeleteProduct": {"product_id": mug.product_id},
    }
    request = getattr(pb, f"{method}Request")(**fields[method])
    stub = catalog_pb2_grpc.CatalogServiceStub(catalog.server.channel)
    shopper = Calls(stub, catalog.server.token(str(uuid4())))

    assert (await refusal(getattr(catalog.calls, method)(request))).code == "UNAUTHENTICATED"
    assert (await refusal(getattr(shopper, method)(request))).code == "PERMISSION_DENIED"
    assert await all_pages(catalog) == [mug]


@pytest.mark.parametrize(
    ("fields", "skus"),
    [
        ({}, {"MUG", "POT", "PEN"}),
        ({"category": "kitchen"}, {"MUG", "POT"}),
        ({"category": "Kitchen"}, set()),
        ({"min_price": "14.5"}, {"MUG", "POT"}),
        ({"min_price": "14.500000001"}, {"POT"}),
        ({"max_price": "14.50"}, {"MUG", "PEN"}),
        ({"max_price": "14.499999999"}, {"PEN"}),
        ({"min_price": "9.9", "max_price": "9.9"}, {"PEN"}),
        ({"min_price": "20", "max_price": "10"}, set()),
        ({"category": "paper", "query": "steel", "min_price": "1"}, {"PEN"}),
    ],
)
async def test_filters_let_through_what_meets_all_of_them(
    catalog: Catalog, fields: dict[str, Any], skus: set[str]
) -> None:
    await catalog.given("MUG", "14.50")
    await catalog.given("POT", "49")
    await catalog.given("PEN", "9.90", category="paper", description="Steel nib")

    page = await catalog.calls.ListProducts(pb.ListProductsRequest(**fields))

    assert {each.sku for each in page.products} == skus
    assert page.total_size == len(skus)


@pytest.mark.parametrize(
    ("query", "skus"),
    [
        ("mugs", {"MUG"}),
        ("HANDS", {"MUG"}),
        ("coffee", {"MUG", "POT"}),
        ("coffee iron", {"POT"}),
        ("coffee -iron", {"MUG"}),
        ("mug or teapot", {"MUG", "POT"}),
        ('"by hand"', {"MUG"}),
        ('"hand thrown"', set()),
        ("bicycle", set()),
        ("'; drop table products --", set()),
        ('"(&|!*:<->', set()),
    ],
)
async def test_a_search_finds_words_of_name_description_and_tags(catalog: Catalog, query: str, skus: set[str]) -> None:
    await catalog.given("MUG", name="Stoneware mug", description="Thrown by hand.", tags=["coffee"])
    await catalog.given("POT", name="Teapot", description="Made of cast iron.", tags=["tea", "coffee"])

    assert set(await listed(catalog, query=query)) == skus


async def test_a_search_follows_a_change(catalog: Catalog) -> None:
    mug = await catalog.given("MUG", tags=["ceramic"])
    change = pb.UpdateProductRequest(product_id=mug.product_id, product=pb.ProductChange(tags=["enamel"]))

    await catalog.admin.UpdateProduct(change)

    assert await listed(catalog, query="ceramic") == []
    assert await listed(catalog, query="enamel") == ["MUG"]


@pytest.mark.parametrize(
    ("order_by", "skus"),
    [
        ("", ["D", "C", "B", "A"]),
        ("create_time desc", ["D", "C", "B", "A"]),
        ("create_time", ["A", "B", "C", "D"]),
        ("name", ["C", "A", "D", "B"]),
        ("name desc", ["B", "D", "A", "C"]),
        ("price asc", ["B", "D", "A", "C"]),
        ("price desc", ["C", "A", "D", "B"]),
    ],
)
@pytest.mark.parametrize("page_size", [1, 3, 100])
async def test_lists_come_in_the_order_asked_for(
    catalog: Catalog, order_by: str, skus: list[str], page_size: int
) -> None:
    for sku, name, price in [
        ("A", "banana", "2"),
        ("B", "Cherry", "1"),
        ("C", "Apple", "10"),
        ("D", "cherries", "1.5"),
    ]:
        await catalog.given(sku, price, name=name)

    products = await all_pages(catalog, order_by=order_by, page_size=page_size)

    assert [each.sku for each in products] == skus


async def test_equal_products_are_ordered_by_id(catalog: Catalog) -> None:
    for number in range(9):
        await catalog.given(f"MUG-{number}", name="Mug")

    upwards = [each.product_id for each in await all_pages(catalog, order_by="price", page_size=2)]
    downwards = [each.product_id for each in await all_pages(catalog, order_by="name desc", page_size=2)]

    assert upwards == sorted(upwards)
    assert downwards == upwards[::-1]


@pytest.mark.parametrize("order_by", ["name", "name desc", "price", "price desc", "create_time", "create_time desc"])
async def test_paging_shows_what_was_there_exactly_once_while_products_are_added(
    catalog: Catalog, order_by: str
) -> None:
    dice = random.Random(order_by)
    await _given_many(catalog, "OLD", 30, dice)
    there = {each.sku for each in await all_pages(catalog, page_size=100)}

    seen: list[str] = []
    token = ""
    while True:
        request = pb.ListProductsRequest(order_by=order_by, page_size=4, page_token=token)
        page = await catalog.calls.ListProducts(request)
        seen += [each.sku for each in page.products]
        token = page.next_page_token
        if not token:
            break
        await _given_many(catalog, f"NEW-{len(seen)}", 2 if len(seen) < 60 else 0, dice)

    assert len(seen) == len(set(seen))
    assert there <= set(seen)


async def _given_many(catalog: Catalog, prefix: str, number: int, dice: random.Random) -> None:
    await asyncio.gather(
        *(
            catalog.given(f"{prefix}-{each}", str(dice.randint(1, 5)), name=dice.choice(["Mug", "mug", "Pot", "Äpfel"]))
            for each in range(number)
        )
    )


async def test_names_as_long_as_they_may_be_have_page_tokens_that_are_accepted(catalog: Catalog) -> None:
    for number in range(3):
        await catalog.given(f"LONG-{number}", name="\u0390" * 200)

    assert len(await all_pages(catalog, order_by="name", page_size=1)) == 3


@pytest.mark.parametrize(
    "change",
    [
        {"order_by": "name"},
        {"order_by": "price"},
        {"category": "paper"},
        {"query": "mug"},
        {"min_price": "1"},
        {"max_price": "100"},
    ],
)
async def test_a_page_token_goes_with_its_filters_only(catalog: Catalog, change: dict[str, str]) -> None:
    await _given_many(catalog, "MUG", 3, random.Random(1))
    fields: dict[str, Any] = {"order_by": "price desc", "page_size": 1}
    token = (await catalog.calls.ListProducts(pb.ListProductsRequest(**fields))).next_page_token

    error = await refusal(catalog.calls.ListProducts(pb.ListProductsRequest(page_token=token, **(fields | change))))

    assert (error.code, error.reason) == ("INVALID_ARGUMENT", "PAGE_TOKEN_INVALID")
    assert len(await listed(catalog, page_token=token, order_by="price desc", page_size=2)) == 2


@pytest.mark.parametrize("token", ["A", "AAAA", "e30", "\u00e9", "=" * 8])
async def test_a_page_token_that_is_none_is_refused(catalog: Catalog, token: str) -> None:
    error = await refusal(catalog.calls.ListProducts(pb.ListProductsRequest(page_token=token)))

    assert (error.code, error.reason) == ("INVALID_ARGUMENT", "PAGE_TOKEN_INVALID")


async def test_a_page_has_twenty_products_unless_told_otherwise(catalog: Catalog) -> None:
    await _given_many(catalog, "MUG", 22, random.Random(1))

    page = await catalog.calls.ListProducts(pb.ListProductsRequest())

    assert (len(page.products), page.total_size) == (20, 22)
    assert await listed(catalog, page_token=page.next_page_token) == [
        each.sku for each in (await all_pages(catalog, page_size=100))[20:]
    ]
