"""The peers of a service, by their mesh names."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Final, Self, TypeVar

from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.descriptor_pool import Default
from grpc import aio

from weft.client.channel import PeerChannel
from weft.contract import Contract, Method, read_contract
from weft.security import ServiceTokens
from weft.telemetry import Tracing

__all__ = ["Peers", "use_control_plane"]

Stub = TypeVar("Stub")

_OPTIONS: Final = (
    ("grpc.service_config_disable_resolution", 1),  # policy comes from the control plane, never from DNS
    ("grpc.max_receive_message_length", 16 * 1024 * 1024),
    ("grpc.client_idle_timeout_ms", 2**31 - 1),  # an idle channel forgets its peers' addresses
)


def use_control_plane(servers: str, *, node_id: str, service: str) -> None:
    """Tell this process's gRPC where its control plane is: *servers* is `host:port`, several separated by commas.

    Must be called before the first `xds:///` channel: gRPC reads its bootstrap once per process.
    Source: gRFC A27; A53 keeps a channel serving when the control plane forgets its cluster; A88 fails calls to
        unknown names at once.
    """
    bootstrap = {
        "xds_servers": [
            {
                "server_uri": f"ipv4:{servers}",
                "channel_creds": [{"type": "insecure"}],
                "server_features": ["ignore_resource_deletion"],
            }
        ],
        "node": {"id": node_id, "cluster": service, "locality": {"zone": "local"}, "metadata": {}},
    }
    os.environ["GRPC_XDS_BOOTSTRAP_CONFIG"] = json.dumps(bootstrap)
    os.environ["GRPC_EXPERIMENTAL_XDS_DATA_ERROR_HANDLING"] = "true"


class Peers:
    """Opens a channel to each peer at its first use, and closes them all at the end.

    Args:
        tracing: Of the process.
        targets: Mesh name -> gRPC target, instead of `xds:///<name>`: for tests, and for peers outside the mesh.
        tokens: Of the service that calls; without them, methods that only services may call refuse it.
    """

    def __init__(
        self, tracing: Tracing, targets: Mapping[str, str] | None = None, tokens: ServiceTokens | None = None
    ) -> None:
        self._tracing = tracing
        self._targets = dict(targets or {})
        self._tokens = tokens
        self._channels: dict[str, aio.Channel] = {}

    def speaking_for(self, tokens: ServiceTokens | None) -> Self:
        """Return the same peers, over the same channels, for the service of *tokens*."""
        view = type(self)(self._tracing, self._targets, tokens)
        view._channels = self._channels  # noqa: SLF001 (our own class)
        return view

    def stub(self, stub_class: Callable[[Any], Stub], peer: str) -> Stub:
        """Return a *stub_class* whose calls go to the instances of *peer*, and raise `PeerError` where they fail."""
        channel = self._channels.get(peer)
        if channel is None:
            target = self._targets.get(peer, f"xds:///{peer}")
            channel = self._channels[peer] = aio.insecure_channel(target, options=_OPTIONS)
            # Learn the peer's addresses now: the control plane may be away when they are first needed.
            channel.get_state(try_to_connect=True)
        return stub_class(PeerChannel(channel, peer, _methods_of(stub_class), self._tracing, self._tokens))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for channel in self._channels.values():
            await channel.close(None)
        self._channels.clear()


def _methods_of(stub_class: object) -> Mapping[str, Method]:
    """Return the contract that the stub's module was generated from: GRPC path -> method."""
    module = getattr(stub_class, "__module__", "").removesuffix("_pb2_grpc").replace(".", "/") + ".proto"
    try:
        file = Default().FindFileByName(module)
    except KeyError:
        return Contract(services=()).methods
    proto = FileDescriptorProto()
    file.CopyToProto(proto)
    return read_contract([proto]).methods
