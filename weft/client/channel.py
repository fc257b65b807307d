"""A channel to a peer that passes on what the current call carries, and gives back errors with their reasons.

The deadline is the earlier of the current call's and the method's own from the contract; request id, trace and the
caller's token go
along. Retries, load balancing and outlier detection are the mesh's work: gRPC does them inside the channel, by what
the control plane
says, so nothing here repeats a call.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Generator, Mapping
from typing import Any, Final, Self

from grpc import aio
from opentelemetry.trace import SpanKind

from weft.call import Call, current_call
from weft.client.errors import PeerError
from weft.contract import Access, Method
from weft.security import ServiceTokens
from weft.telemetry import CLIENT_CALLS, Tracing

__all__ = ["PeerChannel"]

Metadata = list[tuple[str, str | bytes]]
_UNKNOWN_TIMEOUT_S: Final = 5.0  # of methods whose contract this process does not have


class PeerChannel:
    """What a generated stub needs of a channel, around a real one.

    Args:
        channel: The real channel; the caller closes it.
        peer: Mesh name, for errors.
        methods: GRPC path -> method, for timeouts.
        tracing: Begins a span for a call of a sampled trace.
        tokens: Say who we are, to methods that only services may call.
    """

    def __init__(
        self,
        channel: aio.Channel,
        peer: str,
        methods: Mapping[str, Method],
        tracing: Tracing,
        tokens: ServiceTokens | None = None,
    ) -> None:
        self._channel, self._peer, self._methods, self._tracing = channel, peer, methods, tracing
        self._tokens = tokens

    def unary_unary(self, path: str, *arguments: Any, **options: Any) -> Callable[..., Any]:
        return self._single(path, self._channel.unary_unary(path, *arguments, **options))

    def stream_unary(self, path: str, *arguments: Any, **options: Any) -> Callable[..., Any]:
        return self._single(path, self._channel.stream_unary(path, *arguments, **options))

    def unary_stream(self, path: str, *arguments: Any, **options: Any) -> Callable[..., Any]:
        return self._stream(path, self._channel.unary_stream(path, *arguments, **options))

    def stream_stream(self, path: str, *arguments: Any, **options: Any) -> Callable[..., Any]:
        return self._stream(path, self._channel.stream_stream(path, *arguments, **options))

    def _single(self, path: str, start: Callable[..., Any]) -> Callable[..., Any]:
        def call(request: Any, *, timeout: float | None = None, metadata: Any = None) -> _Answer:
            return _Answer(self._answer(path, start, request, timeout, metadata))

        return call

    async def _answer(
        self, path: str, start: Callable[..., Any], request: Any, timeout_s: float | None, metadata: Any
    ) -> Any:
        current = current_call.get()
        with _Outgoing(self, path, current) as outgoing:
            return await start(
                request,
                timeout=self._timeout_s(path, current, timeout_s),
                metadata=outgoing.metadata(current, metadata),
            )

    def _stream(self, path: str, start: Callable[..., Any]) -> Callable[..., Any]:
        async def call(
            request: Any,
            *,
            timeout: float | None = None,  # noqa: ASYNC109 (grpcio names it)
            metadata: Any = None,
        ) -> AsyncIterator[Any]:
            current = current_call.get()
            with _Outgoing(self, path, current) as outgoing:
                answers = start(
                    request,
                    timeout=self._timeout_s(path, current, timeout),
                    metadata=outgoing.metadata(current, metadata),
                )
                try:
                    async for answer in answers:
                        yield answer
                finally:
                    answers.cancel()

        return call

    def authorization(self, path: str, current: Call | None) -> str | None:
        """Return for whom we speak: for ourselves where only services may, else for the current call's caller."""
        method = self._methods.get(path)
        if method and method.access is Access.SERVICE:
            return self._tokens.authorization() if self._tokens else None
        return current.authorization if current else None

    def _timeout_s(self, path: str, current: Call | None, asked_s: float | None) -> float | None:
        method = self._methods.get(path)
        limits = (
            asked_s,
            method.timeout_s if method else _UNKNOWN_TIMEOUT_S,
            current.remaining_s() if current else None,
        )
        return min((limit for limit in limits if limit is not None), default=None)


class _Answer:
    """What a stub's unary call returns: awaitable once, as grpcio's own is."""

    __slots__ = ("_coroutine",)

    def __init__(self, coroutine: Any) -> None:
        self._coroutine = coroutine

    def __await__(self) -> Generator[Any, None, Any]:
        return self._coroutine.__await__()  # type: ignore[no-any-return]  # of a coroutine


class _Outgoing:
    """One call to a peer: its span, its metric, and its error as a `PeerError`."""

    __slots__ = ("_channel", "_path", "_span", "_started_s", "_trace")

    def __init__(self, channel: PeerChannel, path: str, current: Call | None) -> None:
        self._channel, self._path = channel, path
        parent = current.trace if current else None
        self._trace, self._span = channel._tracing.begin(path, SpanKind.CLIENT, parent)  # noqa: SLF001 (one module)
        self._started_s = time.perf_counter()

    def metadata(self, current: Call | None, extra: Any) -> Metadata:
        entries: Metadata = [("traceparent", self._trace.traceparent()), *(extra or ())]
        if current:
            entries.append(("x-request-id", current.request_id))
        authorization = self._channel.authorization(self._path, current)
        if authorization and not any(key == "authorization" for key, _ in entries):
            entries.append(("authorization", authorization))
        return entries

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        code = "OK" if error is None else error.code().name if isinstance(error, aio.AioRpcError) else "CANCELLED"
        CLIENT_CALLS.labels(self._path, code).observe(time.perf_counter() - self._started_s)
        if self._span:
            self._span.set_attribute("rpc.response.status_code", code)
            self._span.end()
        if isinstance(error, aio.AioRpcError):
            raise PeerError.from_rpc_error(self._channel._peer, error) from error  # noqa: SLF001 (one module)
