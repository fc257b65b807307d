from __future__ import annotations

import argparse
import socket
from io import StringIO
from pathlib import Path

import pytest

from weft.cli import probes
from weft.cli.arguments import parser, port_number, replica_counts
from weft.cli.logs import logs
from weft.cli.processes import bound_log, rotate_log, tail
from weft.cli.project import ProjectError, find_project
from weft.cli.state import State
from weft.cli.terminal import Terminal, format_table

PYPROJECT = '[tool.weft]\nservices = "services"\nimage = "gen/image.binpb"\nlocal = "services.local"\n'


@pytest.fixture
def project_root(tmp_path: Path) -> Path:
    (tmp_path / "pyproject.toml").write_text(PYPROJECT)
    for service in ("catalog", "users"):
        (tmp_path / "services" / service).mkdir(parents=True)
        (tmp_path / "services" / service / "__main__.py").touch()
    (tmp_path / "services" / "catalog" / "migrations").mkdir()
    (tmp_path / "services" / "shared").mkdir()
    return tmp_path


class TestArguments:
    def test_replicas_may_be_listed_and_repeated(self) -> None:
        options = parser().parse_args(["up", "--replicas", "catalog=2, users=1", "--replicas", "orders=0"])

        assert options.replicas == [{"catalog": 2, "users": 1}, {"orders": 0}]

    @pytest.mark.parametrize("text", ["catalog", "catalog=", "=2", "catalog=two", "catalog=-1", ""])
    def test_replicas_without_service_or_number_are_refused(self, text: str) -> None:
        with pytest.raises(argparse.ArgumentTypeError, match="is not SERVICE=NUMBER"):
            replica_counts(text)

    @pytest.mark.parametrize("text", ["0", "65536", "-1", "http"])
    def test_a_number_that_is_no_port_is_refused(self, text: str) -> None:
        with pytest.raises(argparse.ArgumentTypeError, match="is not a port"):
            port_number(text)

    @pytest.mark.parametrize("command", ["up", "down", "status", "logs", "restart", "run", "control", "agent"])
    def test_every_command_explains_itself_by_example(self, command: str, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit) as end:
            parser().parse_args([command, "--help"])

        assert end.value.code == 0
        assert f"weft {command}" in capsys.readouterr().out.partition("examples:")[2]


class TestProject:
    def test_it_is_found_from_below(self, project_root: Path) -> None:
        project = find_project(project_root / "services" / "catalog")

        assert project.root == project_root
        assert project.service_names() == ("catalog", "users")
        assert project.module("catalog") == "services.catalog.__main__"

    def test_only_services_with_migrations_have_a_database(self, project_root: Path) -> None:
        project = find_project(project_root)

        assert [name for name in project.service_names() if project.has_database(name)] == ["catalog"]

    def test_a_table_that_says_too_little_is_refused_with_what_is_missing(self, tmp_path: Path) -> None:
        (tmp_path / "pyproject.toml").write_text('[tool.weft]\nlocal = "x"\n')

        with pytest.raises(ProjectError, match="does not say services and image"):
            find_project(tmp_path)

    def test_a_pyproject_of_something_else_is_passed_over(self, project_root: Path) -> None:
        inner = project_root / "tools"
        inner.mkdir()
        (inner / "pyproject.toml").write_text('[project]\nname = "tools"\n')

        assert find_project(inner).root == project_root


