"""A statement is compiled once; what can't be run without SQLAlchemy is refused then, not at the first call."""

from __future__ import annotations

import enum

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY

from weft.data import prepare


class Colour(enum.Enum):
    RED = "red"


class Upper(sa.TypeDecorator[str]):
    impl = sa.Text
    cache_ok = True


jars = sa.table(
    "jars",
    sa.column("jar_id", sa.Uuid),
    sa.column("label", sa.Text),
    sa.column("shelf", sa.Integer),
    sa.column("colour", sa.Enum(Colour)),
    sa.column("upper", Upper),
)


def test_parameters_keep_their_order_and_constants_their_place() -> None:
    statement = prepare(
        sa.select(jars.c.label)
        .where(jars.c.shelf > 5, jars.c.jar_id == sa.bindparam("jar_id"), jars.c.label != "")
        .limit(sa.bindparam("count"))
    )

    assert statement.names == ("jar_id", "count")
    assert statement.arguments({"count": 3, "jar_id": "j"}) == [5, "j", "", 3]
    assert "$4" in statement.sql


def test_a_parameter_used_twice_is_given_once() -> None:
    word = sa.bindparam("word", type_=sa.Text)
    statement = prepare(sa.select(jars.c.jar_id).where((jars.c.label == word) | (word == "")))

    assert statement.names == ("word",)
    assert set(statement.arguments({"word": "plum"})) == {"plum", ""}


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ({}, r"missing parameters \['label', 'shelf'\], unknown parameters \[\]"),
        ({"label": "x", "shelf": 1, "lable": 2}, r"missing parameters \[\], unknown parameters \['lable'\]"),
        ({"label": "x", "shelv": 1}, r"missing parameters \['shelf'\], unknown parameters \['shelv'\]"),
    ],
)
def test_missing_and_unknown_parameters_are_named(given: dict[str, object], complaint: str) -> None:
    statement = prepare(
        sa.select(jars.c.jar_id).where(jars.c.label == sa.bindparam("label"), jars.c.shelf == sa.bindparam("shelf"))
    )

    with pytest.raises(TypeError, match=complaint):
        statement.arguments(given)


@pytest.mark.parametrize(
    "statement",
    [
        sa.select(jars.c.colour),
        sa.select(jars.c.upper),
        sa.select(jars.c.label).where(jars.c.colour == sa.bindparam("colour")),
        sa.select(jars.c.label).where(jars.c.upper == sa.bindparam("upper")),
        sa.select(jars.c.label).where(jars.c.shelf.in_(sa.bindparam("shelves"))),
        sa.insert(jars).values(label="plum"),
        sa.text("SELECT 1"),
    ],
)
def test_what_needs_sqlalchemy_at_run_time_is_refused(statement: sa.Select[tuple[object]]) -> None:
    with pytest.raises(TypeError):
        prepare(statement)


def test_an_array_stands_for_a_list_of_values() -> None:
    shelves = sa.bindparam("shelves", type_=ARRAY(sa.Integer))
    statement = prepare(sa.select(jars.c.label).where(jars.c.shelf == sa.any_(shelves)))

    assert statement.arguments({"shelves": [1, 2]}) == [[1, 2]]
    assert "ANY ($1::INTEGER[])" in statement.sql
