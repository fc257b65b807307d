"""The services as their `__main__` puts them together, and what `weft up` gives them."""

from __future__ import annotations

import asyncio
import stat
from collections import Counter
from contextlib import asynccontextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from aiohttp import web
from google.protobuf.json_format import ParseDict
from shop.catalog.v1 import catalog_pb2, catalog_pb2_grpc
from shop.users.v1 import users_pb2, users_pb2_grpc
from sqlalchemy import text

from services import local
from tests.mesh.services.calls import Calls, euros, refusal
from weft.client import Peers
from weft.config import ConfigError
from weft.events.outbox import Outbox
from weft.security import SigningKey, TokenVerifier
from weft.server import Parts, Runtime
from weft.telemetry import Tracing
from weft.testing import TestServer, serving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
    from pathlib import Path

    from tests.mesh.services.conftest import Catalog
    from weft.data import Database


@asynccontextmanager
async def built(service: str, url: str, env: Mapping[str, str]) -> AsyncIterator[Parts]:
    main = import_module(f"services.{service}.__main__")
    tracing = Tracing("test")
    async with Peers(tracing) as peers:
        outbox = Outbox(main.service.name)
        name = main.service.name
        runtime = Runtime(name=name, env=env, database_url=url, peers=peers, tracing=tracing, outbox=outbox)
        async with main.service.build(runtime) as parts:
            yield parts


@asynccontextmanager
async def running(service: str, url: str, env: Mapping[str, str], **options: Any) -> AsyncIterator[TestServer]:
    async with (
        built(service, url, env) as parts,
        serving(parts.servicers, database=parts.database, **options) as server,
    ):
        yield server


@pytest.fixture(name="empty_url")
async def _empty_url(
    database_url: Callable[[str], str], empty_database: Callable[[str], Awaitable[Database]]
) -> Callable[[str], Awaitable[str]]:
    """Return the URL of a service's database, emptied."""

    async def make(service: str) -> str:
        await empty_database(service)
        return database_url(service)

    return make


@pytest.mark.parametrize("name", ["users", "catalog", "orders", "inventory", "payments", "shipping", "notifications"])
def test_a_service_is_named_as_its_contract_says_and_has_migrations(name: str) -> None:
    service = import_module(f"services.{name}.__main__").service

    assert service.name == name
    assert list((service.migrations / "versions").glob("0001_*.py"))


async def test_the_administrator_of_a_new_shop_can_log_in(
    empty_url: Callable[[str], Awaitable[str]], tmp_path: Path
) -> None:
    env = local.prepare(tmp_path).env
    key = SigningKey.load(tmp_path / "keys" / "signing.pem")
    credentials = {"email": env["users"]["USERS_ADMIN_EMAIL"], "password": env["users"]["USERS_ADMIN_PASSWORD"]}
    url = await empty_url("users")

    for _ in range(2):  # the second start finds the account
        async with running("users", url, env["users"], key=key) as server:
            users = Calls(users_pb2_grpc.UsersServiceStub(server.channel))
            response = await users.Login(users_pb2.LoginRequest(**credentials))

    identity = TokenVerifier(tmp_path / "keys" / "jwks.json").verify(response.tokens.access_token)
    assert identity.subject == response.user.user_id
    assert identity.roles == {"user", "admin"}


async def test_users_needs_its_key_and_says_so(empty_url: Callable[[str], Awaitable[str]]) -> None:
    with pytest.raises(ConfigError) as refused:
        async with built("users", await empty_url("users"), {}):
            pass

    assert refused.value.problems == ("USERS_SIGNING_KEY_FILE is not set",)


async def test_an_administrators_password_without_an_address_is_refused_and_not_repeated(
    empty_url: Callable[[str], Awaitable[str]],
) -> None:
    env = {"USERS_SIGNING_KEY_FILE": "key.pem", "USERS_ADMIN_PASSWORD": "correct horse"}

    with pytest.raises(ConfigError) as refused:
        async with built("users", await empty_url("users"), env):
            pass

    assert "USERS_ADMIN_EMAIL" in str(refused.value)
    assert "correct horse" not in str(refused.value)


