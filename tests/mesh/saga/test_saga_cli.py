"""`weft saga`: what a person sees of sagas, and what they can say of a stuck one."""

from __future__ import annotations

import asyncio
import json
from io import StringIO
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from tests.mesh.saga.harness import Replicas, Sagas, mark
from weft.cli.arguments import parser
from weft.cli.project import Project, ProjectError
from weft.cli.saga import saga
from weft.cli.state import State
from weft.cli.terminal import Terminal
from weft.data.postgres import EmbeddedPostgres
from weft.errors import FailedPrecondition
from weft.saga import Definition, Runner, Status, Step, StepCall


class Weft:
    """A project with two services, one of which keeps sagas; the other's database is not migrated yet."""

    def __init__(self, root: Path, urls: dict[str, str]) -> None:
        self.project = Project(root=root, services="services", image=Path("image"), local=None)
        for name in urls:
            (self.project.services_path / name / "migrations").mkdir(parents=True)
            (self.project.services_path / name / "__main__.py").touch()
        self.env = {f"{name.upper()}_DATABASE_URL": url for name, url in urls.items()}

    async def __call__(self, *arguments: str) -> tuple[int, str]:
        output = StringIO()
        options = parser().parse_args(["saga", *arguments])
        state = State(self.project.root / ".weft")
        code = await asyncio.to_thread(saga, options, self.project, state, Terminal(output, {}), self.env)
        return code, output.getvalue()


@pytest.fixture(name="weft")
def _weft(postgres: EmbeddedPostgres, saga_url: str, tmp_path: Path) -> Weft:
    return Weft(tmp_path, {"greeter": saga_url, "clock": postgres.ensure_database(f"test_{uuid4().hex}")})


class Till:
    """A definition whose last step is refused until it is mended."""

    def __init__(self) -> None:
        self.is_mended = False
        self.definition = Definition(
            name="sale",
            steps=(
                Step(name="confirm", record=mark("confirm"), pivot=True),
                Step(name="capture", action=self.capture),
            ),
        )

    async def capture(self, _: StepCall) -> None:
        if not self.is_mended:
            raise FailedPrecondition("the hold has expired", reason="HOLD_EXPIRED")


@pytest.fixture(name="till")
def _till() -> Till:
    return Till()


@pytest.fixture(name="runner")
async def _runner(till: Till, replicas: Replicas) -> Runner:
    return replicas.working(till.definition, holder="replica-1")


async def start(sagas: Sagas, runner: Runner) -> UUID:
    saga_id = await sagas.start(runner, "sale", email="ada@example.com")
    await runner.run(saga_id)
    await sagas.over(saga_id)
    return saga_id


async def test_sagas_are_listed_with_what_they_wait_for(weft: Weft, till: Till, runner: Runner, sagas: Sagas) -> None:
    stuck = await start(sagas, runner)
    till.is_mended = True
    done = await start(sagas, runner)

    code, everything = await weft("list")
    _, only_stuck = await weft("list", "--stuck")

    assert code == 0
    header, *lines = everything.splitlines()
    assert header.split() == ["saga", "service", "definition", "status", "step", "attempt", "age", "reason"]
    assert lines[0].split()[:6] == [str(stuck), "greeter", "sale", "stuck", "capture", "1"]
    assert lines[0].endswith("HOLD_EXPIRED")
    assert lines[1].split()[:4] == [str(done), "greeter", "sale", "done"]
    assert str(done) not in only_stuck


async def test_the_list_is_json_for_programs(weft: Weft, runner: Runner, sagas: Sagas) -> None:
    stuck = await start(sagas, runner)

    _, output = await weft("list", "--json", "--service", "greeter")

    [listed] = json.loads(output)
    assert (listed["saga_id"], listed["status"], listed["reason"]) == (str(stuck), "stuck", "HOLD_EXPIRED")


async def test_a_timeline_tells_what_happened_when_and_where_and_nothing_personal(
    weft: Weft, runner: Runner, sagas: Sagas
) -> None:
    saga_id = await start(sagas, runner)

    code, output = await weft("show", str(saga_id))
    head, table = output.split("\n\n")

    assert code == 0
    assert [line.split()[0] for line in head.splitlines()] == [
        "saga", "service", "definition", "began", "status", "because", "to", "to",
    ]  # fmt: skip
    assert "stuck, after the pivot" in head
    assert "capture: HOLD_EXPIRED: the hold has expired" in head
    rows = [line.split() for line in table.splitlines()]
    assert rows[0] == ["time", "+ms", "step", "what", "attempt", "replica", "reason"]
    assert [row[2:4] for row in rows[1:]] == [
        ["confirm", "started"], ["confirm", "done"], ["capture", "started"], ["capture", "refused"],
        ["capture", "stuck"],
    ]  # fmt: skip
    assert rows[-1][4:] == ["1", "replica-1", "HOLD_EXPIRED"]
    assert "ada@example.com" not in output


