from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorSet

from weft.config import ConfigError
from weft.control import InputsError, Settings, read_settings
from weft.control.inputs import read_inputs, when_changed
from weft.gateway import GatewayConfig


def test_settings_come_from_the_environment_and_arguments_win() -> None:
    env = {"WEFT_REGISTRY_URL": "http://consul:8500", "WEFT_LISTEN": "0.0.0.0:1", "WEFT_GATEWAY_PORT": "80"}

    settings = read_settings(["--listen", "127.0.0.1:18001", "--image", "x.binpb", "--metrics-port", "9"], env)

    assert settings == Settings(
        registry_url="http://consul:8500",
        listen="127.0.0.1:18001",
        image=Path("x.binpb"),
        metrics_port=9,
        gateway_port=80,
    )


def test_the_registry_has_a_short_argument() -> None:
    assert read_settings(["--registry", "http://c:1"], {}).registry_url == "http://c:1"


def test_secrets_are_no_arguments_and_are_not_shown(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        read_settings(["--registry-token", "s3cret"], {})

    assert "s3cret" not in repr(read_settings([], {"WEFT_REGISTRY_TOKEN": "s3cret"}))
    assert "unrecognized arguments" in capsys.readouterr().err


def test_all_problems_are_named_at_once() -> None:
    with pytest.raises(ConfigError) as wrong:
        read_settings(["--listen", "18000", "--hold-s", "-1", "--gateway-burst", "1", "--log-format", "xml"], {})

    assert [problem.partition(" ")[0] for problem in wrong.value.problems] == [
        "WEFT_LISTEN",
        "WEFT_HOLD_S",
        "WEFT_LOG_FORMAT",
        "WEFT_GATEWAY_*:",
    ]


def test_the_gateways_settings_are_handed_on() -> None:
    settings = Settings(
        gateway_allowed_origins="https://a.example, https://b.example",
        gateway_requests_per_s=7,
        gateway_access_log=False,
        otlp_endpoint="http://collector:4317",
        token_issuer="me",
    )

    edge = settings.gateway()

    assert edge.allowed_origins == ("https://a.example", "https://b.example")
    assert (edge.requests_per_s, edge.access_log, edge.otlp, edge.issuer) == (7, False, "collector:4317", "me")


def test_without_settings_the_gateway_is_as_it_is_by_itself() -> None:
    assert Settings().gateway() == GatewayConfig()


@pytest.fixture(name="image")
def _image(tmp_path: Path) -> Path:
    path = tmp_path / "image.binpb"
    path.write_bytes(FileDescriptorSet().SerializeToString())
    return path


def test_keys_are_the_gateways_and_none_are_there_until_the_file_is(
    image: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    jwks = tmp_path / "jwks.json"
    assert read_inputs(image, jwks, GatewayConfig()).gateway == GatewayConfig()
    assert "no file of keys" in caplog.text

    jwks.write_text('{"keys": [{"kid": "1"}]}')
    gateway = read_inputs(image, jwks, GatewayConfig()).gateway
    assert gateway.jwks == '{"keys": [{"kid": "1"}]}'

    jwks.unlink()
    assert read_inputs(image, jwks, gateway).gateway == gateway, "the last ones stay"


@pytest.mark.parametrize("text", ["", "{", "[]", '{"keys": 1}'])
def test_a_file_that_holds_no_key_set_is_refused(image: Path, tmp_path: Path, text: str) -> None:
    jwks = tmp_path / "jwks.json"
    jwks.write_text(text)

    with pytest.raises(InputsError, match=r"jwks\.json"):
        read_inputs(image, jwks, GatewayConfig())


def test_descriptors_that_are_missing_or_broken_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "image.binpb"
    with pytest.raises(InputsError, match=r"image\.binpb"):
        read_inputs(path, None, GatewayConfig())

    path.write_bytes(b"\xff\xff")

    with pytest.raises(InputsError, match=r"image\.binpb"):
        read_inputs(path, None, GatewayConfig())


async def test_a_file_is_noticed_when_it_is_made_written_replaced_and_removed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL)
    path, noticed = tmp_path / "keys", asyncio.Event()
    task = asyncio.create_task(when_changed([path], noticed.set, interval_s=0.005))
    await asyncio.sleep(0.02)
    assert not noticed.is_set()

    def replace() -> None:
        (tmp_path / "new").write_text("second")
        (tmp_path / "new").replace(path)

    for change in (lambda: path.write_text("first"), replace, path.unlink):
        noticed.clear()
        change()
        await asyncio.wait_for(noticed.wait(), 5)

    task.cancel()
    await asyncio.wait([task])