async def test_the_catalogs_currency_is_a_setting(empty_url: Callable[[str], Awaitable[str]]) -> None:
    url = await empty_url("catalog")
    async with running("catalog", url, {"CATALOG_CURRENCY": "CHF"}) as server:
        admin = Calls(catalog_pb2_grpc.CatalogServiceStub(server.channel), server.token("root", ("admin",)))
        mug = catalog_pb2.Product(sku="MUG", name="Mug", category="kitchen")
        mug.price.currency_code = "EUR"

        error = await refusal(admin.CreateProduct(catalog_pb2.CreateProductRequest(product=mug)))
        mug.price.currency_code = "CHF"
        added = await admin.CreateProduct(catalog_pb2.CreateProductRequest(product=mug))

    assert (error.reason, error.metadata) == ("CURRENCY_NOT_SUPPORTED", {"supported": "CHF"})
    assert added.product.price.currency_code == "CHF"
    with pytest.raises(ConfigError):
        async with built("catalog", url, {"CATALOG_CURRENCY": "euro"}):
            pass


@pytest.mark.parametrize(
    ("service", "table", "old"),
    [
        ("orders", "placements", "select 'ada', 'basket-1', gen_random_uuid(), '', now() - interval '2 days'"),
        (
            "inventory",
            "reservations",
            """select gen_random_uuid(), 'committed', '{"MUG": 1}', now(), now(), now() - interval '2 years'""",
        ),
    ],
)
async def test_what_was_kept_long_enough_is_deleted_beside_the_calls(
    empty_url: Callable[[str], Awaitable[str]],
    eventually: Callable[[Callable[[], Awaitable[bool]]], Awaitable[None]],
    service: str,
    table: str,
    old: str,
) -> None:
    async with built(service, await empty_url(service), {}) as parts:
        assert parts.database
        database = parts.database
        async with database.transaction() as tx:
            await tx.execute(text(f"insert into {table} {old}"))

        async def is_gone() -> bool:
            async with database.transaction() as tx:
                return not await tx.scalar(text(f"select count(*) from {table}"))

        loops = [asyncio.create_task(loop()) for loop in parts.background]
        try:
            await eventually(is_gone)
        finally:
            for loop in loops:
                loop.cancel()
            await asyncio.wait(loops)


async def test_orders_needs_no_settings(empty_url: Callable[[str], Awaitable[str]]) -> None:
    async with built("orders", await empty_url("orders"), {}) as parts:
        assert list(parts.servicers) == ["shop.orders.v1.OrdersService"]


def test_what_is_prepared_is_kept_and_secret(tmp_path: Path) -> None:
    first, second = local.prepare(tmp_path), local.prepare(tmp_path)

    assert first.env["users"] == second.env["users"]
    assert len(first.env["users"]["USERS_ADMIN_PASSWORD"]) >= 20
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "keys").iterdir()}
    assert modes["signing.pem"] == modes["admin-password"] == 0o600


async def test_what_a_new_shop_sells_is_as_the_catalog_wants_it(catalog: Catalog) -> None:
    for each in local.PRODUCTS:
        product = ParseDict(dict(each), catalog_pb2.Product())
        await catalog.admin.CreateProduct(catalog_pb2.CreateProductRequest(product=product))

    found = await catalog.calls.ListProducts(catalog_pb2.ListProductsRequest(query="mugs", order_by="name"))
    assert [(each.name, each.price) for each in found.products] == [
        ("Stoneware mug, blue", euros("14.50")),
        ("Stoneware mug, sand", euros("14.50")),
    ]


