"""What operators rely on: sagas survive a database that is away, are counted, and are forgotten in the end."""

from __future__ import annotations

import asyncio
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import uuid4

import pytest
import sqlalchemy as sa
from prometheus_client import REGISTRY

from tests.library import SERVICE, pb, pb_grpc
from tests.mesh.saga.harness import QUICK, Fault, MortalDatabase, Peer, Replicas, Sagas, create_tables, mark
from weft.call import caller
from weft.client import Peers
from weft.data import Database
from weft.data.migrate import migrate, new_revision
from weft.data.postgres import EmbeddedPostgres
from weft.errors import FailedPrecondition
from weft.saga import Definition, Status, Step, StepCall, timeline
from weft.saga.tables import sagas as table
from weft.telemetry import Tracing
from weft.testing import serving


async def nothing(_: StepCall) -> None: ...


async def refuse(_: StepCall) -> None:
    raise FailedPrecondition("no", reason="NO")


def value(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


async def until_true(condition: Any) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.01)


async def test_a_database_that_goes_away_delays_sagas_and_nothing_else() -> None:
    with (
        TemporaryDirectory(prefix="weft-postgres-") as folder,
        EmbeddedPostgres(Path(folder), durable=False) as postgres,
    ):
        url = postgres.ensure_database("sagas")
        migrate(url)
        create_tables(url)
        entered, gate = asyncio.Event(), asyncio.Event()

        async def wait(_: StepCall) -> None:
            entered.set()
            await gate.wait()

        definition = Definition(
            name="away", steps=(Step(name="wait", action=wait, timeout_s=30.0), Step(name="mark", record=mark("mark")))
        )
        async with Database.open(url, checkout_s=2) as database:
            replicas, sagas = Replicas(database), Sagas(database)
            runner = replicas.working(definition)
            before = await sagas.start(runner, "away")
            running = asyncio.create_task(runner.run(before))
            waiting = await sagas.start(replicas.idle(definition), "away")
            await entered.wait()

            await asyncio.to_thread(postgres.stop)
            gate.set()  # the step ends while nothing can be written
            await asyncio.sleep(0.2)
            await asyncio.to_thread(postgres.start)
            await sagas.expire_lease(waiting)

            assert (await running).status is Status.DONE
            assert {await sagas.over(saga_id) for saga_id in (before, waiting)} == {Status.DONE}
            assert await sagas.steps(before, "lease_taken") == []  # what was done was written when that was possible
            await replicas.stop()


@pytest.mark.parametrize("fault", [Fault.LOST_BEFORE, Fault.LOST_AFTER])
async def test_a_commit_nobody_knows_of_is_found_or_made_again(
    fault: Fault, peer: Peer, sagas: Sagas, replicas: Replicas, database: Database
) -> None:
    async def act(call: StepCall) -> None:
        await peer.act(call, "reserve")

    definition = Definition(
        name="lost",
        steps=(
            Step(name="reserve", action=act, record=mark("reserve")),
            Step(name="mark", record=mark("mark")),
            Step(name="rest", action=nothing),
        ),
    )
    shaky = MortalDatabase(database, {1: fault})
    runner = replicas.idle(definition, database=shaky.as_database())

    saga_id = await sagas.start(runner, "lost")
    await runner.run(saga_id)

    assert await sagas.over(saga_id) is Status.DONE
    assert await sagas.steps(saga_id, "done") == ["reserve", "mark", "rest"]
    assert [step for step, _ in peer.calls] == ["reserve"]


async def test_ends_steps_and_what_waits_for_a_person_are_counted(
    sagas: Sagas, replicas: Replicas, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("weft.saga.runner._SAMPLE_S", 0.02)
    name = f"counted-{uuid4().hex}"
    definition = Definition(
        name=name,
        steps=(Step(name="confirm", record=mark("confirm"), pivot=True), Step(name="send", action=refuse)),
    )
    runner = replicas.working(definition)

    saga_id = await sagas.start(runner, name)
    await runner.run(saga_id)
    await sagas.over(saga_id)
    await until_true(lambda: value("weft_saga_stuck", definition=name) == 1)
    assert await timeline.close(database, saga_id, who="a person", reason="sent by hand")
    await until_true(lambda: value("weft_saga_stuck", definition=name) == 0)

    assert value("weft_saga_ended_total", definition=name, status="stuck") == 1
    assert value("weft_saga_step_seconds_count", definition=name, step="confirm", outcome="done") == 1
    assert value("weft_saga_step_seconds_count", definition=name, step="send", outcome="refused") == 1


async def test_sagas_that_are_over_are_forgotten_however_many_and_stuck_ones_are_not(
    sagas: Sagas, replicas: Replicas, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("weft.saga.runner._SWEPT", 1)
    done = Definition(name="done", steps=(Step(name="go", action=nothing),))
    stuck = Definition(
        name="stuck", steps=(Step(name="go", action=nothing, pivot=True), Step(name="no", action=refuse))
    )
    runner = replicas.idle(done, stuck)
    ids = [await sagas.start(runner, name) for name in ("done", "stuck", "done", "stuck")]
    for saga_id in ids:
        await runner.run(saga_id)
        await sagas.over(saga_id)
    await timeline.close(database, ids[3], who="a person", reason="done by hand")

    replicas.working(done, stuck, keep_s=0.0)

    async def left() -> set[Any]:
        async with database.transaction() as tx:
            rows = await tx.all(sa.text("SELECT DISTINCT saga_id FROM sagas NATURAL JOIN saga_log"))
        return {row.saga_id for row in rows}

    async with asyncio.timeout(30):
        while await left() != {ids[1]}:
            await asyncio.sleep(0.01)


async def test_a_step_calls_its_peer_as_the_service_it_belongs_to(sagas: Sagas, replicas: Replicas) -> None:
    seen: list[str] = []

    class Library(pb_grpc.LibraryServiceServicer):  # type: ignore[misc]  # generated without types
        async def CountBooks(self, request: Any, context: Any) -> Any:
            seen.append(caller().subject)
            return pb.CountBooksResponse()

        async def GetBook(self, request: Any, context: Any) -> Any:
            raise NotImplementedError

        AddBook = WhoAmI = ReadPages = WritePages = Discuss = GetBook

    async with serving({SERVICE: Library()}) as server:
        tokens = server.service_tokens("archive")
        async with Peers(Tracing("test"), {"library": server.target}, tokens) as peers:
            stub = peers.stub(pb_grpc.LibraryServiceStub, "library")

            async def count(_: StepCall) -> None:
                await stub.CountBooks(pb.CountBooksRequest())

            runner = replicas.idle(Definition(name="count", steps=(Step(name="count", action=count, retry=QUICK),)))
            saga_id = await sagas.start(runner, "count")
            progress = await runner.run(saga_id)

    assert progress.status is Status.DONE
    assert seen == ["service:archive"]


def test_the_migration_makes_the_tables_the_code_speaks_of(postgres: EmbeddedPostgres, tmp_path: Path) -> None:
    url = postgres.ensure_database(f"test_{uuid4().hex}")
    (tmp_path / "versions").mkdir()
    migrate(url, tmp_path)

    difference = new_revision(url, tmp_path, "difference", table.metadata)

    assert "op." not in difference.read_text()
