"""Files of products, sent in pieces."""

from __future__ import annotations

import asyncio
import json
import tracemalloc
from typing import TYPE_CHECKING, Any

import pytest
from google.protobuf.json_format import MessageToDict
from shop.catalog.v1 import catalog_pb2 as pb
from shop.catalog.v1 import catalog_pb2_grpc
from sqlalchemy import text

from services.catalog import store
from services.catalog.domain import Listing, OrderKey
from tests.mesh.services.calls import Calls, refusal
from tests.mesh.services.test_catalog_service import all_pages, listed
from tests.mesh.services.test_statements import plan

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from tests.mesh.services.conftest import Catalog

CSV = pb.ImportProductsRequest.FORMAT_CSV
UNSAID = pb.ImportProductsRequest.FORMAT_UNSPECIFIED
NDJSON = pb.ImportProductsRequest.FORMAT_NDJSON
HEADER = "sku,name,category,price,description,tags,images\n"
IMPORT_S = 60.0


async def pieces(
    data: bytes, format_: pb.ImportProductsRequest.Format.ValueType = CSV, size: int = 64 * 1024
) -> AsyncIterator[pb.ImportProductsRequest]:
    for begin in range(0, max(1, len(data)), size):
        yield pb.ImportProductsRequest(format=UNSAID if begin else format_, data=data[begin : begin + size])


async def imported(
    catalog: Catalog, data: str | bytes, format_: pb.ImportProductsRequest.Format.ValueType = CSV, **options: Any
) -> pb.ImportProductsResponse:
    data = data.encode() if isinstance(data, str) else data
    stub = catalog_pb2_grpc.CatalogServiceStub(catalog.server.channel)
    call = stub.ImportProducts(pieces(data, format_, **options), metadata=catalog.admin._metadata, timeout=IMPORT_S)
    response: pb.ImportProductsResponse = await call
    return response


def counts(response: pb.ImportProductsResponse) -> tuple[int, ...]:
    return response.lines, response.added, response.changed, response.unchanged, response.failed


def lines(numbers: Iterable[int], name: str = "Thing") -> str:
    return "".join(
        f'SKU-{number},"{name}, no. {number}",c{number % 7},{number}.50,"Two\nlines",blue t{number % 50},\n'
        for number in numbers
    )


async def test_a_file_is_imported_and_sending_it_again_changes_nothing(catalog: Catalog) -> None:
    file = HEADER + lines(range(600))

    first = await imported(catalog, file)
    told = len(await catalog.told())
    again = await imported(catalog, file)

    assert (counts(first), counts(again)) == ((600, 600, 0, 0, 0), (600, 0, 0, 600, 0))
    assert told == len(await catalog.told()) == 600
    assert len(await all_pages(catalog, page_size=100)) == 600
    (found,) = (await catalog.calls.ListProducts(pb.ListProductsRequest(query='"no 599"'))).products
    assert (found.sku, found.name, found.price.units, list(found.tags)) == (
        "SKU-599",
        "Thing, no. 599",
        599,
        ["blue", "t49"],
    )


@pytest.mark.parametrize("size", [1, 7, 1000])
@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
async def test_a_file_may_be_torn_anywhere(catalog: Catalog, size: int, line_end: str) -> None:
    file = "\ufeffsku,name,category,price\n" + 'MUG,"Müg ""blue""\nor not",kitchen,1\n\nPOT,Pot,kitchen,2'

    response = await imported(catalog, file.replace("\n", line_end), size=size)

    assert counts(response) == (2, 2, 0, 0, 0)
    names = [each.name for each in await all_pages(catalog, order_by="price")]
    assert names == [f'Müg "blue"{line_end}or not', "Pot"]


async def test_what_the_api_shows_can_be_imported_as_lines_of_json(catalog: Catalog) -> None:
    image = pb.Image(uri="https://example.com/a.png", alt_text="A mug")
    mug = await catalog.given("MUG", tags=["blue"], description="Old", images=[image])
    new = {"sku": "POT", "name": "Pot", "category": "kitchen", "price": {"currencyCode": "EUR", "units": "7"}}
    file = "".join(json.dumps(each) + "\n" for each in (MessageToDict(mug), new, MessageToDict(mug) | {"name": "Cup"}))

    response = await imported(catalog, file, NDJSON)

    assert counts(response) == (3, 1, 1, 1, 0)
    cup = (await catalog.calls.GetProduct(pb.GetProductRequest(product_id=mug.product_id))).product
    assert (cup.name, cup.description, list(cup.images), list(cup.tags)) == ("Cup", "Old", [image], ["blue"])