async def test_what_a_saga_holds_is_shown_to_who_asks_for_it(weft: Weft, runner: Runner, sagas: Sagas) -> None:
    saga_id = await start(sagas, runner)

    _, output = await weft("show", str(saga_id), "--data")

    assert '"email": "ada@example.com"' in output


async def test_a_stuck_saga_goes_on_when_told_and_only_that_one(
    weft: Weft, till: Till, runner: Runner, sagas: Sagas
) -> None:
    saga_id = await start(sagas, runner)
    till.is_mended = True

    code, output = await weft("resume", str(saga_id))
    status = await sagas.over(saga_id)
    again, refusal = await weft("resume", str(saga_id))

    assert (code, status, again) == (0, Status.DONE, 1)
    assert "sale goes on at capture" in output
    assert "it is done: only a stuck saga can be resumed" in refusal


async def test_a_stuck_saga_that_was_repaired_by_hand_is_closed_with_a_reason_and_nothing_is_run(
    weft: Weft, till: Till, runner: Runner, sagas: Sagas
) -> None:
    saga_id = await start(sagas, runner)
    till.is_mended = True

    code, output = await weft("close", str(saga_id), "--reason", "captured at the bank's counter")
    _, still_stuck = await weft("list", "--stuck")
    _, everything = await weft("list")
    _, shown = await weft("show", str(saga_id))
    progress = await runner.run(saga_id)

    assert (code, progress.status) == (0, Status.CLOSED)
    assert "sale is closed as it stands, at capture" in output
    assert str(saga_id) not in still_stuck
    assert everything.splitlines()[1].endswith("captured at the bank's counter")
    assert "closed, after the pivot" in shown
    last = shown.splitlines()[-1].split(maxsplit=5)
    assert last[2:] == ["capture", "closed", "1", "weft saga close  captured at the bank's counter"]
    assert (await sagas.log(saga_id))[-2].kind == "stuck"
    assert "weft saga resume" not in shown


async def test_only_a_stuck_saga_can_be_closed_and_a_closed_one_is_not_resumed(
    weft: Weft, till: Till, runner: Runner, sagas: Sagas
) -> None:
    stuck = await start(sagas, runner)
    till.is_mended = True
    done = await start(sagas, runner)
    await weft("close", str(stuck), "--reason", "repaired")

    refused = [
        await weft("close", str(done), "--reason", "repaired"),
        await weft("close", str(stuck), "--reason", "again"),
        await weft("resume", str(stuck)),
    ]

    assert refused == [
        (1, "failed: it is done: only a stuck saga can be closed\n"),
        (1, "failed: it is closed: only a stuck saga can be closed\n"),
        (1, "failed: it is closed: only a stuck saga can be resumed\n"),
    ]


@pytest.mark.parametrize("reason", [[], ["--reason", " "], ["--reason", "two\nlines"], ["--reason", "x" * 201]])
async def test_a_saga_is_closed_for_a_reason_of_one_line(
    weft: Weft, reason: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        await weft("close", str(uuid4()), *reason)

    assert "--reason" in capsys.readouterr().err


async def test_what_is_not_there_is_said_in_one_line(weft: Weft) -> None:
    unknown = uuid4()

    code, output = await weft("show", str(unknown))
    empty = await weft("list", "--stuck", "--service", "clock")

    assert (code, output) == (1, f"failed: no saga {unknown} in the databases of clock, greeter\n")
    assert empty == (0, "no saga is stuck\n")
    with pytest.raises(ProjectError, match="no service till with a database; there are clock, greeter"):
        await weft("list", "--service", "till")


async def test_without_any_database_it_says_how_to_name_one(weft: Weft) -> None:
    weft.env.clear()

    code, output = await weft("list")

    assert code == 1
    assert "no mesh runs from" in output
    assert "<NAME>_DATABASE_URL" in output


async def test_a_database_that_is_away_hides_no_other(weft: Weft, runner: Runner, sagas: Sagas) -> None:
    saga_id = await start(sagas, runner)
    weft.env["CLOCK_DATABASE_URL"] = "postgresql://nobody@127.0.0.1:1/none"

    code, output = await weft("list")

    assert code == 1
    assert "clock: the database cannot be reached" in output
    assert str(saga_id) in output
