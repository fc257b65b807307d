"""The files a control plane is told to read: contract and keys, read again when they change."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.message import DecodeError

from weft.contract import Contract, ContractError, read_contract
from weft.gateway import GatewayConfig

__all__ = ["Inputs", "InputsError", "read_inputs", "when_changed"]

_log = logging.getLogger(__name__)


class InputsError(Exception):
    """A file can't be used; its author must mend it."""


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """What snapshots are made of, but for the instances."""

    contract: Contract
    image: FileDescriptorSet
    image_bytes: bytes
    gateway: GatewayConfig


def read_inputs(image: Path, jwks: Path | None, gateway: GatewayConfig) -> Inputs:
    """Read the contract and, where there is one, the key set.

    Without the file of the key set the keys of *gateway* stay: none in the beginning, when only methods that need a
    token fail, and the last ones if the file goes away.

    Raises:
        InputsError: a file can't be read or is not what it should be.
    """
    try:
        image_bytes = image.read_bytes()
        descriptors = FileDescriptorSet.FromString(image_bytes)
        contract = read_contract(descriptors.file)
    except (OSError, DecodeError, ContractError) as error:
        raise InputsError(f"{image}: {error}") from error
    if jwks is not None:
        gateway = _with_keys(gateway, jwks)
    return Inputs(contract=contract, image=descriptors, image_bytes=image_bytes, gateway=gateway)


def _with_keys(gateway: GatewayConfig, path: Path) -> GatewayConfig:
    try:
        return replace(gateway, jwks=path.read_text())
    except FileNotFoundError:
        _log.warning("no file of keys, tokens are checked by those known so far", extra={"file": str(path)})
        return gateway
    except (OSError, ValueError) as error:
        raise InputsError(f"{path}: {error}") from error


async def when_changed(paths: Iterable[Path], notify: Callable[[], None], *, interval_s: float = 1.0) -> None:
    """Call *notify* whenever a file of *paths* is written, replaced, made or removed, until cancelled."""
    watched = tuple(paths)
    before = await asyncio.to_thread(_stamps, watched)
    while True:
        await asyncio.sleep(interval_s)
        now = await asyncio.to_thread(_stamps, watched)
        if now != before:
            before = now
            notify()


def _stamps(paths: Iterable[Path]) -> list[tuple[int, int, int] | None]:
    return [_stamp(path) for path in paths]


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino
