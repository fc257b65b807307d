"""The test contract's stubs, generated when they are first imported: no test depends on a service of the shop."""

from __future__ import annotations

import atexit
import importlib
import shutil
import sys
import tempfile
from importlib import resources
from pathlib import Path
from typing import Any

import google.api.http_pb2
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from grpc_tools import protoc

PROTO = "library/v1/library.proto"
SERVICE = "library.v1.LibraryService"
_ROOT = Path(__file__).resolve().parents[1]
_folder = Path(tempfile.mkdtemp(prefix="weft-library-"))
atexit.register(shutil.rmtree, _folder, ignore_errors=True)


def include() -> list[str]:
    """Return protoc's arguments that find the mesh's options and Google's annotations."""
    site = Path(google.api.http_pb2.__file__).parents[2]
    well_known = resources.files("grpc_tools") / "_proto"
    return [f"-I{_ROOT / 'tests/protos'}", f"-I{_ROOT / 'protos'}", f"-I{site}", f"-I{well_known}"]


def image() -> FileDescriptorSet:
    """Return the descriptor image of the test contract, with positions."""
    return FileDescriptorSet.FromString(image_path().read_bytes())


def image_path() -> Path:
    path = _folder / "library.binpb"
    if not path.exists():
        also = ("google/rpc/status.proto", "google/rpc/error_details.proto")
        _run(f"--descriptor_set_out={path}", "--include_imports", "--include_source_info", PROTO, *also)
    return path


def _run(*arguments: str) -> None:
    assert protoc.main(["protoc", *include(), *arguments]) == 0


_run(f"--python_out={_folder}", f"--grpc_python_out={_folder}", PROTO)
sys.path.append(str(_folder))
pb: Any = importlib.import_module("library.v1.library_pb2")
pb_grpc: Any = importlib.import_module("library.v1.library_pb2_grpc")
