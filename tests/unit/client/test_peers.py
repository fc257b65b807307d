"""What goes along with a call to a peer, and what comes back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.library import SERVICE, pb, pb_grpc
from weft.call import Call, caller, current_call
from weft.client import PeerError, Peers
from weft.errors import NotFound
from weft.security import Identity
from weft.telemetry import TraceContext, Tracing
from weft.testing import TestServer, serving

MOMO = pb.GetBookRequest(book_id="11111111-1111-1111-1111-111111111111")


@dataclass
class Seen:
    metadata: dict[str, Any]
    remaining_s: float | None


class Librarian(pb_grpc.LibraryServiceServicer):  # type: ignore[misc]  # generated without types
    def __init__(self) -> None:
        self.seen: Seen | None = None

    async def GetBook(self, request: Any, context: Any) -> Any:
        self.seen = Seen(dict(context.invocation_metadata()), context.time_remaining())
        if request.book_id != MOMO.book_id:
            raise NotFound("no such book", reason="BOOK_NOT_FOUND", book_id=request.book_id)
        return pb.GetBookResponse(title="Momo")

    async def AddBook(self, request: Any, context: Any) -> Any:
        return pb.AddBookResponse()

    async def WhoAmI(self, request: Any, context: Any) -> Any:
        return pb.WhoAmIResponse()

    async def CountBooks(self, request: Any, context: Any) -> Any:
        self.seen = Seen(dict(context.invocation_metadata()), context.time_remaining())
        return pb.CountBooksResponse(subject=caller().subject)

    async def ReadPages(self, request: Any, context: Any) -> AsyncIterator[Any]:
        self.seen = Seen(dict(context.invocation_metadata()), context.time_remaining())
        yield pb.ReadPagesResponse(text="0")
        raise NotFound("torn out", reason="PAGE_MISSING")

    async def WritePages(self, requests: AsyncIterator[Any], context: Any) -> Any:
        return pb.WritePagesResponse(pages=len([page async for page in requests]))

    async def Discuss(self, requests: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:
        async for request in requests:
            yield pb.DiscussResponse(text=request.text)


@pytest.fixture(name="librarian")
async def _librarian() -> Librarian:
    return Librarian()


@pytest.fixture(name="library")
async def _library(librarian: Librarian) -> AsyncIterator[TestServer]:
    async with serving({SERVICE: librarian}) as server:
        yield server


@pytest.fixture(name="stub")
async def _stub(library: TestServer) -> AsyncIterator[Any]:
    async with Peers(Tracing("test"), {"library": library.target}) as peers:
        yield peers.stub(pb_grpc.LibraryServiceStub, "library")


@pytest.fixture(name="call")
async def _call() -> Call:
    return Call(
        method="/reader.v1.ReaderService/Read",
        request_id="r-1",
        trace=TraceContext("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7", sampled=False),
        deadline=asyncio.get_running_loop().time() + 0.4,
        identity=Identity("anna"),
        authorization="Bearer token-of-anna",
    )


async def test_request_id_trace_and_token_of_the_current_call_go_along(
    stub: Any, librarian: Librarian, call: Call
) -> None:
    current_call.set(call)
    await stub.GetBook(MOMO)

    assert librarian.seen is not None
    metadata = librarian.seen.metadata
    assert metadata["x-request-id"] == "r-1"
    assert metadata["authorization"] == "Bearer token-of-anna"
    assert metadata["traceparent"].split("-")[1] == call.trace.trace_id
    assert metadata["traceparent"].split("-")[2] != call.trace.span_id


async def test_what_only_services_may_call_is_called_in_the_services_own_name(
    library: TestServer, librarian: Librarian, call: Call
) -> None:
    current_call.set(call)
    async with Peers(Tracing("test"), {"library": library.target}) as peers:
        archive = peers.speaking_for(library.service_tokens("archive")).stub(pb_grpc.LibraryServiceStub, "library")
        answer = await archive.CountBooks(pb.CountBooksRequest())
        await archive.GetBook(MOMO)

    assert answer.subject == "service:archive"
    assert librarian.seen is not None
    assert librarian.seen.metadata["authorization"] == "Bearer token-of-anna", "everything else for its caller"


async def test_who_cannot_say_which_service_it_is_is_refused(stub: Any, call: Call) -> None:
    current_call.set(call)
    with pytest.raises(PeerError) as refused:
        await stub.CountBooks(pb.CountBooksRequest())

    assert refused.value.reason == "TOKEN_MISSING", "nor does the token of its caller go there"


async def test_the_deadline_is_the_earliest_of_call_contract_and_argument(
    stub: Any, librarian: Librarian, call: Call
) -> None:
    await stub.GetBook(MOMO)
    assert librarian.seen is not None
    assert librarian.seen.remaining_s is not None
    assert 0.4 < librarian.seen.remaining_s <= 1.01  # the contract's

    current_call.set(call)
    await stub.GetBook(MOMO)
    assert librarian.seen.remaining_s <= 0.41  # what is left of the current call

    await stub.GetBook(MOMO, timeout=0.2)
    assert librarian.seen.remaining_s <= 0.21  # the argument; gRPC rounds up to milliseconds


async def test_a_refusal_keeps_code_reason_and_facts(stub: Any) -> None:
    with pytest.raises(PeerError) as refused:
        await stub.GetBook(pb.GetBookRequest(book_id="22222222-2222-2222-2222-222222222222"))

    error = refused.value
    assert (error.peer, error.code, error.reason) == ("library", "NOT_FOUND", "BOOK_NOT_FOUND")
    assert error.metadata == {"book_id": "22222222-2222-2222-2222-222222222222"}


async def test_violations_come_back_as_values(stub: Any) -> None:
    with pytest.raises(PeerError) as refused:
        await stub.GetBook(pb.GetBookRequest(book_id="momo"))

    assert [violation.field for violation in refused.value.violations] == ["bookId"]


async def test_a_peer_that_is_not_there_is_unavailable() -> None:
    async with Peers(Tracing("test"), {"library": "127.0.0.1:1"}) as peers:
        stub = peers.stub(pb_grpc.LibraryServiceStub, "library")
        with pytest.raises(PeerError) as refused:
            await stub.GetBook(MOMO)

    assert (refused.value.code, refused.value.reason) == ("UNAVAILABLE", "UNAVAILABLE")


async def test_a_stream_is_read_until_it_fails(stub: Any) -> None:
    read = []

    with pytest.raises(PeerError) as refused:
        async for page in stub.ReadPages(pb.ReadPagesRequest(book_id="momo")):
            read.append(page.text)  # noqa: PERF401 (what came before the error is kept)

    assert read == ["0"]
    assert refused.value.reason == "PAGE_MISSING"


async def test_streams_of_requests_are_sent(stub: Any) -> None:
    async def pages() -> AsyncIterator[Any]:
        yield pb.WritePagesRequest(text="a")
        yield pb.WritePagesRequest(text="b")

    async def words() -> AsyncIterator[Any]:
        yield pb.DiscussRequest(text="a")

    assert (await stub.WritePages(pages())).pages == 2
    assert [answer.text async for answer in stub.Discuss(words())] == ["a"]
