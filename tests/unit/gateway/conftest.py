from __future__ import annotations

from pathlib import Path

import pytest

from weft.contract import Contract, load_image, read_contract

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="session", name="image")
def _image() -> Path:
    return ROOT / "gen" / "image.binpb"


@pytest.fixture(scope="session", name="contract")
def _contract(image: Path) -> Contract:
    return read_contract(load_image(image).file)
