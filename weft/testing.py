"""Servicers behind the production pipeline on a real loopback socket, for tests."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Final

from grpc import aio

from weft.data import Database
from weft.security import (
    ServiceTokens,
    ServiceVerifier,
    SigningKey,
    TokenIssuer,
    TokenVerifier,
    write_jwks,
    write_service_jwks,
)
from weft.server.build import build_server
from weft.telemetry import Tracing

__all__ = ["STRANGER", "TestServer", "serving"]

STRANGER: Final = "stranger"
"""A service of the mesh that no method of its peers is for."""


@dataclass(frozen=True, kw_only=True)
class TestServer:
    """A running server."""

    __test__ = False  # not a test case, whatever pytest thinks of the name

    target: str
    """`127.0.0.1:<port>`."""
    channel: aio.Channel
    """To it; closed with it."""
    key: SigningKey = field(repr=False)
    """Signs tokens that it accepts."""

    @cached_property
    def _issuer(self) -> TokenIssuer:
        return TokenIssuer(self.key)

    drain: Callable[[], None]
    """Does what a server does before it stops: NOT_SERVING, and no stream without an end goes on."""

    def service_tokens(self, name: str) -> ServiceTokens:
        """Return what `Peers` of the service *name* needs to call servers that share this key."""
        return ServiceTokens(name, self.key)

    def service_token(self, name: str) -> tuple[tuple[str, str], ...]:
        """Return the metadata of a call by the service *name*: one that some method's `callers` name, or `STRANGER`."""
        return (("authorization", self.service_tokens(name).authorization()),)

    def token(self, subject: str, roles: Iterable[str] = ("user",)) -> tuple[tuple[str, str], ...]:
        """Return the metadata of a call by *subject*."""
        return (("authorization", f"Bearer {self._issuer.issue(subject, roles).text}"),)


@asynccontextmanager
async def serving(
    servicers: Mapping[str, object],
    *,
    database: Database | None = None,
    key: SigningKey | None = None,
    tracing: Tracing | None = None,
) -> AsyncIterator[TestServer]:
    """Serve *servicers* (full name -> servicer) until the block is left.

    Args:
        servicers: As for `weft.server.build_server`.
        database: Drives health and stored answers.
        key: Shared between servers that call each other with a caller's token; made where none is given.
        tracing: Of the process; samples nothing where none is given.
    """
    key = key or SigningKey.generate()
    with tempfile.TemporaryDirectory() as folder:
        jwks = Path(folder) / "jwks.json"
        write_jwks([key], jwks)
        built = build_server(
            servicers,
            database=database,
            verifier=TokenVerifier(jwks),
            services=ServiceVerifier(Path(folder)),
            tracing=tracing or Tracing("test"),
        )
        callers = {name for method in built.contract.methods.values() for name in method.callers}
        write_service_jwks(dict.fromkeys({*callers, STRANGER}, key), Path(folder))
        port = built.server.add_insecure_port("127.0.0.1:0")
        await built.server.start()

        def drain() -> None:
            built.health.drain()
            built.streams.end()

        try:
            async with aio.insecure_channel(f"127.0.0.1:{port}") as channel:
                yield TestServer(target=f"127.0.0.1:{port}", channel=channel, key=key, drain=drain)
        finally:
            drain()
            await built.server.stop(None)
