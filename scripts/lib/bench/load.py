"""The load generators: h2load for gRPC, wrk for REST."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from google.protobuf.message import Message

from scripts.lib.bench.result import BenchFailed

__all__ = ["CONNECTIONS", "SHOPPERS", "Bought", "Load", "framed", "h2load", "wrk", "wrk_orders"]

CONNECTIONS: Final = 32
SHOPPERS: Final = 16
"""Connections that place orders."""
_LAST_ANSWER_S: Final = 10
"""Twice as long as the contract gives an order."""
_FRAME_BYTES: Final = 5
_LUA: Final = Path(__file__).with_name("products.lua")


def framed(message: Message) -> bytes:
    """Return *message* as the body of a unary gRPC call: not compressed, length, bytes."""
    body = message.SerializeToString()
    return b"\0" + len(body).to_bytes(4, "big") + body


def h2load(url: str, *, calls: int, body: Path, answer_bytes: int, headers: Sequence[str] = ()) -> None:
    """Make *calls* unary gRPC calls to *url*, 32 under way on 4 connections.

    Args:
        url: of the method.
        calls: a multiple of 32.
        body: file with the framed request.
        answer_bytes: length of every answer's message. gRPC says in trailers, which h2load does not read, whether a
            call succeeded; but a call that did not has no message.
        headers: more of them, `name: value`.

    Raises:
        BenchFailed: a call failed, or was answered with something else.
    """
    command = ["h2load", "-n", str(calls), "-c", "4", "-m", "8", f"--data={body}"]
    for header in ("content-type: application/grpc", "te: trailers", *headers):  # codespell:ignore te
        command += ["-H", header]
    report = _output([*command, url])
    done = re.search(r"(\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout", report)
    data = re.search(r"\((\d+)\) data", report)
    if done is None or data is None:
        raise BenchFailed(f"h2load says something new:\n{report}")
    if done.groups() != (str(calls), "0", "0", "0") or int(data[1]) != calls * (_FRAME_BYTES + answer_bytes):
        raise BenchFailed(f"not every call of {url} succeeded: {done[0]}, {data[1]} bytes of answers")


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What wrk saw."""

    requests: int
    failed: int
    """Of the requests, those that were not answered, or not with 200."""
    requests_per_s: float
    """Those that did not fail."""
    p50_ms: float
    p99_ms: float


def wrk(url: str, *, seconds: int, rows: int) -> Load:
    """Read `/v1/products/<id>` of *rows* products in turn, on 32 connections, each with one request under way.

    Raises:
        BenchFailed: most requests failed.
    """
    command = ("wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "-s", str(_LUA), url, "--", str(rows))
    seen = json.loads(_output(command).splitlines()[-1])
    requests, failed = seen["requests"], sum(seen["errors"].values())
    if 2 * failed >= requests:
        raise BenchFailed(f"most requests to {url} failed: {seen['errors']} of {requests}")
    return Load(
        requests=requests,
        failed=failed,
        requests_per_s=(requests - failed) / (seen["duration_us"] / 1e6),
        p50_ms=seen["p50_us"] / 1e3,
        p99_ms=seen["p99_us"] / 1e3,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Bought:
    """What wrk saw of orders it placed."""

    answers: int
    confirmed: int
    """Of the answers, those that an order is certain."""
    pending: int
    """Of the answers, those that it isn't known yet."""
    lost: int
    """Requests without an answer."""
    p50_ms: float
    p99_ms: float

    @property
    def failed(self) -> int:
        """Orders that were not answered as certain."""
        return self.answers - self.confirmed + self.lost


def wrk_orders(url: str, *, seconds: int, tokens: Path, orders: Path, prefix: str) -> Bought:
    """Place orders on 16 connections, each with one under way, and wait for the last answer.

    Args:
        url: of the gateway.
        seconds: how long orders are placed, less a part of one.
        tokens: file with an access token in each line; they take turns.
        orders: file with the JSON of an order in each line; they take turns.
        prefix: of the keys that make each order another one.

    Raises:
        BenchFailed: most orders failed.
    """
    script, limit_s = str(_LUA.with_name("orders.lua")), seconds + _LAST_ANSWER_S
    command = ("wrk", "-t1", f"-c{SHOPPERS}", f"-d{limit_s}s", f"--timeout={_LAST_ANSWER_S}s", "-s", script, url, "--")
    arguments = (str(tokens), str(orders), prefix, str(seconds), str(SHOPPERS))
    seen = json.loads(_output((*command, *arguments)).splitlines()[-1])
    p50_ms, p99_ms = seen.pop("p50_us") / 1e3, seen.pop("p99_us") / 1e3
    bought = Bought(**seen, p50_ms=p50_ms, p99_ms=p99_ms)
    if bought.confirmed <= bought.failed:
        raise BenchFailed(f"most orders at {url} failed: {bought}")
    return bought


def _output(command: Sequence[str]) -> str:
    done = subprocess.run(command, check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if done.returncode:
        raise BenchFailed(f"{command[0]} ended with {done.returncode}: {(done.stderr or done.stdout).strip()[-500:]}")
    return done.stdout
