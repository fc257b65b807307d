"""Programs of others that some benches need."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from typing import Final

__all__ = ["missing_tool"]

PACKAGES: Final[Mapping[str, str]] = {"h2load": "nghttp2-client", "wrk": "wrk", "rabbitmq-server": "rabbitmq-server"}
"""Command -> Debian package, for those small enough to install unasked."""


def missing_tool(commands: Iterable[str]) -> str | None:
    """Install what of *commands* is missing, as root on Debian; return in one line what still is, or None."""
    for command in commands:
        if shutil.which(command) is None and not _install(command):
            package = PACKAGES.get(command, command)
            return (
                f"{command} is missing: install {package}, or run as root on Debian"
                if command in PACKAGES
                else (f"{command} is missing")
            )
    return None


def _install(command: str) -> bool:
    if command not in PACKAGES or os.geteuid() != 0 or shutil.which("apt-get") is None:
        return False
    print(f"installing {PACKAGES[command]}")
    install = ("apt-get", "install", "-qq", "--yes", "--no-install-recommends", PACKAGES[command])
    if not _succeeds(*install) and _succeeds("apt-get", "update", "-qq"):
        _succeeds(*install)
    return shutil.which(command) is not None


def _succeeds(*command: str) -> bool:
    env = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    return subprocess.run(command, check=False, env=env, capture_output=True).returncode == 0
