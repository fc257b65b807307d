"""Every field rule, by the violations it reports."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.type.money_pb2 import Money

from tests.library import pb
from weft.contract import read_contract
from weft.errors import InvalidArgument
from weft.server.validation import compile_validator

proto = FileDescriptorProto()
pb.DESCRIPTOR.CopyToProto(proto)
validate: Any = compile_validator(pb.AddBookRequest.DESCRIPTOR, read_contract([proto]).rules)

RIGHT: dict[str, Any] = {"title": "Momo", "author": {"name": "Ende"}, "pages": 272}


def violations(**changes: Any) -> dict[str, str]:
    """Return the violations of a right request with *changes*: shape `field -> description`."""
    try:
        validate(pb.AddBookRequest(**(RIGHT | changes)))
    except InvalidArgument as error:
        assert error.reason == "INVALID_FIELDS"
        return {violation.field: violation.description for violation in error.violations}
    return {}


def test_a_right_request_passes() -> None:
    assert violations() == {}


@pytest.mark.parametrize(
    ("changes", "field", "description"),
    [
        ({"title": ""}, "title", "is required"),
        ({"title": "M"}, "title", "must have at least 2 characters"),
        ({"title": "M" * 41}, "title", "must have at most 40 characters"),
        ({"author": None}, "author", "is required"),
        ({"author": {}}, "author.name", "is required"),
        ({"author": {"name": "Ende", "email": "nobody"}}, "author.email", "must be an e-mail address"),
        ({"author": {"name": "Ende", "email": "a@b.c\n"}}, "author.email", "must be an e-mail address"),
        ({"author": {"name": "Ende", "friends": [{"name": "M"}, {}]}}, "author.friends[1].name", "is required"),
        ({"pages": 0}, "pages", "must be at least 1"),
        ({"pages": 5001}, "pages", "must be at most 5000"),
        ({"weight": -0.1}, "weight", "must be at least 0"),
        ({"weight": float("nan")}, "weight", "must be at least 0"),
        ({"tags": ["a", "B"]}, "tags[1]", "must match [a-z]+"),
        ({"tags": ["a", "b", "c", "d"]}, "tags", "must have at most 3 items"),
        ({"tags": ["a", "a"]}, "tags", "must not repeat an item"),
        ({"cover": "ftp://x"}, "cover", "must be an absolute http or https URI"),
        ({"cover": "javascript:alert(1)"}, "cover", "must be an absolute http or https URI"),
        ({"language": "x"}, "language", "must be a BCP 47 language tag"),
        ({"binding": 7}, "binding", "must be one of the values of the contract"),
        ({"price": Money(currency_code="EUR", units=-1)}, "price", "must be at least 0"),
        ({"price": Money(currency_code="eur", units=1)}, "price", "must have an ISO 4217 currencyCode"),
        (
            {"price": Money(currency_code="EUR", units=1, nanos=-1)},
            "price",
            "must have nanos within one unit and of the same sign",
        ),
        (
            {"price": Money(currency_code="EUR", nanos=1_000_000_000)},
            "price",
            "must have nanos within one unit and of the same sign",
        ),
        ({"title": "Mo\0mo"}, "title", "must not contain a NUL character"),
        ({"request_id": "a b"}, "requestId", "must match [A-Za-z0-9._:-]+"),
    ],
)
def test_a_broken_rule_names_the_field_as_json_callers_write_it(
    changes: dict[str, Any], field: str, description: str
) -> None:
    assert violations(**changes) == {field: description}


def test_all_violations_are_reported_at_once() -> None:
    found = violations(title="", pages=0, tags=["A"], author={"email": "x"})

    assert set(found) == {"title", "pages", "tags[0]", "author.name", "author.email"}


def test_a_violation_never_repeats_what_was_sent() -> None:
    with pytest.raises(InvalidArgument) as refused:
        validate(pb.AddBookRequest(title="Momo", author={"name": "Ende", "email": "s3cret"}, pages=1))

    assert "s3cret" not in str(refused.value)
    assert all("s3cret" not in violation.description for violation in refused.value.violations)


def test_an_answer_stays_small_however_much_is_wrong() -> None:
    friends: list[dict[str, str]] = [{} for _ in range(5000)]

    with pytest.raises(InvalidArgument) as refused:
        validate(pb.AddBookRequest(title="Momo", author={"name": "Ende", "friends": friends}, pages=1))

    assert len(refused.value.violations) == 100


def test_a_message_nothing_can_be_wrong_with_costs_nothing() -> None:
    assert compile_validator(pb.WhoAmIRequest.DESCRIPTOR, {}) is None
