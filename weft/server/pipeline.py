"""One pipeline per method, compiled when the server is built.

What happens to a call, outermost first: trace and request id; metrics and one log line; errors; deadline; load
shedding; who is
calling and may they; validation; the stored answer of a repeat; the handler. The observers see the final code, and
everything that
may refuse a call is inside `errors`.
"""

from __future__ import annotations

import asyncio
import hashlib
import inspect
import logging
import re
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import aclosing, nullcontext
from random import getrandbits
from typing import Any, Final, NoReturn

import grpc
from google.protobuf.message import Message
from grpc import aio
from opentelemetry.trace import SpanKind

from weft.call import Call, current_call
from weft.client.errors import PeerError
from weft.contract import Method
from weft.data import Database, RequestKey
from weft.errors import DeadlineExceeded, Internal, InvalidArgument, ServiceError, Unavailable
from weft.server.access import Admit
from weft.server.deadline import Deadlines, Limit
from weft.server.observer import Observer
from weft.server.shedding import Gate
from weft.server.status import STATUS_CODES, STATUS_DETAILS_KEY, to_status
from weft.server.streams import EndlessStreams
from weft.telemetry import Tracing, parse_traceparent

__all__ = ["Context", "Pipeline"]

Context = aio.ServicerContext[Any, Any]
Handler = Callable[..., Any]
Metadata = Mapping[str, str | bytes]

_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")  # safe in a log line as it is
_MAKERS: Final[Mapping[tuple[bool, bool], Callable[..., Any]]] = {
    (False, False): grpc.unary_unary_rpc_method_handler,
    (False, True): grpc.unary_stream_rpc_method_handler,
    (True, False): grpc.stream_unary_rpc_method_handler,
    (True, True): grpc.stream_stream_rpc_method_handler,
}
_PEER_TROUBLE: Final[Mapping[str, type[ServiceError]]] = {
    "UNAVAILABLE": Unavailable,
    "DEADLINE_EXCEEDED": DeadlineExceeded,
}
_log = logging.getLogger("weft.server")


