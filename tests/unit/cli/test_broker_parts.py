"""What `weft up` needs to know of a broker."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from weft.cli.programs import nats_command, nats_config
from weft.cli.state import MeshRecord, ProcessRecord, State
from weft.cli.terminal import format_duration, without_password


def test_nats_stays_on_loopback_and_accepts_its_configuration(tmp_path: Path) -> None:
    config = tmp_path / "nats.conf"
    config.write_text(nats_config(4222, tmp_path / 'a "quoted" place'))

    checked = subprocess.run([*nats_command(config), "-t"], capture_output=True, text=True, check=False)

    assert checked.returncode == 0, checked.stderr
    assert 'listen: "127.0.0.1:4222"' in config.read_text()


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("nats://127.0.0.1:4222", "nats://127.0.0.1:4222"),
        ("amqp://ada:s@cret@rabbit:5672/shop", "amqp://rabbit:5672/shop"),
        ("nats://token@a:1,nats://ada:secret@b:2", "nats://a:1,nats://b:2"),
    ],
)
def test_an_address_is_shown_without_its_password(url: str, shown: str) -> None:
    assert without_password(url) == shown


@pytest.mark.parametrize(
    ("seconds", "words"), [(0, "0 s"), (119, "119 s"), (120, "2 min"), (7200, "2 h"), (172_800, "2 d")]
)
def test_a_duration_is_told_in_its_unit(seconds: float, words: str) -> None:
    assert format_duration(seconds) == words


def test_the_record_of_a_mesh_keeps_the_password_and_does_not_show_it(tmp_path: Path) -> None:
    supervisor = ProcessRecord(name="weft", pid=1, started=0.0, stop_signal=15)
    record = MeshRecord(
        supervisor=supervisor,
        phase="ready",
        command_port=1,
        command_token="t",
        urls={},
        broker_url="amqp://a:secret@b/",
    )
    state = State(tmp_path)

    state.write(record)

    assert state.read() == record
    assert "secret" not in repr(record)
    earlier = json.loads(state.mesh_file.read_text())
    del earlier["broker_url"]
    state.mesh_file.write_text(json.dumps(earlier))
    found = state.read()
    assert found is not None
    assert found.broker_url == "", "a mesh that runs since before there were brokers can still be stopped"