async def test_what_a_line_does_not_say_stays_and_what_it_says_is_empty_goes(catalog: Catalog) -> None:
    image = pb.Image(uri="https://example.com/a.png", alt_text="A mug")
    mug = await catalog.given("MUG", name="Mug", tags=["blue"], description="Old", images=[image])

    prices = await imported(catalog, "sku,name,category,price\nMUG,Mug,kitchen,9.90\n")
    tags = await imported(catalog, f"sku,name,category,price,tags,images\nMUG,Mug,kitchen,9.90,,{image.uri}\n")

    assert (counts(prices), counts(tags)) == ((1, 0, 1, 0, 0), (1, 0, 1, 0, 0))
    found = (await catalog.calls.GetProduct(pb.GetProductRequest(product_id=mug.product_id))).product
    assert (found.description, list(found.tags), list(found.images)) == ("Old", [], [image])


async def test_each_line_that_is_wrong_is_reported_and_the_others_are_imported(catalog: Catalog) -> None:
    gone = await catalog.given("GONE")
    await catalog.admin.DeleteProduct(pb.DeleteProductRequest(product_id=gone.product_id))
    file = (
        "sku,name,category,price\n"
        'A,"Two\nlines",kitchen,1\n'
        "b,Bad,kitchen,1\n"
        "\n"
        "GONE,Gone,kitchen,1\n"
        "C,Free,kitchen,\n"
        'D,"open,kitchen,1\n'
        "E,Good,kitchen,2\n"
    )

    response = await imported(catalog, file)

    assert counts(response) == (6, 2, 0, 0, 4)
    assert [(error.line, error.field, error.reason) for error in response.errors] == [
        (4, "sku", "INVALID_FIELDS"),
        (6, "sku", "SKU_TAKEN"),
        (7, "price", "INVALID_FIELDS"),
        (8, "", "LINE_MALFORMED"),
    ]
    assert await listed(catalog, order_by="price") == ["A", "E"]


async def test_of_many_lines_that_are_wrong_the_first_thousand_are_told(catalog: Catalog) -> None:
    file = "sku,name,category,price\n" + "x,,,\n" * 2500 + "A,Good,kitchen,1\n"

    response = await imported(catalog, file)

    assert counts(response) == (2501, 1, 0, 0, 2500)
    assert [error.line for error in response.errors] == list(range(2, 1002))
    assert response.ByteSize() < 512 * 1024


async def test_the_later_of_two_lines_wins_wherever_they_stand(catalog: Catalog) -> None:
    file = HEADER + lines([1], "First") + lines([1], "Second") + lines(range(2, 400)) + lines([1], "Third")

    response = await imported(catalog, file)

    assert counts(response) == (401, 399, 2, 0, 0)
    assert [each.name for each in await all_pages(catalog, query="first or second or third")] == ["Third, no. 1"]


@pytest.mark.parametrize(
    ("requests", "imports"),
    [
        ([], 0),
        ([pb.ImportProductsRequest(data=b"sku,name,category,price\nA,A,a,1\n")], 0),
        ([pb.ImportProductsRequest(format=CSV)], 0),
        ([pb.ImportProductsRequest(format=CSV, data=b"sku,name\nA,A\n")], 0),
        ([pb.ImportProductsRequest(format=CSV, data=b"sku,name,category,price\nA,A,a,1\n" + b"x" * 70_000)], 1),
        (
            [
                pb.ImportProductsRequest(format=CSV, data=b"sku,name,category,price\nA,A,a,1\n"),
                pb.ImportProductsRequest(format=NDJSON, data=b"{}\n"),
            ],
            1,
        ),
    ],
)
async def test_a_file_that_cannot_be_read_on_is_refused_and_what_came_before_is_imported(
    catalog: Catalog, requests: list[pb.ImportProductsRequest], imports: int
) -> None:
    async def sent() -> AsyncIterator[pb.ImportProductsRequest]:
        for request in requests:
            yield request

    error = await refusal(catalog.admin.ImportProducts(sent()))

    assert (error.code, error.reason) == ("INVALID_ARGUMENT", "IMPORT_MALFORMED")
    assert len(await listed(catalog)) == imports


async def test_an_empty_file_of_json_has_no_lines(catalog: Catalog) -> None:
    assert counts(await imported(catalog, "", NDJSON)) == (0, 0, 0, 0, 0)


async def test_a_piece_is_as_the_contract_says(catalog: Catalog) -> None:
    error = await refusal(imported(catalog, HEADER + lines(range(9000)), size=262_145))

    assert (error.code, error.reason) == ("INVALID_ARGUMENT", "INVALID_FIELDS")
    assert [violation.field for violation in error.violations] == ["data"]


async def test_only_administrators_import(catalog: Catalog) -> None:
    shopper = Calls(catalog.calls._stub, catalog.server.token("somebody"))

    assert (await refusal(shopper.ImportProducts(pieces(b"x")))).code == "PERMISSION_DENIED"
    assert (await refusal(catalog.calls.ImportProducts(pieces(b"x")))).code == "UNAUTHENTICATED"