class Rest:
    """The shop's REST API, as far as filling it needs one."""

    def __init__(self, password: str) -> None:
        self.password = password
        self.skus: set[str] = set()
        self.delivered: Counter[str] = Counter()
        self.is_cold = True

    async def login(self, request: web.Request) -> web.Response:
        assert await request.json() == {"email": local.ADMIN_EMAIL, "password": self.password}
        return web.json_response({"tokens": {"accessToken": "the token"}})

    async def create(self, request: web.Request) -> web.Response:
        assert request.headers["authorization"] == "Bearer the token"
        product = (await request.json())["product"]
        if product["sku"] in self.skus:
            return web.json_response({"code": 6}, status=409)
        self.skus.add(product["sku"])
        return web.json_response({"product": product})

    async def stock(self, request: web.Request) -> web.Response:
        if self.is_cold:  # the first call takes too long
            self.is_cold = False
            return web.json_response({"code": 4}, status=504)
        sku = request.match_info["sku"]
        return web.json_response({"stock": {"sku": sku}}, status=200 if sku in self.delivered else 404)

    async def adjust(self, request: web.Request) -> web.Response:
        self.delivered[request.match_info["sku"]] += (await request.json())["delta"]
        assert request.headers["idempotency-key"]
        return web.json_response({})


async def test_a_shop_is_filled_once_however_slow_it_is_to_start(tmp_path: Path) -> None:
    password = local.prepare(tmp_path).env["users"]["USERS_ADMIN_PASSWORD"]
    local.mail_folder(tmp_path).mkdir()  # as notifications does that writes into it
    rest = Rest(password)
    app = web.Application()
    app.add_routes(
        [
            web.post("/v1/users:login", rest.login),
            web.post("/v1/products", rest.create),
            web.get("/v1/stock/{sku}", rest.stock),
            web.post("/v1/stock/{sku}:adjust", rest.adjust),
        ]
    )
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        (_, port, *_) = runner.addresses[0]

        rows = [await local.fill(tmp_path, f"http://127.0.0.1:{port}") for _ in range(2)]
    finally:
        await runner.cleanup()

    assert len(rest.skus) == len(local.PRODUCTS) == 12
    assert set(rest.delivered.values()) == {local.FIRST_DELIVERY}
    assert rest.delivered.keys() == rest.skus
    assert rows == [[("admin", f"{local.ADMIN_EMAIL} / {password}"), ("mails", str(tmp_path / "mail"))]] * 2


async def test_filling_a_shop_that_is_not_there_fails(tmp_path: Path) -> None:
    local.prepare(tmp_path)

    with pytest.raises(aiohttp.ClientError):
        await local.fill(tmp_path, "http://127.0.0.1:1")


async def test_notifications_writes_where_it_is_told_to_and_into_a_folder_of_the_mesh(
    empty_url: Callable[[str], Awaitable[str]], tmp_path: Path
) -> None:
    env = local.prepare(tmp_path / "a state").env["notifications"]

    async with built("notifications", await empty_url("notifications"), env) as parts:
        assert list(parts.servicers) == ["shop.notifications.v1.NotificationsService"]

    assert sorted(path.name for path in local.mail_folder(tmp_path / "a state").iterdir()) == ["cur", "new", "tmp"]


@pytest.mark.parametrize(
    ("env", "problem"),
    [
        ({}, "NOTIFICATIONS_MAIL_URL is not set"),
        ({"NOTIFICATIONS_SMS_URL": "http://sms"}, "NOTIFICATIONS_WEBHOOK_SECRET_FILE is not set"),
        (
            {"NOTIFICATIONS_PUSH_URL": "http://push", "NOTIFICATIONS_WEBHOOK_SECRET_FILE": "/nowhere"},
            "NOTIFICATIONS_WEBHOOK_SECRET_FILE can't be read",
        ),
        (
            {"NOTIFICATIONS_PUSH_URL": "http://push", "NOTIFICATIONS_WEBHOOK_SECRET_FILE": "/dev/null"},
            "NOTIFICATIONS_WEBHOOK_SECRET_FILE is empty",
        ),
    ],
)
async def test_notifications_says_what_it_needs(
    empty_url: Callable[[str], Awaitable[str]], env: Mapping[str, str], problem: str
) -> None:
    mail = {"NOTIFICATIONS_MAIL_URL": "smtp://127.0.0.1:1"} if env else {}

    with pytest.raises(ConfigError) as refused:
        async with built("notifications", await empty_url("notifications"), {**mail, **env}):
            pass

    assert refused.value.problems == (problem,)
