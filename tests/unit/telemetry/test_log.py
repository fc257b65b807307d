"""Logs are one JSON object a line and never say what an exception said."""

from __future__ import annotations

import asyncio
import io
import json
import logging
from collections.abc import Iterator

import aiohttp
import pytest

from weft.telemetry import (
    LineWriter,
    RecentSpans,
    TraceContext,
    configure_logging,
    metrics_page,
    parse_traceparent,
    timestamp,
)


@pytest.fixture(name="output")
def _output() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    output = io.StringIO()
    configure_logging("INFO", "json", output)
    yield output
    root.handlers[:] = handlers
    root.setLevel(level)


def test_a_record_is_one_line_with_its_fields(output: io.StringIO) -> None:
    logging.getLogger("weft.test").info("done\nwith it", extra={"rpc.method": "x/Y", "count": 3})

    line = json.loads(output.getvalue())
    assert (line["message"], line["level"], line["logger"]) == ("done\nwith it", "INFO", "weft.test")
    assert (line["rpc.method"], line["count"]) == ("x/Y", 3)
    assert output.getvalue().count("\n") == 1


def test_an_exception_is_logged_by_type_and_place_and_not_by_what_it_says(output: io.StringIO) -> None:
    card = "4111" * 4
    try:
        raise ValueError(card)
    except ValueError:
        logging.getLogger("weft.test").exception("failed")

    line = json.loads(output.getvalue())
    assert line["exception.type"] == "ValueError"
    assert "test_log.py" in line["exception.stacktrace"]
    assert card not in output.getvalue()


def test_times_are_rfc_3339_in_utc() -> None:
    assert timestamp(0.5) == "1970-01-01T00:00:00.500Z"
    assert timestamp(1_700_000_000.0) == "2023-11-14T22:13:20.000Z"


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
        "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
        "00-4BF92F3577B34DA6A3CE929D0E0E4736-00F067AA0BA902B7-01",
    ],
)
def test_a_malformed_traceparent_is_no_trace(header: str | None) -> None:
    assert parse_traceparent(header) is None


def test_a_traceparent_is_read_and_written_alike() -> None:
    header = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

    context = parse_traceparent(header)

    assert context == TraceContext("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7", sampled=True)
    assert context.traceparent() == header


async def test_metrics_and_pages_are_served_on_a_port_of_the_systems_choice() -> None:
    spans = RecentSpans()
    async with (
        metrics_page("127.0.0.1", 0, pages={"/spans": spans.to_json}) as port,
        aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session,
    ):
        async with session.get("/metrics") as answer:
            assert "rpc_server_call_duration_seconds" in await answer.text()
        async with session.get("/spans") as answer:
            assert await answer.json() == []


async def test_lines_are_written_together_and_soon() -> None:
    output = io.StringIO()
    write = LineWriter(output, delay_s=0.001, max_lines=3)

    write("a\n")
    assert output.getvalue() == ""
    async with asyncio.timeout(5):
        while output.getvalue() != "a\n":
            await asyncio.sleep(0.001)

    for line in "bcd":
        write(f"{line}\n")
    assert output.getvalue() == "a\nb\nc\nd\n"  # as many as may wait

    write("e\n")
    write.flush()
    assert output.getvalue().endswith("e\n")
