"""Orders through REST, against Express services behind an Express proxy with RabbitMQ between them.

Both sides have the same PostgreSQL, RabbitMQ and payment provider, a database each service, and the same shopper.
"""

from __future__ import annotations

import base64
import http.client
import json
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import psycopg2
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt import PyJWK

from scripts.lib.bench.gateway import UNLIMITED, of_database
from scripts.lib.bench.load import Bought, wrk_orders
from scripts.lib.bench.mesh import RunningMesh, mesh
from scripts.lib.bench.node import install, node
from scripts.lib.bench.processes import cpu_s, folder, provider
from scripts.lib.bench.result import BenchFailed, Effort, Result, compared, interleaved
from scripts.lib.chaos.mesh import ChaosFailed
from scripts.lib.chaos.rabbitmq import running_rabbitmq
from services.local import ADMIN_EMAIL
from weft.data.postgres import EmbeddedPostgres

__all__ = ["orders"]

SKU: Final = "NOTE-A5"
STOCK: Final = 1_000_000
SERVICES: Final = ("users", "catalog", "inventory", "payments", "shipping", "orders")
ALL_DONE_S: Final = 120.0
POLL_S: Final = 0.02
ANSWER_S: Final = 10.0
BASELINE: Final = (
    "Express services behind an Express http-proxy-middleware, one process each, calling each other by HTTP, the same "
    "RabbitMQ, provider and PostgreSQL server"
)
NOTES: Final = (
    "wrk on 16 connections, each placing its next order when the last is answered, on the same CPUs as all it measures",
    (
        "throughput counts what came after the answer too: orders by the time until the last of them was sold, paid "
        "and booked, and its events published and applied"
    ),
    (
        "both answer when goods are reserved and money is held, and write each step into the database of the service "
        "that took it, the ledger of stock included; both wait for the broker's confirmation of each event"
    ),
    (
        "ours besides: a key that makes a repeat safe, an order's state before and after each step, events in the "
        "transaction that makes them true, a history of events, identity between services, checked fields, 10 % of "
        "the traces; theirs loses an order half done when a process ends between two steps"
    ),
    "CPU is that of gateway and services together, without PostgreSQL, broker and provider",
)
# What is left to do, and what is done, in the words of each side's tables.
_OURS_LEFT: Final = "SELECT count(*) FROM sagas WHERE status IN ('running', 'compensating')"
_UNPUBLISHED: Final = "SELECT count(*) FROM outbox WHERE publish_time IS NULL"
_OURS_DONE: Final = "SELECT count(*) FROM sagas WHERE status = 'done'"
_THEIRS_LEFT: Final = "SELECT count(*) FROM orders WHERE state <> 'cancelled' AND NOT (state = 'done' AND shipped)"
_THEIRS_DONE: Final = "SELECT count(*) FROM orders WHERE state = 'done'"


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What one round showed of one side."""

    bought: Bought
    done_per_s: float
    """Orders with nothing left to do, by the time until that was so."""
    cpu_ms: float
    """Of gateway and services, an order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """A shop.

    Attributes:
        pids: of gateway and services.
        left: how much of the orders so far is still to be done.
        done: how many orders are.
    """

    url: str
    pids: tuple[int, ...]
    left: Callable[[], int]
    done: Callable[[], int]

    def buy(self, token: str, body: Path, effort: Effort) -> Seen:
        """Raises BenchFailed when orders are left undone."""
        cpu_before_s, done_before, began_s = self._cpu_s(), self.done(), time.monotonic()
        bought = wrk_orders(self.url, seconds=effort.load_s, body=body, token=token, prefix=secrets.token_hex(8))
        while left := self.left():
            if time.monotonic() - began_s > effort.load_s + ALL_DONE_S:
                raise BenchFailed(f"{left} things are still to be done {ALL_DONE_S:g} s after the last order")
            time.sleep(POLL_S)
        took_s, done = time.monotonic() - began_s, self.done() - done_before
        return Seen(bought=bought, done_per_s=done / took_s, cpu_ms=(self._cpu_s() - cpu_before_s) * 1e3 / done)

    def _cpu_s(self) -> float:
        return sum(map(cpu_s, self.pids))


