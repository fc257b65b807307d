"""The other side of some comparisons: programs for Node, with the packages of their lock file."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Final

from scripts.lib.bench.processes import ROOT, Served, server
from scripts.lib.bench.result import BenchFailed

__all__ = ["install", "node"]

SOURCE: Final = Path(__file__).with_name("node")
INSTALLED: Final = ROOT / "build" / "bench-node"


def install() -> None:
    """Put the sources and the packages of their lock file into build/. Raises BenchFailed."""
    lock = (SOURCE / "package-lock.json").read_bytes()
    stamp = INSTALLED / "installed.json"
    shutil.copytree(SOURCE, INSTALLED, dirs_exist_ok=True)
    if stamp.exists() and stamp.read_bytes() == lock:
        return
    command = ("npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts")
    done = subprocess.run(command, cwd=INSTALLED, check=False, capture_output=True, text=True)
    if done.returncode:
        raise BenchFailed(f"npm ci: {done.stderr.strip()[-500:]}")
    stamp.write_bytes(lock)


def node(script: str, *, log: Path, env: Mapping[str, str]) -> AbstractContextManager[Served]:
    """Run *script*, as it would be in production, until the block is left."""
    return server(("node", str(INSTALLED / script)), log=log, env={"NODE_ENV": "production", **env})