async def test_an_import_that_falls_silent_is_ended_when_the_instance_leaves(catalog: Catalog) -> None:
    begun, never = asyncio.Event(), asyncio.Event()

    async def silent() -> AsyncIterator[pb.ImportProductsRequest]:
        yield pb.ImportProductsRequest(format=CSV, data=(HEADER + lines(range(250))).encode())
        begun.set()
        await never.wait()

    call = asyncio.create_task(refusal(catalog.admin.ImportProducts(silent())))
    await begun.wait()
    async with asyncio.timeout(10):
        while len(await listed(catalog, page_size=1)) == 0:
            await asyncio.sleep(0.01)

    catalog.server.drain()

    error = await call
    assert (error.code, error.reason) == ("UNAVAILABLE", "SERVER_DRAINING")


async def test_imports_of_the_same_products_at_once_add_each_once(catalog: Catalog) -> None:
    files = [HEADER + lines(range(begin, begin + 700)) for begin in (0, 300, 100)]

    responses = await asyncio.gather(*(imported(catalog, file) for file in files))

    assert [response.failed for response in responses] == [0, 0, 0]
    assert sum(response.added for response in responses) == 1000
    assert len(await all_pages(catalog, page_size=100)) == len(await catalog.told()) == 1000


async def test_an_import_is_seen_where_answers_are_kept(cached_catalogs: tuple[Catalog, Catalog]) -> None:
    catalog, _ = cached_catalogs
    mug = await catalog.given("SKU-1", name="Mug")
    request = pb.GetProductRequest(product_id=mug.product_id)
    await catalog.calls.GetProduct(request)
    assert await listed(catalog) == ["SKU-1"]

    await imported(catalog, HEADER + lines([1, 2]))

    assert (await catalog.calls.GetProduct(request)).product.name == "Thing, no. 1"
    assert await listed(catalog, order_by="price") == ["SKU-1", "SKU-2"]


async def test_who_sends_faster_than_lines_are_imported_is_held_up(catalog: Catalog) -> None:
    file = HEADER + lines(range(100)) + "".join(f"SKU-0,{'x' * 60_000},c,1\n" for _ in range(1000))
    sent = 0

    async def counted() -> AsyncIterator[pb.ImportProductsRequest]:
        nonlocal sent
        async for piece in pieces(file.encode()):
            yield piece
            sent += len(piece.data)

    await catalog.given("SKU-7")
    async with catalog.database.transaction() as tx:
        await tx.execute(text("select from products where sku = 'SKU-7' for update"))
        call = asyncio.create_task(refusal(catalog.admin.ImportProducts(counted())))
        before = -1
        while sent != before or not sent:
            before = sent
            await asyncio.sleep(0.3)  # until it stands still
        assert sent < 16 * 1024 * 1024 < len(file)
        call.cancel()
    await asyncio.wait([call])


async def test_memory_does_not_grow_with_the_file(catalog: Catalog) -> None:
    async def peak(number: int) -> int:
        file = (HEADER + lines(range(number))).encode()
        tracemalloc.reset_peak()
        before, _ = tracemalloc.get_traced_memory()
        await imported(catalog, file, size=4096)
        return tracemalloc.get_traced_memory()[1] - before

    await imported(catalog, HEADER + lines(range(300)))  # what is made once
    tracemalloc.start()
    try:
        small, large = await peak(1000), await peak(6000)
    finally:
        tracemalloc.stop()

    assert large - small < 2 * 1024 * 1024


async def test_twenty_thousand_products_come_in_one_stream_and_are_found_by_indexes(catalog: Catalog) -> None:
    response = await imported(catalog, HEADER + lines(range(20_000)))

    assert counts(response) == (20_000, 20_000, 0, 0, 0)
    async with catalog.database.transaction() as tx:
        await tx.execute(text("insert into availability select sku, 'low', 1, now() from products"))
        await tx.execute(text("analyze"))
    wanted: list[dict[str, Any]] = [
        {},
        {"category": "c3"},
        {"query": "t17"},
        {"query": "17171"},
        {"category": "c3", "query": "17171"},
    ]
    for key in OrderKey:
        for values in wanted:
            filters = store._filters(Listing(**values))
            found = await plan(catalog.database, store._page(filters, key, True, False), limit=21, **values)
            assert "Seq Scan on products" not in found, (key, values)
            assert "availability_pkey" in found
            if (
                values.get("query") == "17171"
            ):  # of a common word, the first ones are found sooner in the order asked for
                assert "products_by_words" in found
    assert "products_by_words" in await plan(catalog.database, store._count(("query",)), query="t17")
    assert "products_by_category" in await plan(catalog.database, store._count(("category",)), category="c3")
    page = await catalog.calls.ListProducts(pb.ListProductsRequest(category="c3", query="t17", order_by="price"))
    assert page.total_size == sum(1 for number in range(20_000) if number % 7 == 3 and number % 50 == 17)