class Pipeline:
    """What every call of one method goes through."""

    def __init__(
        self,
        method: Method,
        *,
        gate: Gate,
        admit: Admit | None,
        validate: Callable[[Message], None] | None,
        database: Database | None,
        tracing: Tracing,
        streams: EndlessStreams | None = None,
        log: Callable[[str], object] | None = None,
    ) -> None:
        self.method = method
        endless = (method.client_streaming or method.server_streaming) and not method.timeout_s
        self.streams = streams if endless else None
        self.gate = gate
        self._admit = admit
        self._validate = validate
        self._answers = database if method.replayable else None
        self.tracing = tracing
        self.observer = Observer(method, log)
        self.deadlines = Deadlines(method.timeout_s) if method.timeout_s else None

    def handler(
        self, servicer_method: Handler | None, request_class: type[Message], response_class: type[Message]
    ) -> grpc.RpcMethodHandler[Any, Any]:
        """Return what grpcio calls for this method.

        Raises:
            TypeError: *servicer_method* is neither a coroutine function nor an async generator function.
        """
        method = self.method
        if inspect.isasyncgenfunction(servicer_method):
            wrapped = self._generator(servicer_method)
        elif inspect.iscoroutinefunction(servicer_method):
            wrapped = self._coroutine(self._written(servicer_method), response_class)
        else:
            raise TypeError(f"{method.path}: the servicer has no `async def {method.name}`")
        make = _MAKERS[method.client_streaming, method.server_streaming]
        return make(wrapped, request_class.FromString, response_class.SerializeToString)  # type: ignore[no-any-return]

    def _coroutine(self, serve: Handler, response_class: type[Message]) -> Handler:
        """One answer; or a stream of them, written by `context.write`."""
        answers = self._answers

        async def handle(request: Any, context: Context) -> Any:
            observed = _Observed(self, context)
            try:
                request = observed.admit(request)
                if answers is None or not request.request_id:
                    answer = await serve(request, context)
                else:
                    answer = await self._replayed(answers, serve, request, context, observed.call, response_class)
            except BaseException as error:
                await observed.refuse(error)
                raise
            observed.end()
            return answer

        return handle

    def _written(self, serve: Handler) -> Handler:
        """Return *serve*, as one of the endless streams if it is one."""
        streams = self.streams
        if not streams:
            return serve

        async def member(request: Any, context: Context) -> Any:
            with streams.member():
                return await serve(request, context)

        return member

    def _generator(self, serve: Handler) -> Handler:
        """A stream of answers from an async generator."""

        async def handle(request: Any, context: Context) -> AsyncIterator[Any]:
            observed = _Observed(self, context)
            try:
                with self.streams.member() if self.streams else nullcontext():
                    async with aclosing(serve(observed.admit(request), context)) as answers:
                        async for answer in answers:
                            yield answer
            except BaseException as error:
                await observed.refuse(error)
                raise
            observed.end()

        return handle

    def admit(self, request: Any, call: Call, metadata: Metadata) -> Any:
        """Return the request, or the stream of requests, of a caller who may make it."""
        if self._admit:
            self._admit(call, metadata)
        if self.method.client_streaming:
            return self._validated(request)
        if self._answers is not None:
            _take_idempotency_key(request, metadata)
        if self._validate:
            self._validate(request)
        return request

    async def _validated(self, requests: AsyncIterator[Any]) -> AsyncIterator[Any]:
        async for request in requests:
            if self._validate:
                self._validate(request)
            yield request

    async def _replayed(
        self,
        database: Database,
        serve: Handler,
        request: Any,
        context: Context,
        call: Call,
        response_class: type[Message],
    ) -> Any:
        """Serve a write once per `request_id`: a repeat gets the answer that was stored together with the effect."""
        request_id, request.request_id = request.request_id, ""
        fingerprint = hashlib.sha256(request.SerializeToString(deterministic=True)).digest()
        request.request_id = request_id
        who = call.identity.subject if call.identity else ""
        key = RequestKey(method=self.method.path, caller=who, request_id=request_id, fingerprint=fingerprint)
        async with database.answering(key) as pending:
            if pending.answer is None:
                response = await serve(request, context)
                await (pending.complete(response.SerializeToString()) if call.keep_answer else pending.forgo())
                return response
        assert pending.answer is not None  # a concurrent call with this id answered first
        return response_class.FromString(pending.answer)

    def refusal(self, error: BaseException, call: Call, context: Context) -> tuple[str, ServiceError | None]:
        """Return the code a call ends with, and what to tell the caller where they aren't told yet."""
        match error:
            case aio.AbortError():  # already answered
                return _code_name(context.code()), None
            case asyncio.CancelledError() | GeneratorExit():
                return ("DEADLINE_EXCEEDED" if call.remaining_s() == 0 else "CANCELLED"), None
            case PeerError():
                answer: ServiceError = _peer_trouble(error)
                _log.warning(
                    "a peer failed", extra={"rpc.method": call.method, "peer": error.peer, "reason": error.reason}
                )
            case ServiceError():
                answer = error
            case _ if not isinstance(error, Exception):  # the process is being ended
                return "INTERNAL", None
            case _:
                _log.error(
                    "unhandled error", exc_info=error, extra={"rpc.method": call.method, "request_id": call.request_id}
                )
                answer = Internal("internal error")
        return answer.code, answer

    async def abort(self, context: Context, error: ServiceError) -> NoReturn:
        """End the call with *error*. Raises AbortError."""
        status = to_status(error, domain=self.method.service_name)
        await context.abort(
            STATUS_CODES[error.code], error.message, ((STATUS_DETAILS_KEY, status.SerializeToString()),)
        )
        raise AssertionError("abort returns to nobody")


