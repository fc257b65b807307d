"""Everything that is generated from the contracts, into gen/ and envoy/.

gen/mesh, gen/shop   Python stubs with .pyi
gen/image.binpb      every contract as a FileDescriptorSet, with the comments of ours and the error details Envoy needs
gen/openapi.json     the REST API as OpenAPI 3.1
gen/asyncapi.json    the events as AsyncAPI 3.0
gen/xds_api          the xDS messages Weft uses, in a package of our own
envoy/               the gateway's bootstrap, and the same gateway without a control plane
"""

from __future__ import annotations

import argparse
import filecmp
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from importlib import resources
from pathlib import Path
from typing import NoReturn

from google.api import http_pb2
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from grpc_tools import protoc

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "build"
GOOGLE = BUILD / "protos"
"""Google's annotations, copied from their wheel for buf and protoc."""
GRPC_TOOLS_PROTOS = resources.files("grpc_tools") / "_proto"
ALSO_IN_IMAGE = ("google/rpc/status.proto", "google/rpc/error_details.proto")
"""Envoy turns a status into JSON only if it finds the types of its details here."""
BREAKING = '{"version": "v2", "breaking": {"use": ["FILE"]}}'
"""Of images, to which buf.yaml does not apply."""


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="scripts/gen", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--check", action="store_true", help="write nothing; fail when anything is stale")
    arguments = parser.parse_args()

    os.environ["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"  # where buf and protoc's plugins are
    copy_google_protos()
    check_style()
    with tempfile.TemporaryDirectory(dir=BUILD) as folder:
        fresh = Path(folder)
        generate(fresh)
        check_breaking(fresh / "gen" / "image.binpb")
        if arguments.check:
            stale = [name for part in ("gen", "envoy") for name in differences(fresh / part, ROOT / part, part)]
            if stale:
                fail("stale, run scripts/gen:\n  " + "\n  ".join(stale))
            print("generated files are fresh")
            return
        for part in ("gen", "envoy"):
            shutil.rmtree(ROOT / part, ignore_errors=True)
            shutil.copytree(fresh / part, ROOT / part)


def copy_google_protos() -> None:
    source = Path(http_pb2.__file__).parents[1]
    for part in ("api", "rpc", "type"):
        for proto in (source / part).glob("*.proto"):
            target = GOOGLE / "google" / part / proto.name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(proto, target)


def check_style() -> None:
    run("buf", "lint")
    run("buf", "format", "--diff", "--exit-code", "protos")


def check_breaking(image: Path) -> None:
    """Compare with the image on the main branch: callers of what has landed must not break."""
    for ref in ("origin/main", "main"):
        kept = subprocess.run(["git", "show", f"{ref}:gen/image.binpb"], cwd=ROOT, check=False, capture_output=True)
        if kept.returncode == 0:
            break
    else:
        print("no contracts on main yet: nothing can break")
        return
    against = image.with_name("main.binpb")
    against.write_bytes(kept.stdout)
    ours = [argument for folder in (ROOT / "protos").iterdir() for argument in ("--path", folder.name)]
    run("buf", "breaking", image, "--against", against, "--config", BREAKING, *ours)
    against.unlink()


def generate(target: Path) -> None:
    gen = target / "gen"
    gen.mkdir()
    ours = sorted(str(path.relative_to(ROOT / "protos")) for path in (ROOT / "protos").rglob("*.proto"))
    include = (f"-I{ROOT / 'protos'}", f"-I{GOOGLE}", f"-I{GRPC_TOOLS_PROTOS}")
    compile_protos(*include, f"--python_out={gen}", f"--mypy_out=quiet:{gen}", *ours)
    with_methods = [name for name in ours if "\nservice " in (ROOT / "protos" / name).read_text()]
    compile_protos(*include, f"--grpc_python_out={gen}", f"--mypy_grpc_out=quiet:{gen}", *with_methods)
    image = gen / "image.binpb"
    compile_protos(
        *include, f"--descriptor_set_out={image}", "--include_imports", "--include_source_info", *ours, *ALSO_IN_IMAGE
    )
    keep_source_info(image, ours)
    run(sys.executable, ROOT / "scripts/lib/gen_xds.py", gen, path=[xds_protos()])
    for document in ("openapi", "asyncapi"):
        output = gen / f"{document}.json"
        run(sys.executable, "-m", "weft.contract", document, image, "--output", output, path=[ROOT, gen])
    run(
        sys.executable, "-m", "weft.gateway", "render", "--image", image, "--output", target / "envoy", path=[ROOT, gen]
    )


def keep_source_info(path: Path, files: Sequence[str]) -> None:
    """Keep positions and comments of *files* in the descriptor image, and drop those of the rest."""
    image = FileDescriptorSet.FromString(path.read_bytes())
    for file in image.file:
        if file.name not in files:
            file.ClearField("source_code_info")
    path.write_bytes(image.SerializeToString(deterministic=True))


def xds_protos() -> Path:
    """Install xds-protos to a folder of its own, since it overwrites files of other wheels."""
    requirements = ROOT / "requirements" / "codegen.txt"
    folder, stamp = BUILD / "xds-protos", BUILD / "xds-protos.stamp"
    if not stamp.exists() or stamp.read_text() != requirements.read_text():
        shutil.rmtree(folder, ignore_errors=True)
        run(
            sys.executable,
            "-m",
            "pip",
            "install",
            "--quiet",
            "--no-deps",
            "--require-hashes",
            "--target",
            folder,
            "-r",
            requirements,
        )
        stamp.write_text(requirements.read_text())
    return folder


def compile_protos(*arguments: str) -> None:
    if protoc.main(["protoc", *arguments]) != 0:
        fail("protoc refused the contracts")


def differences(fresh: Path, kept: Path, name: str) -> list[str]:
    """Return the paths that differ between two folders or exist in one of them only, compiled Python aside."""
    files = {path.relative_to(folder) for folder in (fresh, kept) for path in folder.rglob("*") if path.is_file()}
    return sorted(
        f"{name}/{file}"
        for file in files
        if "__pycache__" not in file.parts
        and not (
            (fresh / file).exists() and (kept / file).exists() and filecmp.cmp(fresh / file, kept / file, shallow=False)
        )
    )


def run(*command: str | Path, path: Iterable[Path] = ()) -> None:
    """Run a command from the project's root with *path* as its PYTHONPATH, and end with its message where it fails."""
    program, *arguments = map(str, command)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, path))}
    if subprocess.run([program, *arguments], cwd=ROOT, check=False, env=environment).returncode != 0:
        fail(f"{Path(program).name} {' '.join(arguments[:2])} failed")


def fail(message: str) -> NoReturn:
    sys.exit(f"scripts/gen: {message}")


if __name__ == "__main__":
    main()
