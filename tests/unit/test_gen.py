"""What scripts/gen refuses."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from mesh.v1 import options_pb2

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(name="gen")
def _gen(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location("gen", ROOT / "scripts" / "lib" / "gen.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    return module


@pytest.fixture(name="image")
def _image() -> FileDescriptorSet:
    return FileDescriptorSet.FromString((ROOT / "gen" / "image.binpb").read_bytes())


def written(image: FileDescriptorSet, folder: Path) -> Path:
    path = folder / "image.binpb"
    path.write_bytes(image.SerializeToString())
    return path


def catalog(image: FileDescriptorSet) -> int:
    return next(at for at, file in enumerate(image.file) if file.name.endswith("catalog.proto"))


def test_a_field_that_disappears_breaks_callers(
    gen: ModuleType, image: FileDescriptorSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    landed = image.SerializeToString()
    show = subprocess.CompletedProcess([], 0, stdout=landed)
    run = subprocess.run
    monkeypatch.setattr(
        gen.subprocess, "run", lambda command, **options: show if command[0] == "git" else run(command, **options)
    )
    gen.check_breaking(written(image, tmp_path))

    product = next(message for message in image.file[catalog(image)].message_type if message.name == "Product")
    del product.field[0]

    with pytest.raises(SystemExit, match="buf breaking"):
        gen.check_breaking(written(image, tmp_path))


def test_a_contract_without_an_access_rule_is_refused_with_its_place(image: FileDescriptorSet, tmp_path: Path) -> None:
    options = image.file[catalog(image)].service[0].method[0].options
    options.Extensions[options_pb2.method].ClearField("access")
    command = [sys.executable, "-m", "weft.contract", "openapi", str(written(image, tmp_path))]

    done = subprocess.run(
        [*command, "--output", str(tmp_path / "openapi.json")],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'gen'}"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 1
    assert "shop/catalog/v1/catalog.proto:" in done.stderr
    assert "does not say who may call it" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "openapi.json").exists()


def test_what_differs_is_named(gen: ModuleType, tmp_path: Path) -> None:
    fresh, kept = tmp_path / "fresh", tmp_path / "kept"
    for folder, files in (
        (fresh, {"same": "1", "changed": "1", "new": "1"}),
        (kept, {"same": "1", "changed": "2", "old": "1"}),
    ):
        folder.mkdir()
        for name, text in files.items():
            (folder / name).write_text(text)

    assert gen.differences(fresh, kept, "gen") == ["gen/changed", "gen/new", "gen/old"]