class _Observed:
    """The outer half of a pipeline, around everything that may fail."""

    __slots__ = ("_context", "_entered", "_limit", "_metadata", "_pipeline", "_span", "_started_s", "call")

    def __init__(self, pipeline: Pipeline, context: Context) -> None:
        """Note who calls from where, and until when; make it the current call of this task."""
        self._started_s = time.perf_counter()
        self._pipeline, self._context = pipeline, context
        self._entered = False
        self._limit: Limit | None = None
        metadata = self._metadata = dict(context.invocation_metadata() or ())
        method = pipeline.method
        parent = parse_traceparent(_text(metadata, "traceparent"))
        trace, self._span = pipeline.tracing.begin(method.path, SpanKind.SERVER, parent)
        request_id = _text(metadata, "x-request-id")
        if request_id is None or not _REQUEST_ID.fullmatch(request_id):
            request_id = f"{getrandbits(128):032x}"
        remaining_s: float | None = context.time_remaining()
        deadline: float | None = None
        # grpcio keeps the caller's deadline, by cancelling this task; the contract's, where earlier, is ours to keep.
        if pipeline.deadlines and (remaining_s is None or pipeline.deadlines.timeout_s < remaining_s):
            self._limit = pipeline.deadlines.begin()
            deadline = self._limit.ends_s
        elif remaining_s is not None:
            deadline = asyncio.get_running_loop().time() + remaining_s
        self.call = Call(method=method.path, request_id=request_id, trace=trace, deadline=deadline)
        current_call.set(self.call)

    def admit(self, request: Any) -> Any:
        self._pipeline.gate.enter()
        self._entered = True
        return self._pipeline.admit(request, self.call, self._metadata)

    def end(self, code: str = "OK", answer: ServiceError | None = None) -> None:
        """Note how the call ended."""
        if self._limit:
            self._limit.end()
        if self._entered:
            self._pipeline.gate.leave()
        self._pipeline.observer.end(self.call, code, answer, time.perf_counter() - self._started_s, self._span)

    async def refuse(self, error: BaseException) -> None:
        """Tell the caller, by raising AbortError; return where they were told or have left."""
        if self._limit and self._limit.is_over and isinstance(error, asyncio.CancelledError):
            error = DeadlineExceeded("the method's time is up")
        streams = self._pipeline.streams
        if streams and streams.ended and isinstance(error, asyncio.CancelledError):
            error = Unavailable("this instance is leaving; another one goes on", reason="SERVER_DRAINING")
        code, answer = self._pipeline.refusal(error, self.call, self._context)
        self.end(code, answer)  # before the caller hears of it: who has an answer finds its line in the log
        if answer:
            await self._pipeline.abort(self._context, answer)


def _take_idempotency_key(request: Any, metadata: Metadata) -> None:
    """Let `Idempotency-Key` stand for a `request_id` that isn't given."""
    key = (_text(metadata, "idempotency-key") or "").strip('"')
    if key and request.request_id and request.request_id != key:
        raise InvalidArgument("request_id and Idempotency-Key differ", reason="REQUEST_IDS_DIFFER")
    if key:
        request.request_id = key


def _peer_trouble(error: PeerError) -> ServiceError:
    """Return what a peer's failure that nobody handled means to our caller.

    A peer that can't be reached is trouble that passes; any other refusal should have been handled, and is a defect.
    """
    kind = _PEER_TROUBLE.get(error.code)
    if kind is None:
        return Internal("internal error")
    return kind(f"{error.peer} can't be reached", reason="PEER_UNAVAILABLE", peer=error.peer)


def _code_name(code: Any) -> str:
    """Return the name of what a context says: a StatusCode, its number, or None."""
    if isinstance(code, grpc.StatusCode):
        return code.name
    return next((known.name for known in grpc.StatusCode if known.value[0] == code), "UNKNOWN")


def _text(metadata: Metadata, key: str) -> str | None:
    value = metadata.get(key)
    return value if isinstance(value, str) else None
