"""What is shown of a dead letter: everything but what is personal."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from google.protobuf import descriptor_pool, message_factory
from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorSet
from mesh.events.v1.event_pb2 import Event
from mesh.v1 import options_pb2

from tests.library import image
from weft.cli.letters import LetterReader
from weft.contract import read_contract
from weft.events.broker import DeadLetter

LENT = "library.v1.BookLent"


@pytest.fixture(name="files", scope="module")
def _files() -> FileDescriptorSet:
    """The test contract, in which it is nobody's business who has lent a book, and a book has authors."""
    files = image()
    [file] = [file for file in files.file if file.package == "library.v1"]
    [lent] = [message for message in file.message_type if message.name == "BookLent"]
    lent.field[1].options.Extensions[options_pb2.field].sensitive = True
    author = {"type": FieldDescriptorProto.TYPE_MESSAGE, "type_name": ".library.v1.Author"}
    lent.field.add(name="first_author", number=20, label=FieldDescriptorProto.LABEL_OPTIONAL, **author)
    return files


@pytest.fixture(name="reader", scope="module")
def _reader(files: FileDescriptorSet) -> LetterReader:
    return LetterReader(files, read_contract(files.file))


def lent(files: FileDescriptorSet, **fields: Any) -> bytes:
    pool = descriptor_pool.DescriptorPool()
    for file in files.file:
        pool.Add(file)
    message = message_factory.GetMessageClass(pool.FindMessageTypeByName(LENT))(**fields)
    return bytes(message.SerializeToString())


def letter(data: bytes) -> DeadLetter:
    return DeadLetter.read(
        data,
        subscription="archive.loans",
        id="7",
        reason="SHELF_FULL",
        attempts=3,
        buried_time=datetime(2026, 11, 21, tzinfo=UTC),
    )


def test_an_event_is_shown_as_json_without_what_is_sensitive(files: FileDescriptorSet, reader: LetterReader) -> None:
    friend = {"name": "Bo", "email": "bo@example.com"}
    data = lent(
        files, book_id="dune", reader="ada", first_author={"name": "Al", "email": "al@example.com", "friends": [friend]}
    )
    envelope = Event(id="7", type=LENT, source="library", subject="dune", sequence=4, traceparent="00-1", data=data)

    found = reader.describe(letter(envelope.SerializeToString()))

    assert found["event"] == {
        "bookId": "dune",
        "reader": "(redacted)",
        "firstAuthor": {"name": "Al", "email": "(redacted)", "friends": [{"name": "Bo", "email": "(redacted)"}]},
    }
    assert (found["type"], found["subject"], found["sequence"], found["traceparent"]) == (LENT, "dune", 4, "00-1")
    assert (found["reason"], found["attempts"], found["problem"]) == ("SHELF_FULL", 3, None)
    assert "example.com" not in json.dumps(found)


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"\xff\xffada@example.com", "its 17 bytes can't be read"),
        (Event(type=LENT, data=b"\xff").SerializeToString(), "its 24 bytes can't be read"),
        (Event(type="library.v1.BookBurnt").SerializeToString(), "the contract has no library.v1.BookBurnt"),
        (b"", "the contract has no type for it"),
    ],
    ids=["no envelope", "no event", "an unknown event", "nothing"],
)
def test_what_can_not_be_read_is_said_and_not_shown(reader: LetterReader, data: bytes, problem: str) -> None:
    found = reader.describe(letter(data))

    assert (found["event"], found["problem"]) == (None, problem)
    assert found["reason"] == "SHELF_FULL"
