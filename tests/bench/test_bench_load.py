"""What wrk does with an order, by a shop that answers as it is told to."""

from __future__ import annotations

import json
import shutil
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import cycle
from pathlib import Path

import pytest

from scripts.lib.bench.load import SHOPPERS, wrk_orders
from scripts.lib.bench.rest import call
from scripts.lib.bench.result import BenchFailed

needs_wrk = pytest.mark.skipif(shutil.which("wrk") is None, reason="wrk is not installed")

CONFIRMED = 200, "STATE_CONFIRMED"
PENDING = 200, "STATE_PENDING"
REFUSED = 409, ""


@dataclass
class Shop:
    """What a shop was asked, in the order of its answers."""

    url: str = ""
    keys: list[str] = field(default_factory=list)
    tokens: Counter[str] = field(default_factory=Counter)
    orders: Counter[str] = field(default_factory=Counter)
    begun: int = 0


@contextmanager
def shop(*answers: tuple[int, str], delay_s: float = 0.0) -> Iterator[Shop]:
    """Serve *answers*, status and state of an order, in turn."""
    seen, lock, turns = Shop(), threading.Lock(), cycle(answers)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_POST(self) -> None:
            with lock:
                seen.begun += 1
                status, state = next(turns)
            order = self.rfile.read(int(self.headers["content-length"])).decode()
            time.sleep(delay_s)
            with lock:
                seen.keys.append(self.headers["idempotency-key"])
                seen.tokens[self.headers["authorization"].removeprefix("Bearer ")] += 1
                seen.orders[order] += 1
            body = json.dumps({"order": {"state": state}}).encode()
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    seen.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield seen
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def lines(path: Path, texts: Sequence[str]) -> Path:
    path.write_text("".join(f"{text}\n" for text in texts))
    return path


@needs_wrk
def test_every_order_has_a_key_of_its_own_and_shoppers_and_orders_take_turns(tmp_path: Path) -> None:
    tokens, orders = lines(tmp_path / "tokens", ["anna", "boris"]), lines(tmp_path / "orders", ['{"a": 1}', '{"b": 2}'])

    with shop(CONFIRMED, delay_s=0.02) as seen:
        bought = wrk_orders(seen.url, seconds=1, tokens=tokens, orders=orders, prefix="k")

    assert bought.confirmed == bought.answers == len(seen.keys) >= SHOPPERS
    assert bought.failed == 0
    assert len(set(seen.keys)) == len(seen.keys)
    assert all(key.startswith("k-") for key in seen.keys)
    assert abs(seen.tokens["anna"] - seen.tokens["boris"]) <= 1
    assert abs(seen.orders['{"a": 1}'] - seen.orders['{"b": 2}']) <= 1


@needs_wrk
def test_no_order_is_left_without_its_answer(tmp_path: Path) -> None:
    tokens, orders = lines(tmp_path / "tokens", ["anna"]), lines(tmp_path / "orders", ["{}"])

    with shop(CONFIRMED, delay_s=0.3) as seen:
        bought = wrk_orders(seen.url, seconds=1, tokens=tokens, orders=orders, prefix="k")

        assert bought.answers == seen.begun == len(seen.keys)


@needs_wrk
def test_only_orders_that_are_certain_count(tmp_path: Path) -> None:
    tokens, orders = lines(tmp_path / "tokens", ["anna"]), lines(tmp_path / "orders", ["{}"])

    with shop(CONFIRMED, CONFIRMED, CONFIRMED, PENDING, REFUSED, delay_s=0.02) as seen:
        bought = wrk_orders(seen.url, seconds=1, tokens=tokens, orders=orders, prefix="k")

    assert 0 < bought.pending < bought.failed < bought.confirmed
    assert bought.confirmed + bought.failed == bought.answers


@needs_wrk
def test_a_shop_that_refuses_most_orders_can_not_be_measured(tmp_path: Path) -> None:
    tokens, orders = lines(tmp_path / "tokens", ["anna"]), lines(tmp_path / "orders", ["{}"])

    with shop(CONFIRMED, REFUSED, REFUSED, delay_s=0.02) as seen, pytest.raises(BenchFailed, match="most orders"):
        wrk_orders(seen.url, seconds=1, tokens=tokens, orders=orders, prefix="k")


def test_a_call_sends_token_and_key_and_returns_what_is_answered() -> None:
    with shop(CONFIRMED) as seen:
        answer = call("POST", seen.url, "/v1/orders", {"a": 1}, token="anna", key="once")

    assert answer == {"order": {"state": "STATE_CONFIRMED"}}
    assert seen.keys == ["once"]
    assert seen.tokens == {"anna": 1}
    assert seen.orders == {'{"a": 1}': 1}


def test_a_call_that_is_refused_says_where_and_how() -> None:
    with shop(REFUSED) as seen, pytest.raises(BenchFailed, match="POST /v1/orders answers 409"):
        call("POST", seen.url, "/v1/orders", {}, token="anna", key="once")
