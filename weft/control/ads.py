"""The aggregated discovery service: one `Stream` per call, fed by its requests and by every new snapshot."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any, Final

import grpc
from xds_api.envoy.service.discovery.v3.discovery_pb2 import DiscoveryRequest

from weft.control.metrics import Metrics
from weft.control.publisher import Publisher
from weft.control.resources import DataPlane, short_type
from weft.control.stream import Fault, ProtocolError, Stream
from weft.control.subscription import Rejection, Response

__all__ = ["SERVICE_NAME", "AggregatedDiscovery"]

SERVICE_NAME: Final = "envoy.service.discovery.v3.AggregatedDiscoveryService"
MAX_TEXT: Final = 2000
"""Characters of a client's complaint that are logged."""
_CODES: Final = {
    Fault.INVALID_ARGUMENT: grpc.StatusCode.INVALID_ARGUMENT,
    Fault.RESOURCE_EXHAUSTED: grpc.StatusCode.RESOURCE_EXHAUSTED,
}
_log = logging.getLogger(__name__)


class AggregatedDiscovery:
    """Serves `StreamAggregatedResources`. The incremental variant is not there (UNIMPLEMENTED): gRPC has no use for it.

    Args:
        publisher: whose snapshots are served.
        metrics: what becomes known here.
        max_streams: open at a time; a gRPC client opens one for each target.
        new_stream: makes the state of a stream.
    """

    def __init__(
        self,
        publisher: Publisher,
        metrics: Metrics,
        *,
        max_streams: int = 5000,
        new_stream: Callable[[], Stream] = Stream,
    ) -> None:
        self._publisher = publisher
        self._metrics = metrics
        self._max_streams = max_streams
        self._new_stream = new_stream
        self._open: dict[asyncio.Event, Stream] = {}
        self._closing = False
        for data_plane in DataPlane:
            metrics.streams.labels(data_plane.value).set_function(partial(self._count, data_plane))

    def add_to(self, server: grpc.aio.Server) -> None:
        """Register with *server*; not by the generated function, since responses are made of bytes already there."""
        method = grpc.stream_stream_rpc_method_handler(
            self._serve, request_deserializer=DiscoveryRequest.FromString, response_serializer=Response.encode
        )
        handlers = {"StreamAggregatedResources": method}
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE_NAME, handlers),))

    def close(self) -> None:
        """End every stream with UNAVAILABLE, also future ones: clients keep what they have and ask another replica."""
        self._closing = True
        for wake in self._open:
            wake.set()

    async def _serve(self, requests: AsyncIterator[DiscoveryRequest], context: Any) -> None:
        if len(self._open) >= self._max_streams:
            await self._end(context, grpc.StatusCode.RESOURCE_EXHAUSTED, f"more than {self._max_streams} streams")
        stream = self._new_stream()
        with self._publisher.watching() as wake:
            reader = asyncio.create_task(self._read(stream, requests, wake), name="ads reader")
            reader.add_done_callback(lambda _: wake.set())
            self._open[wake] = stream
            try:
                while not (self._closing or reader.done()):
                    await self._write(stream, context)
                    await wake.wait()
                    wake.clear()
                if self._closing:
                    await self._end(context, grpc.StatusCode.UNAVAILABLE, "the control plane is shutting down")
                await reader
            except ProtocolError as error:
                _log.warning("ADS stream ended", extra={**_node(stream), "error.message": str(error)})
                await self._end(context, _CODES[error.fault], str(error))
            finally:
                del self._open[wake]
                reader.cancel()
                await asyncio.wait([reader])

    async def _read(self, stream: Stream, requests: AsyncIterator[DiscoveryRequest], wake: asyncio.Event) -> None:
        async for request in requests:
            is_first, ignored = stream.data_plane is None, len(stream.ignored)
            rejection = stream.on_request(request)
            if is_first:
                _log.info("ADS stream opened", extra=_node(stream))
            if len(stream.ignored) > ignored:
                _log.warning("no resources of this type", extra={**_node(stream), "xds.type_url": request.type_url})
            if rejection is not None:
                self._rejected(stream, rejection)
            wake.set()

    async def _write(self, stream: Stream, context: Any) -> None:
        """Send what the client lacks. A client that does not read holds up nobody but itself."""
        snapshots = self._publisher.snapshots
        if snapshots is None or stream.data_plane is None:
            return
        for response in stream.next_responses(snapshots[stream.data_plane]):
            await context.write(response)
            self._metrics.pushes.labels(stream.data_plane.value, short_type(response.type_url)).inc()

    def _rejected(self, stream: Stream, rejection: Rejection) -> None:
        assert stream.data_plane is not None, "it has sent a request"
        self._metrics.nacks.labels(stream.data_plane.value, short_type(rejection.type_url)).inc()
        extra = {
            **_node(stream),
            "xds.type": short_type(rejection.type_url),
            "xds.version": rejection.version,
            "xds.resources": rejection.names,
            "error.message": rejection.message[:MAX_TEXT],
        }
        _log.warning("NACK: a client refused its configuration and keeps what it had", extra=extra)

    def _count(self, data_plane: DataPlane) -> int:
        return sum(stream.data_plane is data_plane for stream in self._open.values())

    async def _end(self, context: Any, code: grpc.StatusCode, message: str) -> None:
        """Never returns."""
        self._metrics.refused_streams.labels(code.name).inc()
        await context.abort(code, message)


def _node(stream: Stream) -> dict[str, str]:
    plane = stream.data_plane.value if stream.data_plane else ""
    return {"xds.node.id": stream.node_id, "xds.node.cluster": stream.cluster, "xds.data_plane": plane}
