"""The events of a contract as AsyncAPI: who publishes, who hears, and what."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from mesh.v1 import options_pb2

from tests.library import PROTO, image
from weft.contract import ContractError, load_image, read_contract
from weft.contract.asyncapi import build_asyncapi, render_asyncapi

ROOT = Path(__file__).parents[3]
LENT = "library.v1.BookLent"


def library(*heard: str) -> FileDescriptorSet:
    """Return the test contract; its service hears of *heard*."""
    files = image()
    [file] = [file for file in files.file if file.name == PROTO]
    policy = file.service[0].options.Extensions[options_pb2.service]
    del policy.subscriptions[:]
    if heard:
        policy.subscriptions.add(name="loans", events=heard, max_attempts=5)
    return files


def document(*heard: str) -> dict[str, Any]:
    files = library(*heard).file
    return build_asyncapi(read_contract(files), files, title="Library", version="7")


def references(part: Any) -> Iterator[str]:
    if isinstance(part, dict):
        if "$ref" in part:
            yield part["$ref"]
        for each in part.values():
            yield from references(each)
    elif isinstance(part, list):
        for each in part:
            yield from references(each)


def resolve(whole: Any, reference: str) -> Any:
    for name in reference.removeprefix("#/").split("/"):
        whole = whole[name]
    return whole


def test_each_event_is_a_channel_with_its_message() -> None:
    described = document()

    channel = described["channels"][LENT]
    assert (described["asyncapi"], described["info"]) == ("3.0.0", {"title": "Library", "version": "7"})
    assert channel["address"] == f"weft.events.{LENT}"
    assert channel["description"] == "A book has left the library."
    message = resolve(described, channel["messages"]["BookLent"]["$ref"])
    assert message["summary"] == "A book has left the library"
    assert message["x-subject"] == "bookId"
    assert resolve(described, message["payload"]["$ref"])["properties"]["number"]["type"] == "integer"


def test_the_publisher_sends() -> None:
    operation = document()["operations"]["library.publish.BookLent"]

    assert operation["action"] == "send"
    assert operation["channel"] == {"$ref": f"#/channels/{LENT}"}
    assert operation["messages"] == [{"$ref": f"#/channels/{LENT}/messages/BookLent"}]
    assert operation["tags"] == [{"name": "library"}]


def test_a_subscription_receives_each_of_its_events() -> None:
    operations = document(LENT, "library.v1.BookReturned")["operations"]

    received = {name for name, operation in operations.items() if operation["action"] == "receive"}
    assert received == {"library.loans.BookLent", "library.loans.BookReturned"}
    assert operations["library.loans.BookLent"]["x-subscription"] == "library.loans"
    assert "After 5 attempts" in operations["library.loans.BookLent"]["summary"]


def test_a_subscription_to_an_event_that_nobody_publishes_is_refused() -> None:
    with pytest.raises(ContractError, match=r"library\.loans names library\.v1\.BookBurnt, which is no event"):
        document("library.v1.BookBurnt")


@pytest.mark.parametrize("files", [library(LENT), load_image(ROOT / "gen" / "image.binpb")], ids=["library", "shop"])
def test_every_reference_leads_somewhere_and_every_operation_to_its_channels_own_message(
    files: FileDescriptorSet,
) -> None:
    contract = read_contract(files.file)
    described = build_asyncapi(contract, files.file, title="Events", version="1")

    for reference in references(described):
        assert isinstance(resolve(described, reference), dict)
    for operation in described["operations"].values():
        assert resolve(described, operation["channel"]["$ref"])["address"].startswith("weft.events.")
        assert all(each["$ref"].startswith(operation["channel"]["$ref"]) for each in operation["messages"])
    assert set(described["channels"]) == set(contract.events)


def test_the_envelope_is_described_once_and_without_the_payload() -> None:
    files = load_image(ROOT / "gen" / "image.binpb").file
    described = build_asyncapi(read_contract(files), files, title="Events", version="1")

    envelope = described["components"]["messageTraits"]["Envelope"]["headers"]["properties"]
    assert {"id", "subject", "sequence", "traceparent"} <= set(envelope)
    assert "data" not in envelope


def test_the_committed_document_is_what_the_command_writes(tmp_path: Path) -> None:
    written, source = tmp_path / "asyncapi.json", ROOT / "gen" / "image.binpb"
    command = (sys.executable, "-m", "weft.contract", "asyncapi", source, "--output", written)
    subprocess.run(command, cwd=ROOT, check=True, env={"PYTHONPATH": f"{ROOT}:{ROOT / 'gen'}"})

    assert json.loads(written.read_text()) == json.loads((ROOT / "gen" / "asyncapi.json").read_text())


def test_the_command_says_what_is_wrong(tmp_path: Path) -> None:
    broken = tmp_path / "image.binpb"
    broken.write_bytes(library("library.v1.BookBurnt").SerializeToString())
    command = (sys.executable, "-m", "weft.contract", "asyncapi", broken, "--output", tmp_path / "asyncapi.json")

    failed = subprocess.run(
        command, cwd=ROOT, check=False, env={"PYTHONPATH": f"{ROOT}:{ROOT / 'gen'}"}, capture_output=True, text=True
    )

    assert failed.returncode == 1
    assert "which is no event" in failed.stderr


def test_equal_contracts_give_equal_text() -> None:
    first, second = library(LENT).file, library(LENT).file

    assert render_asyncapi(read_contract(first), first, title="L", version="1") == render_asyncapi(
        read_contract(second), second, title="L", version="1"
    )
