"""The gateway's own spans, and the trace they are part of."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from grpc import aio
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc

from tests.mesh.gateway.edge import Backend, StartGateway

TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
CALLER = f"00-{TRACE_ID}-b7ad6b7169203331-01"


class Collector(trace_service_pb2_grpc.TraceServiceServicer):
    """Receives spans as an OpenTelemetry collector does."""

    def __init__(self) -> None:
        self.requests: asyncio.Queue[Any] = asyncio.Queue()
        self.port = 0

    async def Export(self, request: Any, _: object) -> Any:
        self.requests.put_nowait(request)
        return trace_service_pb2.ExportTraceServiceResponse()


@pytest.fixture(name="collector")
async def _collector() -> AsyncIterator[Collector]:
    collector, server = Collector(), aio.server()
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(collector, server)  # type: ignore[no-untyped-call]  # generated
    collector.port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield collector
    await server.stop(0)


async def test_a_sampled_request_has_a_span_between_the_callers_and_the_services(
    start_gateway: StartGateway, backend: Backend, collector: Collector
) -> None:
    gateway = await start_gateway(backend, inline=True, otlp=f"127.0.0.1:{collector.port}", trace_ratio=0.0)

    await gateway.rest("GET", "/v1/shelves?names=Jane", headers={"traceparent": CALLER})
    exported = await asyncio.wait_for(collector.requests.get(), 20)

    [span] = exported.resource_spans[0].scope_spans[0].spans
    _, trace_id, parent_id, flags = backend.metadata[0]["traceparent"].split("-")
    assert span.trace_id.hex() == trace_id == TRACE_ID
    assert span.parent_span_id.hex() == CALLER.split("-")[2]
    assert (span.span_id.hex(), flags) == (parent_id, "01")
    assert span.name == "/example.library.v1.LibraryService/ListShelves"
    assert "Jane" not in str(exported)


async def test_a_request_that_nobody_samples_has_no_span_but_keeps_its_trace(
    start_gateway: StartGateway, backend: Backend, collector: Collector
) -> None:
    gateway = await start_gateway(backend, inline=True, otlp=f"127.0.0.1:{collector.port}", trace_ratio=0.0)

    await gateway.rest("GET", "/v1/shelves/s1", headers={"traceparent": CALLER[:-1] + "0"})

    assert backend.metadata[0]["traceparent"].split("-")[1] == TRACE_ID
    assert backend.metadata[0]["traceparent"].endswith("-00")
    assert collector.requests.empty()
