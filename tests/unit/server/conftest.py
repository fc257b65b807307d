"""A library served through the production pipeline."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from grpc import StatusCode

from tests.library import SERVICE, pb, pb_grpc
from weft.call import caller, current_call
from weft.errors import FailedPrecondition, NotFound
from weft.testing import TestServer, serving

MOMO = "11111111-1111-1111-1111-111111111111"


class BookLent(FailedPrecondition):
    """Somebody has it."""


class Librarian(pb_grpc.LibraryServiceServicer):  # type: ignore[misc]  # generated without types
    """Does what the title asked for says."""

    def __init__(self) -> None:
        self.behaviour = ""
        self.release = asyncio.Event()
        self.entered = 0
        self.cancelled = False
        self.read_to_end = False

    async def GetBook(self, request: Any, context: Any) -> Any:
        self.entered += 1
        match self.behaviour:
            case "not found":
                raise NotFound("no such book", reason="BOOK_NOT_FOUND", book_id=request.book_id)
            case "lent":
                raise BookLent("it is lent", retry_after_s=1.5, days=3)
            case "crash":
                raise RuntimeError("postgres://user:hunter2@db")
            case "abort":
                await context.abort(StatusCode.DATA_LOSS, "lost")
            case "wait":
                try:
                    await self.release.wait()
                except asyncio.CancelledError:
                    self.cancelled = True
                    raise
        return pb.GetBookResponse(title="Momo")

    async def AddBook(self, request: Any, context: Any) -> Any:
        return pb.AddBookResponse(book_id=request.request_id or MOMO)

    async def CountBooks(self, request: Any, context: Any) -> Any:
        return pb.CountBooksResponse(subject=caller().subject)

    async def WhoAmI(self, request: Any, context: Any) -> Any:
        if self.behaviour == "wait":
            await self.release.wait()
        call = current_call.get()
        assert call is not None
        remaining_s = call.remaining_s()
        assert remaining_s is not None
        return pb.WhoAmIResponse(
            subject=caller().subject,
            request_id=call.request_id,
            trace_id=call.trace.trace_id,
            remaining_ms=int(remaining_s * 1000),
        )

    async def ReadPages(self, request: Any, context: Any) -> AsyncIterator[Any]:
        try:
            for number in range(request.pages):
                yield pb.ReadPagesResponse(text=str(number))
            if self.behaviour == "crash":
                raise RuntimeError("hunter2")
            if self.behaviour == "wait":
                await self.release.wait()
            self.read_to_end = True
        finally:
            self.cancelled = not self.read_to_end

    async def WritePages(self, requests: AsyncIterator[Any], context: Any) -> Any:
        return pb.WritePagesResponse(pages=len([page async for page in requests]))

    async def Discuss(self, requests: AsyncIterator[Any], context: Any) -> None:
        async for request in requests:
            await context.write(pb.DiscussResponse(text=request.text.upper()))


@pytest.fixture(name="librarian")
async def _librarian() -> Librarian:
    return Librarian()


@pytest.fixture(name="library")
async def _library(librarian: Librarian) -> AsyncIterator[TestServer]:
    async with serving({SERVICE: librarian}) as server:
        yield server


@pytest.fixture(name="stub")
async def _stub(library: TestServer) -> Any:
    return pb_grpc.LibraryServiceStub(library.channel)