class TestProbes:
    def test_a_port_someone_listens_on_is_not_free_even_if_shared(self) -> None:
        with socket.socket() as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            listener.bind(("127.0.0.1", 0))
            listener.listen()
            port = listener.getsockname()[1]

            assert not probes.is_free(port)
        assert probes.is_free(port)

    def test_fixed_ports_are_outside_the_ephemeral_range(self) -> None:
        ports = probes.free_ports(5)

        assert len(set(ports)) == 5
        assert set(ports) <= set(range(20_000, 32_000))
        assert all(probes.is_free(port) for port in ports)

    async def test_what_does_not_answer_is_not_ready(self) -> None:
        (port,) = probes.free_ports(1)

        assert await probes.fetch(f"http://127.0.0.1:{port}/") is None
        assert not await probes.is_listening(port)
        assert await probes.health_entries(f"http://127.0.0.1:{port}", "catalog") == []

    @pytest.mark.parametrize(
        ("statuses", "health"),
        [
            ([], "passing"),
            (["passing", "passing"], "passing"),
            (["passing", "warning"], "warning"),
            (["warning", "critical"], "critical"),
        ],
    )
    def test_health_is_the_worst_of_the_checks(self, statuses: list[str], health: str) -> None:
        assert probes.health_of({"Checks": [{"Status": status} for status in statuses]}) == health


class TestTerminal:
    def test_a_pipe_gets_neither_colour_nor_a_moving_line(self) -> None:
        output = StringIO()
        terminal = Terminal(output, {"TERM": "xterm"})

        terminal.waiting_for(["catalog"])
        terminal.done("catalog")
        terminal.fail("users exited", ["last words"])

        assert "\x1b" not in output.getvalue()
        assert "waiting" not in output.getvalue()
        assert output.getvalue().endswith("users exited\n  | last words\n")

    def test_a_person_gets_both_unless_no_color_is_set(self) -> None:
        output, plain = _Screen(), _Screen()

        Terminal(output, {"TERM": "xterm"}).fail("users exited")
        Terminal(plain, {"TERM": "xterm", "NO_COLOR": "1"}).fail("users exited")

        assert "\x1b[31m" in output.getvalue()
        assert "\x1b" not in plain.getvalue()

    def test_the_moving_line_is_gone_before_the_next_one(self) -> None:
        output = _Screen()
        terminal = Terminal(output, {"NO_COLOR": "1"})

        terminal.waiting_for(["catalog", "users"])
        terminal.line("next")

        assert output.getvalue() == "\r\x1b[K  waiting for catalog, users\r\x1b[Knext\n"

    def test_columns_are_as_wide_as_their_content(self) -> None:
        assert format_table(("a", "b"), [("long", "x"), ("", "y")]) == "a     b\nlong  x\n      y"


class TestLogs:
    def test_the_last_lines_of_every_replica_are_named(self, tmp_path: Path) -> None:
        state = State(tmp_path)
        state.create()
        (state.logs / "catalog.log").write_text("one\ntwo\nthree\n")
        (state.logs / "catalog.2.log").write_text("four\n")
        (state.logs / "catalogue.log").write_text("not this\n")
        output = StringIO()

        code = logs(state, Terminal(output, {}), "catalog", lines=2, follow=False)

        assert code == 0
        assert output.getvalue() == "catalog.2 | four\ncatalog   | two\ncatalog   | three\n"

    def test_an_unknown_service_is_answered_with_the_known_ones(self, tmp_path: Path) -> None:
        state = State(tmp_path)
        state.create()
        (state.logs / "catalog.log").touch()
        output = StringIO()

        assert logs(state, Terminal(output, {}), "orders", lines=2, follow=False) == 1
        assert "there are catalog" in output.getvalue()

    def test_a_log_that_grew_too_large_is_emptied_under_its_writer(self, tmp_path: Path) -> None:
        log = tmp_path / "catalog.log"
        with log.open("ab", buffering=0) as writer:
            writer.write(b"old\n" * 100)
            bound_log(log, max_bytes=100)
            writer.write(b"new\n")

        assert log.read_text() == "new\n"
        assert (tmp_path / "catalog.log.1").stat().st_size == 400

    def test_the_log_of_an_earlier_run_is_put_aside(self, tmp_path: Path) -> None:
        log = tmp_path / "catalog.log"
        log.write_text("old\n")

        rotate_log(log)
        rotate_log(log)

        assert tail(log, 5) == ()
        assert tail(tmp_path / "catalog.log.1", 5) == ("old",)


class _Screen(StringIO):
    def isatty(self) -> bool:
        return True