def orders(effort: Effort) -> list[Result]:
    install()
    with ExitStack() as stack:
        files = stack.enter_context(folder())
        postgres = stack.enter_context(EmbeddedPostgres(files / "postgres"))
        try:
            broker = stack.enter_context(running_rabbitmq(files))
        except ChaosFailed as error:
            raise BenchFailed(str(error)) from None
        env = UNLIMITED | {"SHIPPING_CARRIER_STEP_S": "86400"}  # parcels that move are not in theirs
        urls = ("--database-url", postgres.url, "--broker-url", broker.url)
        running = stack.enter_context(mesh(files, *urls, env=env))
        ours = _ours(running, postgres.url)
        shopper = _prepare(running, files)
        theirs = stack.enter_context(_theirs(files, postgres, broker.url, running, shopper))
        _check_same(shopper, ours, theirs)
        rounds = interleaved(
            {
                name: partial(side.buy, shopper.token, shopper.body, effort)
                for name, side in {"ours": ours, "theirs": theirs}.items()
            },
            effort.load_rounds,
        )
    return _results(rounds)


def _results(rounds: list[dict[str, Seen]]) -> list[Result]:
    refused = [
        f"{side}: {sum(found[side].bought.requests - found[side].bought.confirmed for found in rounds):,} of "
        f"{sum(found[side].bought.requests for found in rounds):,} requests were not answered with a certain order"
        for side in ("ours", "theirs")
    ]

    def line(what: str, unit: str, value: Callable[[Seen], float]) -> Result:
        pairs = [(value(found["ours"]), value(found["theirs"])) for found in rounds]
        return compared("orders", what, unit, pairs, baseline=BASELINE, notes=[*NOTES, *refused])

    return [
        line("throughput", "orders/s", lambda seen: seen.done_per_s),
        line("p50 until certain", "ms", lambda seen: seen.bought.p50_ms),
        line("p99 until certain", "ms", lambda seen: seen.bought.p99_ms),
        line("CPU", "ms/order", lambda seen: seen.cpu_ms),
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Shopper:
    """Whoever buys on both sides.

    Attributes:
        product: what they buy, as the catalog has it.
        body: file with an order of one.
    """

    user_id: str
    token: str
    product: Mapping[str, Any]
    body: Path


def _prepare(running: RunningMesh, files: Path) -> _Shopper:
    """Fill our shelf, and make the shopper."""
    password = (running.state.path / "keys" / "admin-password").read_text().strip()
    login = {"email": ADMIN_EMAIL, "password": password}
    admin = _post(running.url, "/v1/users:login", login)["tokens"]["accessToken"]
    delivery = {"delta": STOCK, "reason": "for a bench"}
    _post(running.url, f"/v1/stock/{SKU}:adjust", delivery, token=admin, key="bench")
    account = {"email": "bench@example.com", "password": secrets.token_hex(), "firstName": "Anna", "lastName": "Berg"}
    registered = _post(running.url, "/v1/users", account)
    products = running.get_json("/v1/products")["products"]
    product = next(each for each in products if each["sku"] == SKU)
    body = files / "order.json"
    body.write_text(
        json.dumps(
            {
                "lines": [{"productId": product["productId"], "quantity": 1}],
                "paymentMethod": "pm_test_accepted",
                "destination": {
                    "recipient": "Anna Berg",
                    "streetLines": ["Hauptstrasse 1"],
                    "postalCode": "10115",
                    "city": "Berlin",
                    "countryCode": "DE",
                },
            }
        )
    )
    user_id, token = registered["user"]["userId"], registered["tokens"]["accessToken"]
    return _Shopper(user_id=user_id, token=token, product=product, body=body)


def _ours(running: RunningMesh, database_url: str) -> Side:
    record = running.until_ready()
    pids = {each.name: each.pid for each in record.processes}

    def left() -> int:
        unpublished = sum(_count(of_database(database_url, name), _UNPUBLISHED) for name in SERVICES)
        return unpublished + _count(of_database(database_url, "orders"), _OURS_LEFT)

    return Side(
        url=running.url,
        pids=tuple(pids[name] for name in ("envoy", *SERVICES)),
        left=left,
        done=partial(_count, of_database(database_url, "orders"), _OURS_DONE),
    )


@contextmanager
def _theirs(
    files: Path, postgres: EmbeddedPostgres, broker_url: str, running: RunningMesh, shopper: _Shopper
) -> Iterator[Side]:
    """Run the provider, the services and the gateway."""
    urls = {name: postgres.ensure_database(f"bench_{name}") for name in SERVICES}
    with ExitStack() as stack:
        paying = stack.enter_context(provider(files / "bench-provider.db", log=files / "bench-provider.log"))
        known = {"PROVIDER_URL": paying.url, "BROKER_URL": broker_url, "JWT_PUBLIC_KEY": _public_key(running)}
        pids = []
        for name in SERVICES:
            env = known | {"DATABASE_URL": urls[name]}
            service = stack.enter_context(node(f"orders/{name}.js", log=files / f"bench-{name}.log", env=env))
            known[f"{name.upper()}_URL"] = service.url
            pids.append(service.pid)
        front = stack.enter_context(
            node("gateway.js", log=files / "bench-gateway.log", env={"TARGET": known["ORDERS_URL"]})
        )
        product, price = shopper.product, shopper.product["price"]
        _run(urls["users"], "INSERT INTO users VALUES (%s)", shopper.user_id)
        _run(
            urls["catalog"],
            "INSERT INTO products VALUES (%s, %s, %s, %s, %s)",
            product["productId"], SKU, product["name"], price["units"], price.get("nanos", 0),
        )  # fmt: skip
        _run(urls["inventory"], "INSERT INTO stock VALUES (%s, %s)", SKU, STOCK)
        yield Side(
            url=front.url,
            pids=(front.pid, *pids),
            left=partial(_count, urls["orders"], _THEIRS_LEFT),
            done=partial(_count, urls["orders"], _THEIRS_DONE),
        )


def _public_key(running: RunningMesh) -> str:
    """Return the key that our tokens are checked with, as PEM in base64."""
    (jwk,) = json.loads((running.state.path / "keys" / "jwks.json").read_text())["keys"]
    pem = PyJWK(jwk).key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return base64.b64encode(pem).decode()


def _check_same(shopper: _Shopper, *sides: Side) -> None:
    """Raise BenchFailed unless an order ends alike on all *sides*: otherwise they would not be comparable."""
    order = json.loads(shopper.body.read_text())
    answers = [_post(side.url, "/v1/orders", order, token=shopper.token, key="same")["order"] for side in sides]
    facts = [(answer["state"], answer["total"], answer["userId"]) for answer in answers]
    if any(fact != ("STATE_CONFIRMED", shopper.product["price"], shopper.user_id) for fact in facts):
        raise BenchFailed(f"the sides answer differently: {answers}")


def _post(url: str, path: str, body: Mapping[str, Any], *, token: str = "", key: str = "") -> Any:
    authorization = f"Bearer {token}" if token else ""
    headers = {"content-type": "application/json", "authorization": authorization, "idempotency-key": key}
    with closing(http.client.HTTPConnection(url.removeprefix("http://"), timeout=ANSWER_S)) as connection:
        connection.request("POST", path, json.dumps(body), {name: text for name, text in headers.items() if text})
        response = connection.getresponse()
        text = response.read()
    if response.status != http.client.OK:
        raise BenchFailed(f"POST {path} answers {response.status}: {text.decode(errors='replace')[:300]}")
    return json.loads(text)


def _count(url: str, question: str) -> int:
    with closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
        cursor.execute(question)
        ((count,),) = cursor.fetchall()
        return int(count)


def _run(url: str, statement: str, *values: object) -> None:
    with closing(psycopg2.connect(url)) as connection, connection, connection.cursor() as cursor:
        cursor.execute(statement, values)
