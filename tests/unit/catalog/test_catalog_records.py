"""A file is cut into its records, wherever its pieces are torn."""

from __future__ import annotations

import csv
import io
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.catalog.records import MAX_RECORD_BYTES, ImportMalformed, Record, Records

CELLS = st.text(alphabet=st.sampled_from('ab ,"\n\r\u00e4'), max_size=6)
ROWS = st.lists(st.lists(CELLS, min_size=2, max_size=3), max_size=6)
CUTS = st.lists(st.integers(0, 200), max_size=8)


def cut(data: bytes, *cuts: int, quoted: bool = True) -> list[Record]:
    """Return the records of a file that comes in pieces which end at *cuts*."""
    records = Records(quoted=quoted)
    edges = [0, *sorted(min(each, len(data)) for each in cuts), len(data)]
    found = [record for begin, end in pairwise(edges) for record in records.feed(data[begin:end])]
    return [*found, *records.end()]


@given(ROWS, CUTS, st.sampled_from(["\n", "\r\n"]), st.booleans())
def test_what_python_writes_as_csv_is_cut_into_what_was_written(
    rows: list[list[str]], cuts: list[int], line_end: str, ends_with_one: bool
) -> None:
    file = io.StringIO(newline="")
    # With a line end of its own, Python does not quote a carriage return by itself.
    if line_end == "\n":
        csv.writer(file, lineterminator=line_end, quoting=csv.QUOTE_ALL).writerows(rows)
    else:
        csv.writer(file, lineterminator=line_end).writerows(rows)
    data = file.getvalue() if ends_with_one else file.getvalue().removesuffix(line_end)

    records = cut(data.encode(), *cuts)

    assert [next(csv.reader([record.text.decode()], strict=True)) for record in records] == rows
    assert [record.problem for record in records] == [""] * len(rows)


@given(st.binary(max_size=200).map(lambda data: data.replace(b"x", b'"').replace(b"y", b"\n")), CUTS)
def test_whatever_comes_is_cut_the_same_however_it_is_torn(data: bytes, cuts: list[int]) -> None:
    assert cut(data, *cuts) == cut(data)
    assert cut(data, *cuts, quoted=False) == cut(data, quoted=False)


def test_a_record_is_found_where_an_editor_shows_its_beginning() -> None:
    data = b'a,b\n\n"two\nlines",2\n  \r\nc,"x ""y"", z"\nlast,1'

    assert cut(data) == [
        Record(1, b"a,b"),
        Record(3, b'"two\nlines",2'),
        Record(6, b'c,"x ""y"", z"'),
        Record(7, b"last,1"),
    ]


def test_a_byte_order_mark_is_no_part_of_the_first_line() -> None:
    data = b"\xef\xbb\xbfsku\nA\n"

    assert [cut(data, edge)[0] for edge in range(5)] == [Record(1, b"sku")] * 5


def test_quotes_inside_a_field_that_does_not_begin_with_one_are_text() -> None:
    assert [record.text for record in cut(b'a,5" pipe\nb,6" pipe\n')] == [b'a,5" pipe', b'b,6" pipe']


@pytest.mark.parametrize(
    ("data", "wrong"),
    [
        (b'a,1\nb,"x"y\nc,3\n', {2}),
        (b'a,1\nb,"x\nc,3\nd,4\n', {2}),
        (b'a,1\nb,"x\nc,"3"\nd,4\n', {2}),
        (b'"a\n"b\n"c\nd,4\n', {1, 2, 3}),
        (b'a,1\n"', {2}),
    ],
)
def test_a_quote_that_is_wrong_costs_its_own_line_only(data: bytes, wrong: set[int]) -> None:
    records = cut(data)

    assert {record.line for record in records if record.problem} == wrong
    assert [record.line for record in records] == list(range(1, data.rstrip(b"\n").count(b"\n") + 2))


@pytest.mark.parametrize("quoted", [True, False])
def test_a_line_may_have_64_kib_and_not_one_byte_more(*, quoted: bool) -> None:
    longest = b"x" * (MAX_RECORD_BYTES - 1) + b"\n"

    assert len(cut(longest, quoted=quoted)) == 1
    with pytest.raises(ImportMalformed) as refused:
        cut(b"a\n" + b"x" + longest, quoted=quoted)

    assert (refused.value.reason, refused.value.metadata) == ("IMPORT_MALFORMED", {"line": "2"})


def test_a_quote_that_is_not_closed_holds_no_more_than_a_line_may_have() -> None:
    records = Records(quoted=True)

    with pytest.raises(ImportMalformed):
        for _ in range(1000):
            assert list(records.feed(b'"' + b"line\n" * 100 if not records._held else b"line\n" * 100)) == []
            assert len(records._rest) + sum(map(len, records._held)) <= MAX_RECORD_BYTES


def test_lines_of_json_know_nothing_of_quotes() -> None:
    assert cut(b'{"a": "\n"}\r\n', quoted=False) == [Record(1, b'{"a": "'), Record(2, b'"}')]
