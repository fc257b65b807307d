"""Runs the whole of it on a copy of the tree with a patch applied: does a broken build get caught?"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from scripts.lib.chaos.mesh import ROOT, ChaosFailed

__all__ = ["run_patched"]

LEFT_OUT: Final = shutil.ignore_patterns(".git", ".venv", ".weft", "build", "node_modules", "__pycache__", ".*_cache")


def run_patched(patch: Path, files: Path, arguments: Sequence[str]) -> int:
    """Run `scripts/chaos` with *arguments* on a copy of the tree in *files*; return its exit code.

    Raises:
        ChaosFailed: *patch* does not apply.
    """
    tree = files / "tree"
    shutil.copytree(ROOT, tree, ignore=LEFT_OUT)
    apply = ("git", "apply", "-C1", "--verbose", str(patch.resolve()))
    applied = subprocess.run(apply, cwd=tree, capture_output=True, text=True, check=False)
    if applied.returncode:
        raise ChaosFailed(f"{patch} does not apply: {applied.stderr.strip()}")
    # Ahead of what is installed, which is the tree we run from.
    env = {**os.environ, "PYTHONPATH": os.pathsep.join((str(tree), str(tree / "gen")))}
    command = (sys.executable, "-P", "-m", "scripts.lib.chaos", *arguments)
    return subprocess.run(command, cwd=tree, env=env, check=False).returncode
