"""The simulated payment provider: its books, and the trouble it can be asked to make."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final

import aiohttp

from scripts.lib.chaos.mesh import ChaosFailed, Mesh
from weft.cli.state import ProcessRecord

__all__ = ["PROVIDER", "Provider"]

PROVIDER: Final = "provider"
"""Its name in the mesh's record."""
TIMEOUT: Final = aiohttp.ClientTimeout(total=5)


class Provider:
    """Speaks to the provider's own side entrances, which no service uses."""

    def __init__(self, mesh: Mesh, session: aiohttp.ClientSession, url: str) -> None:
        self._mesh = mesh
        self._session = session
        self._url = url

    @classmethod
    def of(cls, mesh: Mesh, session: aiohttp.ClientSession) -> Provider:
        """Find it by its command line, which is the same after a restart."""
        record = mesh.find(PROVIDER)
        process = record.find() if record is not None else None
        if process is None:
            raise ChaosFailed("the mesh runs no payment provider")
        command = process.cmdline()
        return cls(mesh, session, f"http://127.0.0.1:{command[command.index('--port') + 1]}")

    def find(self) -> ProcessRecord | None:
        """Return its process, if it runs at this moment."""
        return self._mesh.find(PROVIDER)

    async def misbehave(self, faults: Mapping[str, float]) -> None:
        """Make trouble from now on. Raises `aiohttp.ClientError` or TimeoutError while it is away."""
        async with self._session.put(
            f"{self._url}/faults", json=dict(faults), timeout=TIMEOUT, raise_for_status=True
        ) as response:
            await response.read()

    async def behave(self) -> None:
        """Make no trouble any more; who is away will make none when it comes back."""
        with suppress(aiohttp.ClientError, TimeoutError):
            await self.misbehave({})

    async def ledger(self) -> Mapping[str, Mapping[str, Any]]:
        """Return reference of a payment -> where its money is. Raises as `misbehave`."""
        async with self._session.get(f"{self._url}/ledger", timeout=TIMEOUT, raise_for_status=True) as response:
            accounts: Mapping[str, Mapping[str, Any]] = await response.json()
            return accounts
