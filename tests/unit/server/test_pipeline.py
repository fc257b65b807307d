"""What a caller sees of a method's pipeline, on a real call."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from grpc import StatusCode, aio
from prometheus_client import REGISTRY

from tests.library import SERVICE, pb, pb_grpc
from weft.client import PeerError
from weft.security import TokenVerifier
from weft.server import build_server
from weft.telemetry import RecentSpans, Tracing
from weft.testing import STRANGER, TestServer, serving

MOMO = pb.GetBookRequest(book_id="11111111-1111-1111-1111-111111111111")


def served(method: str, code: str) -> float:
    labels = {"rpc_method": f"/{SERVICE}/{method}", "rpc_response_status_code": code}
    return REGISTRY.get_sample_value("rpc_server_call_duration_seconds_count", labels) or 0.0


async def refusal(call: Any) -> PeerError:
    with pytest.raises(aio.AioRpcError) as refused:
        await call
    return PeerError.from_rpc_error("library", refused.value)


async def until(condition: Any) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.005)


async def pages(*texts: str) -> AsyncIterator[Any]:
    for text in texts:
        yield pb.WritePagesRequest(text=text)


async def test_every_shape_of_call_is_served(stub: Any) -> None:
    assert (await stub.GetBook(MOMO, timeout=5)).title == "Momo"
    read = stub.ReadPages(pb.ReadPagesRequest(book_id="momo", pages=3), timeout=5)
    assert [page.text async for page in read] == ["0", "1", "2"]
    assert (await stub.WritePages(pages("a", "b"), timeout=5)).pages == 2
    said = stub.Discuss(pages("a", "b"), timeout=5)
    assert [answer.text async for answer in said] == ["A", "B"]


async def test_a_method_for_services_is_served_to_those_it_names(stub: Any, library: TestServer) -> None:
    answer = await stub.CountBooks(pb.CountBooksRequest(), metadata=library.service_token("archive"), timeout=5)
    assert answer.subject == "service:archive"

    stranger = await refusal(
        stub.CountBooks(pb.CountBooksRequest(), metadata=library.service_token(STRANGER), timeout=5)
    )
    assert (stranger.code, stranger.reason) == ("PERMISSION_DENIED", "CALLER_NOT_ALLOWED")
    user = await refusal(
        stub.CountBooks(pb.CountBooksRequest(), metadata=library.token("anna", ["service"]), timeout=5)
    )
    assert (user.code, user.reason) == ("UNAUTHENTICATED", "TOKEN_INVALID")


async def test_a_stream_without_an_end_is_ended_by_a_drain_and_says_so(librarian: Any) -> None:
    open_ended = asyncio.Event()

    async def talk() -> AsyncIterator[Any]:
        yield pb.DiscussRequest(text="a")
        await open_ended.wait()

    async with serving({SERVICE: librarian}) as server, aio.insecure_channel(server.target) as channel:
        said = pb_grpc.LibraryServiceStub(channel).Discuss(talk(), timeout=20)
        assert (await said.read()).text == "A"

        server.drain()
        error = await refusal(said.read())

    assert (error.code, error.reason) == ("UNAVAILABLE", "SERVER_DRAINING")


async def test_a_service_error_becomes_a_status_with_its_reason_and_facts(stub: Any, librarian: Any) -> None:
    librarian.behaviour = "not found"

    error = await refusal(stub.GetBook(MOMO, timeout=5))

    assert (error.code, error.message, error.reason) == ("NOT_FOUND", "no such book", "BOOK_NOT_FOUND")
    assert error.metadata == {"book_id": MOMO.book_id}


async def test_an_error_is_named_for_its_class_and_says_when_waiting_helps(stub: Any, librarian: Any) -> None:
    librarian.behaviour = "lent"

    error = await refusal(stub.GetBook(MOMO, timeout=5))

    assert (error.code, error.reason, error.retry_after_s) == ("FAILED_PRECONDITION", "BOOK_LENT", 1.5)


async def test_an_exception_never_reaches_the_caller_nor_the_log_with_its_text(
    stub: Any, librarian: Any, caplog: pytest.LogCaptureFixture
) -> None:
    librarian.behaviour = "crash"

    with pytest.raises(aio.AioRpcError) as refused:
        await stub.GetBook(MOMO, timeout=5)

    assert refused.value.code() is StatusCode.INTERNAL
    assert "hunter2" not in str(refused.value)
    record = next(record for record in caplog.records if record.message == "unhandled error")
    assert record.levelno == logging.ERROR


async def test_a_stream_that_crashes_keeps_its_text_to_itself(stub: Any, librarian: Any) -> None:
    librarian.behaviour = "crash"
    read = stub.ReadPages(pb.ReadPagesRequest(book_id="momo", pages=2), timeout=5)
    texts = []

    with pytest.raises(aio.AioRpcError) as refused:
        async for page in read:
            texts.append(page.text)  # noqa: PERF401 (what came before the error is kept)

    assert texts == ["0", "1"]
    assert refused.value.code() is StatusCode.INTERNAL
    assert "hunter2" not in str(refused.value)


async def test_a_status_the_servicer_aborts_with_is_left_alone(stub: Any, librarian: Any) -> None:
    librarian.behaviour = "abort"
    before = served("GetBook", "DATA_LOSS")

    error = await refusal(stub.GetBook(MOMO, timeout=5))

    assert (error.code, error.message) == ("DATA_LOSS", "lost")
    await until(lambda: served("GetBook", "DATA_LOSS") == before + 1)


async def test_the_contracts_timeout_ends_a_call_whose_caller_set_none(
    stub: Any, library: TestServer, librarian: Any
) -> None:
    librarian.behaviour = "wait"

    error = await refusal(stub.WhoAmI(pb.WhoAmIRequest(), metadata=library.token("anna")))

    assert (error.code, error.reason) == ("DEADLINE_EXCEEDED", "DEADLINE_EXCEEDED")


async def test_the_handler_sees_the_earlier_of_the_callers_deadline_and_the_contracts(
    stub: Any, library: TestServer
) -> None:
    long = await stub.WhoAmI(pb.WhoAmIRequest(), metadata=library.token("anna"), timeout=60)
    short = await stub.GetBook(MOMO, timeout=60)

    assert 0 < long.remaining_ms <= 200
    assert short.title == "Momo"


async def test_a_caller_who_leaves_cancels_the_work(stub: Any, librarian: Any) -> None:
    librarian.behaviour = "wait"
    before = served("GetBook", "CANCELLED")
    call = stub.GetBook(MOMO, timeout=60)
    await until(lambda: librarian.entered == 1)

    call.cancel()

    await until(lambda: librarian.cancelled)
    await until(lambda: served("GetBook", "CANCELLED") == before + 1)


async def test_a_reader_who_leaves_closes_the_stream(stub: Any, librarian: Any) -> None:
    librarian.behaviour = "wait"
    read = stub.ReadPages(pb.ReadPagesRequest(book_id="momo", pages=1), timeout=60)
    await read.read()

    read.cancel()

    await until(lambda: librarian.cancelled)


async def test_an_instance_with_enough_under_way_refuses_at_once(stub: Any, librarian: Any) -> None:
    librarian.behaviour = "wait"
    waiting = [asyncio.ensure_future(_title(stub)) for _ in range(4)]
    await until(lambda: librarian.entered == 4)

    error = await refusal(stub.GetBook(MOMO, timeout=5))

    assert (error.code, error.reason, error.retry_after_s) == ("RESOURCE_EXHAUSTED", "OVERLOADED", 0.5)
    librarian.release.set()
    assert await asyncio.gather(*waiting) == ["Momo"] * 4
    assert await _title(stub) == "Momo"  # and the places are free again


async def _title(stub: Any) -> str:
    return str((await stub.GetBook(MOMO, timeout=60)).title)


async def test_a_request_that_breaks_rules_is_refused_with_all_of_them(stub: Any, library: TestServer) -> None:
    request = pb.AddBookRequest(pages=0)

    error = await refusal(stub.AddBook(request, metadata=library.token("anna", ["librarian"]), timeout=5))

    assert (error.code, error.reason) == ("INVALID_ARGUMENT", "INVALID_FIELDS")
    assert {violation.field for violation in error.violations} == {"title", "author", "pages"}


async def test_each_message_of_a_stream_is_checked(stub: Any) -> None:
    error = await refusal(stub.WritePages(pages("a", ""), timeout=5))

    assert (error.code, error.violations[0].field) == ("INVALID_ARGUMENT", "text")


class TestAccess:
    async def test_without_a_token_a_call_is_refused(self, stub: Any) -> None:
        error = await refusal(stub.WhoAmI(pb.WhoAmIRequest(), timeout=5))

        assert (error.code, error.reason) == ("UNAUTHENTICATED", "TOKEN_MISSING")

    @pytest.mark.parametrize("header", ["Basic YTpi", "Bearer", "Bearer ", "Bearer x.y.z", "e30.e30."])
    async def test_a_header_that_is_no_token_is_refused(self, stub: Any, header: str) -> None:
        error = await refusal(stub.WhoAmI(pb.WhoAmIRequest(), metadata=(("authorization", header),), timeout=5))

        assert error.code == "UNAUTHENTICATED"

    async def test_another_role_is_refused(self, stub: Any, library: TestServer) -> None:
        error = await refusal(stub.AddBook(pb.AddBookRequest(), metadata=library.token("anna", ["user"]), timeout=5))

        assert (error.code, error.reason) == ("PERMISSION_DENIED", "ROLE_MISSING")

    async def test_the_handler_knows_who_calls(self, stub: Any, library: TestServer) -> None:
        answer = await stub.WhoAmI(pb.WhoAmIRequest(), metadata=library.token("anna"), timeout=5)

        assert answer.subject == "anna"

    async def test_identity_headers_are_never_believed(self, stub: Any) -> None:
        forged = (("x-weft-subject", "anna"), ("x-weft-roles", "librarian"), ("x-forwarded-client-cert", "URI=x"))

        error = await refusal(stub.WhoAmI(pb.WhoAmIRequest(), metadata=forged, timeout=5))

        assert error.code == "UNAUTHENTICATED"


class TestTracing:
    async def test_request_id_and_trace_come_from_the_caller(self, stub: Any, library: TestServer) -> None:
        trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00"
        metadata = (*library.token("anna"), ("x-request-id", "r-1"), ("traceparent", trace))

        answer = await stub.WhoAmI(pb.WhoAmIRequest(), metadata=metadata, timeout=5)

        assert (answer.request_id, answer.trace_id) == ("r-1", "4bf92f3577b34da6a3ce929d0e0e4736")

    async def test_a_request_id_that_could_forge_a_log_line_is_replaced(self, stub: Any, library: TestServer) -> None:
        metadata = (*library.token("anna"), ("x-request-id", '","level":"x'))

        answer = await stub.WhoAmI(pb.WhoAmIRequest(), metadata=metadata, timeout=5)

        assert '"' not in answer.request_id
        assert answer.request_id

    async def test_a_sampled_call_leaves_a_span_without_what_was_said(self, librarian: Any) -> None:
        spans = RecentSpans()
        async with serving({SERVICE: librarian}, tracing=Tracing("library", ratio=1.0, exporters=[spans])) as server:
            await pb_grpc.LibraryServiceStub(server.channel).GetBook(MOMO, timeout=5)

        assert f"/{SERVICE}/GetBook" in spans.to_json()
        assert MOMO.book_id not in spans.to_json()


class TestObservation:
    async def test_calls_are_counted_by_method_and_code(self, stub: Any, librarian: Any) -> None:
        ok, missing = served("GetBook", "OK"), served("GetBook", "NOT_FOUND")

        await stub.GetBook(MOMO, timeout=5)
        librarian.behaviour = "not found"
        await refusal(stub.GetBook(MOMO, timeout=5))

        assert served("GetBook", "OK") == ok + 1
        assert served("GetBook", "NOT_FOUND") == missing + 1

    async def test_a_call_leaves_one_log_line(self, stub: Any, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.INFO, "weft.call")

        await stub.GetBook(MOMO, timeout=5, metadata=(("x-request-id", "r-1"),))

        lines = [record for record in caplog.records if record.name == "weft.call"]
        assert len(lines) == 1
        assert lines[0].__dict__["rpc.response.status_code"] == "OK"
        assert lines[0].__dict__["request_id"] == "r-1"
        assert MOMO.book_id not in str(lines[0].__dict__)


class TestBuilding:
    async def test_a_servicer_that_lacks_a_method_is_refused_at_start(self, tmp_path: Path) -> None:
        lazy = pb_grpc.LibraryServiceServicer()

        with pytest.raises(TypeError, match="GetBook"):
            build_server({SERVICE: lazy}, verifier=TokenVerifier(tmp_path / "jwks.json"), tracing=Tracing("library"))

    async def test_methods_that_need_tokens_need_a_key_set(self, librarian: Any) -> None:
        with pytest.raises(ValueError, match="WEFT_JWKS_FILE"):
            build_server({SERVICE: librarian}, tracing=Tracing("library"))

    async def test_a_service_without_stubs_is_refused_at_start(self) -> None:
        with pytest.raises(ValueError, match=r"no service library\.v1\.Nothing"):
            build_server({"library.v1.Nothing": object()}, tracing=Tracing("library"))
