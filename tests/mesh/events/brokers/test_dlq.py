"""`weft dlq`, as the person at the terminal sees it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine
from io import StringIO
from pathlib import Path
from typing import TypeVar
from uuid import uuid4

import aio_pika
import pytest
from mesh.events.v1.event_pb2 import Event
from mesh.v1 import options_pb2

from tests.library import image, pb
from tests.mesh.events.brokers.parts import apply, bury, publish
from weft.cli.__main__ import main
from weft.contract import Subscription
from weft.events.broker import Broker, open_broker

LENT = "library.v1.BookLent"

T = TypeVar("T")
Dlq = Callable[..., tuple[int, str]]


@pytest.fixture(name="hearing")
def _hearing() -> Subscription:
    return Subscription(name=f"library.loans-{uuid4().hex[:8]}", service="library", events=(LENT + uuid4().hex[:8],))


@pytest.fixture(name="dlq")
def _dlq(
    broker_url: str,
    hearing: Subscription,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Dlq:
    """Run the command in a project with one subscription; return its exit code and what it says."""
    files = image()
    [file] = [file for file in files.file if file.package == "library.v1"]
    policy = file.service[0].options.Extensions[options_pb2.service]
    policy.subscriptions.add(name=hearing.name.partition(".")[2], events=hearing.events)
    [lent] = [message for message in file.message_type if LENT.endswith(message.name)]
    file.message_type.add().MergeFrom(lent)
    file.message_type[-1].name = hearing.events[0].rpartition(".")[2]
    (tmp_path / "image.binpb").write_bytes(files.SerializeToString())
    (tmp_path / "pyproject.toml").write_text('[tool.weft]\nservices = "services"\nimage = "image.binpb"\n')
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WEFT_BROKER_URL", broker_url)

    def run(*arguments: str) -> tuple[int, str]:
        code = main(["dlq", *arguments])
        said = capsys.readouterr()
        return code, said.out + said.err

    return run


@pytest.fixture(name="ids")
def _ids(broker_url: str, hearing: Subscription) -> list[str]:
    """Three dead letters; a fourth event waits."""
    events = [
        Event(
            id=str(uuid4()), type=hearing.events[0], source="library", subject=f"book-{number}", sequence=number,
            data=pb.BookLent(book_id=f"book-{number}", number=number).SerializeToString(),
        )
        for number in range(4)
    ]  # fmt: skip

    async def prepare(broker: Broker) -> list[str]:
        await broker.declare(hearing)
        await publish(broker, *events)
        return await bury(broker, hearing, 3)

    return with_broker(broker_url, prepare)


def with_broker(url: str, work: Callable[[Broker], Coroutine[object, object, T]]) -> T:
    async def run() -> T:
        async with open_broker(url, name="test") as broker:
            return await work(broker)

    return asyncio.run(run())


@pytest.mark.usefixtures("ids")
def test_list_counts_what_waits_and_what_is_dead(dlq: Dlq, hearing: Subscription) -> None:
    code, said = dlq("list")

    assert code == 0
    header, row = said.splitlines()
    assert header.split() == ["subscription", "waiting", "dead", "oldest"]
    assert row.split()[:3] == [hearing.name, "1", "3"]
    [found] = json.loads(dlq("list", "--json")[1])
    assert (found["subscription"], found["waiting"], found["dead"]) == (hearing.name, 1, 3)
    assert found["oldest_buried_time"].startswith("2026-11-21T05:30")


def test_list_of_a_subscription_tells_each_letter(dlq: Dlq, hearing: Subscription, ids: list[str]) -> None:
    code, said = dlq("list", hearing.name)

    assert code == 0
    assert [line.split()[0] for line in said.splitlines()[1:]] == ids
    assert "SHELF_FULL" in said
    assert "book-0" in said
    assert [each["id"] for each in json.loads(dlq("list", hearing.name, "--json", "-n", "2")[1])] == ids[:2]


def test_show_tells_the_envelope_and_the_event(dlq: Dlq, hearing: Subscription, ids: list[str]) -> None:
    code, said = dlq("show", hearing.name, ids[1])

    assert code == 0
    assert "SHELF_FULL" in said
    assert '"bookId": "book-1"' in said
    assert json.loads(dlq("show", hearing.name, ids[1], "--json")[1])["event"]["number"] == 1
    assert dlq("show", hearing.name, str(uuid4()))[0] == 1


def test_what_is_redriven_is_heard_again(dlq: Dlq, hearing: Subscription, ids: list[str], broker_url: str) -> None:
    code, said = dlq("redrive", hearing.name, ids[2])

    assert code == 0
    assert "1 given back" in said
    assert with_broker(broker_url, lambda broker: apply(broker, hearing, 2)) == [3, 2]
    assert dlq("redrive", hearing.name, "--all")[0] == 0
    assert with_broker(broker_url, lambda broker: apply(broker, hearing, 2)) == [0, 1]
    assert f"no dead letters of {hearing.name}" in dlq("list", hearing.name)[1]


def test_an_id_that_is_not_there_is_a_failure(dlq: Dlq, hearing: Subscription, ids: list[str]) -> None:
    code, said = dlq("redrive", hearing.name, ids[0], str(uuid4()))

    assert code == 1
    assert "1 given back" in said
    assert "1 of those named is not among the dead letters" in said


def test_dropping_asks_first(dlq: Dlq, hearing: Subscription, ids: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    refused = dlq("drop", hearing.name, "--all")
    monkeypatch.setattr("sys.stdin", Person("n\n"))
    declined = dlq("drop", hearing.name, "--all")
    monkeypatch.setattr("sys.stdin", Person("y\n"))
    agreed = dlq("drop", hearing.name, ids[0])
    told = dlq("drop", hearing.name, "--all", "--yes")

    assert refused[0] == 1
    assert "--yes" in refused[1]
    assert declined[0] == 1
    assert f"drop 3 dead letters of {hearing.name} for good?" in declined[1]
    assert agreed[0] == 0
    assert "drop 1 dead letter of" in agreed[1]
    assert told[0] == 0
    assert "2 dropped" in told[1]


def test_what_is_asked_wrongly_is_explained(dlq: Dlq, hearing: Subscription) -> None:
    code, said = dlq("list", "library.laons")

    assert code == 2
    assert said.endswith(f"no subscription library.laons; there are {hearing.name}\n")
    with pytest.raises(SystemExit):
        dlq("redrive", hearing.name)


def test_a_broker_that_is_away_is_named_without_its_password(dlq: Dlq, broker_url: str) -> None:
    scheme = broker_url.partition(":")[0]

    code, said = dlq("list", "--broker-url", f"{scheme}://ada:secret@127.0.0.1:1/")

    assert code == 1
    assert said.endswith(f"the broker can't be reached: {scheme}://127.0.0.1:1/\n")
    assert "secret" not in said


def test_without_a_broker_it_says_where_one_may_come_from(dlq: Dlq, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WEFT_BROKER_URL")

    code, said = dlq("list")

    assert code == 1
    assert "no broker is known" in said


def test_what_is_published_after_declare_waits_for_a_subscriber_that_starts_later(
    dlq: Dlq, broker_url: str, hearing: Subscription
) -> None:
    del dlq  # has made the project
    event = Event(id=str(uuid4()), type=hearing.events[0], source="library", subject="dune", sequence=7)

    code = main(["declare"])
    with_broker(broker_url, lambda broker: publish(broker, event))

    assert code == 0
    assert with_broker(broker_url, lambda broker: apply(broker, hearing, 1)) == [7]


@pytest.mark.parametrize("broker_server", ["rabbitmq"], indirect=True)
def test_declare_names_a_queue_that_is_in_the_way_and_what_to_do_about_it(
    dlq: Dlq, broker_url: str, hearing: Subscription, capsys: pytest.CaptureFixture[str]
) -> None:
    del dlq  # has made the project

    async def declare_otherwise() -> None:
        async with await aio_pika.connect(broker_url) as connection:
            await (await connection.channel()).declare_queue(hearing.name, durable=True)

    asyncio.run(declare_otherwise())
    code = main(["declare"])

    assert code == 1
    assert f"rabbitmqctl delete_queue {hearing.name}" in capsys.readouterr().err


class Person(StringIO):
    def isatty(self) -> bool:
        return True
