"""What a service tells the mesh about itself."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path

from google.protobuf.message import Message

from weft.client import Peers
from weft.data import Database
from weft.events import Handler, Outbox
from weft.telemetry import Tracing

__all__ = ["Parts", "Runtime", "Service"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What a service is made of once it is put together."""

    servicers: Mapping[str, object]
    """Full gRPC service name -> servicer."""
    database: Database | None = None
    """Drives health, and keeps the answers of methods with a `request_id`."""
    handlers: Mapping[type[Message], Handler] = field(default_factory=dict)
    """Event -> what applies it; one for each event of the contract's subscriptions."""
    background: Sequence[Callable[[], Coroutine[object, object, None]]] = ()
    """What runs beside the calls, for ever: cancelled when the service stops, before the block of `build` is left."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Runtime:
    """What the mesh gives a service to put itself together with."""

    name: str
    env: Mapping[str, str] = field(repr=False)
    """The process's environment, for the service's own settings: `weft.config.load(Config, runtime.env, "NAME")`."""
    database_url: str = field(repr=False)
    """`<NAME>_DATABASE_URL`; empty where it isn't set."""
    peers: Peers
    tracing: Tracing
    """Of the process, for spans of what is done beside its calls."""
    outbox: Outbox
    """Takes the service's events."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """One service of the mesh, as its `__main__` declares it."""

    name: str
    """Its mesh name: `(mesh.v1.service).name` of its contract."""
    build: Callable[[Runtime], AbstractAsyncContextManager[Parts]]
    """Builds the parts, and closes what it opened when the block is left."""
    migrations: Path | None = None
    """Folder whose `versions/` are run at start; None where the service keeps nothing."""
    rebuild: Callable[[Database], AsyncIterator[int]] | None = None
    """Makes what is derived from its history anew, and yields how much is done; for `weft rebuild`."""
