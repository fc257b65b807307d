"""What a line of a file says of a product, why it can't, and what lines come to."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from itertools import count
from typing import Any
from uuid import UUID

import pytest
from shop.catalog.v1 import catalog_pb2 as pb

from services.catalog.domain import Amount, Image, Money
from services.catalog.lines import Line, Outcome, Refused, merge
from services.catalog.reading import CsvReader, JsonReader
from services.catalog.records import ImportMalformed, Record
from tests.unit.catalog.test_catalog_domain import MUG, NOW
from weft.server import validator_of

VALIDATE = validator_of(pb.Product)
HEADER = "sku,name,category,price,description,tags,images"
GOOD = {"sku": "MUG", "name": "Mug", "category": "kitchen", "price": {"currencyCode": "EUR", "units": 14}}


def csv_line(text: str, header: str = HEADER) -> Line | Refused | None:
    reader = CsvReader("EUR", VALIDATE)
    assert reader.read(Record(1, header.encode())) is None
    return reader.read(Record(2, text.encode(errors="surrogateescape")))


def json_line(fields: Any) -> Line | Refused | None:
    text = fields if isinstance(fields, str) else json.dumps(fields)
    return JsonReader("EUR", VALIDATE).read(Record(2, text.encode()))


def test_a_line_of_csv_says_what_its_columns_say() -> None:
    line = csv_line('MUG,"Mug, blue",kitchen,12.50,"Two\nlines",hot blue,https://a.example/1 https://a.example/2')

    assert isinstance(line, Line)
    assert (line.number, line.sku) == (2, "MUG")
    assert line.values == {
        "name": "Mug, blue",
        "category": "kitchen",
        "price": Money("EUR", Amount(12, 500_000_000)),
        "description": "Two\nlines",
        "tags": ("hot", "blue"),
        "images": (Image("https://a.example/1"), Image("https://a.example/2")),
    }


def test_columns_come_in_any_order_and_those_unknown_are_passed_over() -> None:
    line = csv_line("7,12,kitchen,Mug,MUG", header="Weight, PRICE ,category,name,sku")

    assert isinstance(line, Line)
    assert line.values == {"name": "Mug", "category": "kitchen", "price": Money("EUR", Amount(12, 0))}


def test_a_line_of_json_is_a_product_as_the_api_writes_it() -> None:
    line = json_line(GOOD | {"productId": "x", "availability": "AVAILABILITY_OUT", "tags": [], "images": None})

    assert isinstance(line, Line)
    assert line.values == {"name": "Mug", "category": "kitchen", "price": Money("EUR", Amount(14, 0)), "tags": ()}


@pytest.mark.parametrize(
    ("text", "field", "reason"),
    [
        ("mug,Mug,kitchen,1,,,", "sku", "INVALID_FIELDS"),
        (",Mug,kitchen,1,,,", "sku", "INVALID_FIELDS"),
        ("MUG,,kitchen,1,,,", "name", "INVALID_FIELDS"),
        ("MUG,M\0g,kitchen,1,,,", "name", "INVALID_FIELDS"),
        (f"MUG,{'x' * 201},kitchen,1,,,", "name", "INVALID_FIELDS"),
        ("MUG,Mug,Kitchen,1,,,", "category", "INVALID_FIELDS"),
        ("MUG,Mug,kitchen,,,,", "price", "INVALID_FIELDS"),
        ("MUG,Mug,kitchen,-1,,,", "price", "INVALID_FIELDS"),
        ('MUG,Mug,kitchen,"1,50",,,', "price", "INVALID_FIELDS"),
        ("MUG,Mug,kitchen,1e3,,,", "price", "INVALID_FIELDS"),
        ("MUG,Mug,kitchen,\u0661,,,", "price", "INVALID_FIELDS"),
        ("MUG,Mug,kitchen,9999999999,,,", "price", "INVALID_FIELDS"),
        ("MUG,Mug,kitchen,1,,a a,", "tags", "INVALID_FIELDS"),
        ("MUG,Mug,kitchen,1,,,javascript:alert(1)", "images[0].uri", "INVALID_FIELDS"),
        ("MUG,Mug", "", "LINE_MALFORMED"),
        ("MUG,Mug,kitchen,1,,,,", "", "LINE_MALFORMED"),
        ("MUG,M\udcffg,kitchen,1,,,", "", "LINE_MALFORMED"),
    ],
)
def test_a_line_of_csv_is_refused_by_the_rules_of_the_contract(text: str, field: str, reason: str) -> None:
    refused = csv_line(text)

    assert isinstance(refused, Refused)
    assert (refused.line, refused.field, refused.reason) == (2, field, reason)


@pytest.mark.parametrize(
    ("fields", "field", "reason"),
    [
        ("", "", "LINE_MALFORMED"),
        ("[]", "", "LINE_MALFORMED"),
        ("[" * 60_000, "", "LINE_MALFORMED"),
        ("9" * 5_000, "", "LINE_MALFORMED"),
        ("{'sku': 1}", "", "LINE_MALFORMED"),
        (GOOD | {"colour": "blue"}, "colour", "LINE_MALFORMED"),
        (GOOD | {"name": 7}, "name", "LINE_MALFORMED"),
        (GOOD | {"price": 14}, "price", "LINE_MALFORMED"),
        (GOOD | {"price": {"currencyCode": "EUR", "units": "NaN"}}, "", "LINE_MALFORMED"),
        (GOOD | {"price": {"currencyCode": "USD", "units": 1}}, "price.currencyCode", "CURRENCY_NOT_SUPPORTED"),
        (GOOD | {"images": [{"altText": "x"}]}, "images[0].uri", "INVALID_FIELDS"),
        (GOOD | {"tags": [str(number) for number in range(21)]}, "tags", "INVALID_FIELDS"),
    ],
)
def test_a_line_of_json_is_refused_by_the_same_rules(fields: Any, field: str, reason: str) -> None:
    refused = json_line(fields)

    assert isinstance(refused, Refused)
    assert refused.reason == reason
    assert refused.field == field or not field


def test_a_refusal_names_every_field_that_is_wrong_and_repeats_none_of_it() -> None:
    refused = csv_line("bad sku!,,Bad Category,1,,,")

    assert isinstance(refused, Refused)
    assert [word in refused.description for word in ("sku", "name is required", "category")] == [True] * 3
    assert "Bad Category" not in refused.description


@pytest.mark.parametrize(
    "header",
    ["sku,name,category", "sku;name;category;price", "sku,name,category,price,price", '"sku', "s\0,n", "\u00e4"],
)
def test_a_header_without_what_every_product_has_is_refused(header: str) -> None:
    with pytest.raises(ImportMalformed):
        CsvReader("EUR", VALIDATE).read(Record(1, header.encode("latin-1")))


def line(number: int, sku: str = "MUG-BLUE", **values: Any) -> Line:
    said = {"name": "Mug, blue", "category": "kitchen", "price": MUG.price}
    return Line(number=number, sku=sku, values=said | values)


def merged(*lines: Line, **found: Any) -> Any:
    ids = count(100)
    known = {MUG.sku: (replace(MUG, **found.pop("mug", {})), found.pop("on_sale", True))}
    return merge(lines, known, now=NOW + timedelta(days=1), new_id=lambda: UUID(int=next(ids)))


def test_a_line_that_says_what_is_there_changes_nothing() -> None:
    result = merged(line(2))

    assert (result.added, result.changed, result.outcomes) == ([], [], [Outcome.UNCHANGED])


def test_of_two_lines_about_one_product_the_later_one_wins() -> None:
    result = merged(line(2, name="Cup"), line(3, name="Bowl"), line(4, "NEW", name="One"), line(5, "NEW", name="Two"))

    assert result.outcomes == [Outcome.CHANGED, Outcome.CHANGED, Outcome.ADDED, Outcome.CHANGED]
    assert [product.name for product in result.changed] == ["Bowl"]
    assert [(product.name, product.product_id) for product in result.added] == [("Two", UUID(int=100))]


def test_a_product_that_is_off_sale_stays_so() -> None:
    result = merged(line(2, name="Cup"), on_sale=False)

    assert (result.added, result.changed) == ([], [])
    assert [(each.line, each.field, each.reason) for each in result.outcomes] == [(2, "sku", "SKU_TAKEN")]


def test_what_a_line_does_not_say_stays_as_it_is() -> None:
    images = (Image("https://a.example/1", "From above"), Image("https://a.example/2"))
    by_csv = Line(
        number=2,
        sku=MUG.sku,
        values={**line(2).values, "images": (Image("https://a.example/3"), Image("https://a.example/1"))},
        says_alt_texts=False,
    )

    result = merged(line(1), by_csv, mug={"description": "Old", "images": images})

    assert result.outcomes == [Outcome.UNCHANGED, Outcome.CHANGED]
    assert result.changed[0].description == "Old"
    assert result.changed[0].images == (Image("https://a.example/3"), images[0])
