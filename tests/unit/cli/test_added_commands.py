"""Commands that a project adds to `weft`."""

from __future__ import annotations

import json
import os
import signal
import sys
from io import StringIO
from pathlib import Path

import pytest

from weft.cli.__main__ import main
from weft.cli.added import CommandContext, run_added
from weft.cli.arguments import parser
from weft.cli.project import ProjectError, find_project
from weft.cli.state import MeshRecord, ProcessRecord, State
from weft.cli.terminal import Terminal

COMMAND = """
import json
from weft.cli.added import CommandFailed
HELP = "lend a book"
EXAMPLES = ("weft lend momo",)
def add_arguments(parser):
    parser.add_argument("title")
def run(options, context):
    if options.title == "lost":
        raise CommandFailed("it is lost")
    context.terminal.line(json.dumps([options.title, context.gateway_url, str(context.state)]))
    return 3
"""


@pytest.fixture(name="project_root")
def _project_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "pyproject.toml").write_text(
        '[tool.weft]\nservices = "services"\nimage = "gen/image.binpb"\n'
        '[tool.weft.commands]\nlend = "lending_command"\nbroken = "no_such_module"\n'
    )
    (tmp_path / "lending_command.py").write_text(COMMAND)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, "lending_command", raising=False)
    return tmp_path


def without_broken(root: Path) -> None:
    path = root / "pyproject.toml"
    path.write_text(path.read_text().replace('broken = "no_such_module"\n', ""))


def test_a_projects_command_is_run_with_its_arguments(project_root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    without_broken(project_root)

    code = main(["lend", "momo"])

    assert code == 3
    assert json.loads(capsys.readouterr().out) == ["momo", None, str(project_root / ".weft")]


def test_it_knows_the_mesh_that_runs(tmp_path: Path) -> None:
    state = State(tmp_path)
    supervisor = ProcessRecord.of("weft", os.getpid(), stop_signal=signal.SIGTERM)
    urls = {"gateway": "http://127.0.0.1:8080"}
    state.write(MeshRecord(supervisor=supervisor, phase="ready", command_port=1, command_token="", urls=urls))
    seen: list[CommandContext] = []

    class Added:
        def run(self, options: object, context: CommandContext) -> int:
            seen.append(context)
            return 0

    class Options:
        added = Added()

    assert run_added(Options(), state, Terminal(StringIO(), {})) == 0  # type: ignore[arg-type]  # all it looks at
    assert (seen[0].gateway_url, seen[0].state) == ("http://127.0.0.1:8080", tmp_path)


def test_what_it_cannot_do_is_said_in_one_line(project_root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    without_broken(project_root)

    assert main(["lend", "lost"]) == 1
    assert "it is lost" in capsys.readouterr().out


def test_it_is_listed_and_explains_itself_by_example(project_root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    without_broken(project_root)

    for arguments in (["--help"], ["lend", "--help"]):
        with pytest.raises(SystemExit):
            main(arguments)

    said = capsys.readouterr().out
    assert "lend a book" in said
    assert "weft lend momo" in said.partition("examples:")[2]


@pytest.mark.usefixtures("project_root")
def test_one_that_cannot_be_imported_is_named_and_hinders_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["down"]) == 0
    assert main(["broken"]) == 2

    assert "no_such_module can't be imported" in capsys.readouterr().err


def test_one_that_lacks_something_is_refused(project_root: Path) -> None:
    without_broken(project_root)
    (project_root / "lending_command.py").write_text("HELP = 'x'\ndef run(options, context): ...\n")

    with pytest.raises(ProjectError, match="has no EXAMPLES and no add_arguments"):
        parser(find_project(project_root), ["lend"])


@pytest.mark.parametrize("commands", ["lend = 7", 'up = "lending_command"'])
def test_a_table_of_commands_that_makes_no_sense_is_refused(project_root: Path, commands: str) -> None:
    path = project_root / "pyproject.toml"
    path.write_text(path.read_text().partition("lend =")[0] + commands + "\n")

    with pytest.raises(ProjectError):
        parser(find_project(project_root), ["down"])


class _Screen(StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_is_for_a_person_and_gone_before_the_next_line() -> None:
    screen, pipe = _Screen(), StringIO()

    for output in (screen, pipe):
        terminal = Terminal(output, {"NO_COLOR": "1"})
        terminal.progress(0.5, "spring.csv")
        terminal.line("next")

    assert screen.getvalue() == f"\r\x1b[K  [{'#' * 15}{'.' * 15}]  50%  spring.csv\r\x1b[Knext\n"
    assert pipe.getvalue() == "next\n"
