"""Webhooks as Stripe sends them: over HTTP, through a real Envoy, to payments as its `__main__` puts it together."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from shop.payments.v1 import payments_pb2 as pb
from shop.payments.v1 import payments_pb2_grpc
from sqlalchemy import text

import services.payments.__main__ as main
from tests.mesh.gateway.edge import Answer, Gateway, Library, running_gateway
from tests.mesh.services.calls import KEY, Calls, euros
from tests.mesh.services.payments.parts import ROOT
from tests.mesh.services.payments.requests import capture
from tests.mesh.services.payments.stripe_stand_in import API_KEY, WEBHOOK_SECRET, StripeStandIn, webhook
from weft.client import Peers
from weft.events import Outbox
from weft.gateway import GatewayConfig, docs, static
from weft.security import write_jwks
from weft.server import Runtime
from weft.telemetry import Tracing
from weft.testing import TestServer, serving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from tests.mesh.services.payments.waiting import Eventually
    from weft.data import Database

CONTENT_TYPE = "application/json; charset=utf-8"
"""As Stripe sends it."""


@dataclass(frozen=True, kw_only=True)
class Shop:
    """A shop that is paid through Stripe, and its front door."""

    gateway: Gateway
    server: TestServer
    database: Database
    stripe: StripeStandIn

    async def captured(self) -> str:
        """Have an order's money taken; return the order's id."""
        order_id = str(uuid4())
        orders = Calls(payments_pb2_grpc.PaymentsServiceStub(self.server.channel), self.server.service_token("orders"))
        request = pb.AuthorizePaymentRequest(
            order_id=order_id, user_id="ada", amount=euros("14"), payment_method="pm_card_visa"
        )
        await orders.AuthorizePayment(request)
        await orders.CapturePayment(capture(order_id, "14"))
        return order_id

    async def send(self, body: bytes, signature: str | None) -> Answer:
        """Post a webhook as Stripe does."""
        headers = {"content-type": CONTENT_TYPE} | ({} if signature is None else {"Stripe-Signature": signature})
        return await self.gateway.rest("POST", "/v1/webhooks/stripe", data=body, headers=headers)

    async def state(self, order_id: str) -> str:
        """Return where a payment stands, as an administrator sees it through the front door."""
        headers = dict(self.server.token("root", ("admin",)))
        answer = await self.gateway.rest("GET", f"/v1/orders/{order_id}/payment", headers=headers)
        return str(answer.json["payment"]["state"])

    async def nobody_was_asked(self) -> bool:
        """Tell whether no payment is due to be asked about."""
        async with self.database.transaction() as tx:
            return not await tx.scalar(text("select count(*) from payments where is_nudged or due_time is not null"))


@asynccontextmanager
async def doing(*loops: Callable[[], Awaitable[None]]) -> AsyncIterator[None]:
    """Have done what a service does beside its calls."""
    tasks = [asyncio.ensure_future(loop()) for loop in loops]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


@pytest.fixture(name="shop")
async def _shop(payments_database: Database, database_url: Callable[[str], str], tmp_path: Path) -> AsyncIterator[Shop]:
    env = {}
    for name, secret in (
        ("PAYMENTS_STRIPE_KEY_FILE", API_KEY),
        ("PAYMENTS_STRIPE_WEBHOOK_SECRET_FILE", WEBHOOK_SECRET),
    ):
        (tmp_path / name).write_text(secret)
        env[name] = str(tmp_path / name)
    library = Library(ROOT / "gen" / "image.binpb")
    async with StripeStandIn.running() as stripe, Peers(Tracing("test")) as peers:
        runtime = Runtime(
            tracing=Tracing("test"),
            name=main.service.name,
            env=env | {"PAYMENTS_STRIPE_URL": stripe.url},
            database_url=database_url("payments"),
            peers=peers,
            outbox=Outbox(main.service.name),
        )
        async with (
            main.service.build(runtime) as parts,
            serving(parts.servicers, database=parts.database, key=KEY) as server,
            doing(*parts.background),
        ):
            host, _, port = server.target.partition(":")
            nowhere = {service.name: [("127.0.0.1", 1)] for service in library.contract.services}
            hosts = nowhere | {main.service.name: [(host, int(port))]}
            form = static(library.contract, GatewayConfig(port=0), hosts=hosts, folder=str(tmp_path), admin_port=0)
            (tmp_path / "envoy.yaml").write_text(form)
            (tmp_path / "image.binpb").symlink_to(library.image)
            (tmp_path / "openapi.json").symlink_to(ROOT / "gen" / "openapi.json")
            (tmp_path / "docs.html").write_text(docs.page())
            write_jwks([KEY], tmp_path / "jwks.json")
            async with running_gateway(library, tmp_path) as gateway:
                yield Shop(gateway=gateway, server=server, database=payments_database, stripe=stripe)


async def test_money_given_back_at_stripes_own_desk_is_noticed(shop: Shop, eventually: Eventually) -> None:
    order_id = await shop.captured()
    (charge,) = shop.stripe.charges.values()
    (name,) = shop.stripe.intents
    charge["amount_refunded"] = 1400

    answers = [
        await shop.send(*webhook({"id": charge["id"], "object": "charge", "payment_intent": name})) for _ in range(2)
    ]

    async def is_refunded() -> bool:
        return await shop.state(order_id) == "STATE_REFUNDED"

    await eventually(is_refunded)
    assert [(answer.status, answer.json) for answer in answers] == [(200, {})] * 2


async def test_what_was_signed_arrives_byte_for_byte(shop: Shop) -> None:
    """A proxy that reads JSON and writes it again would break every signature."""
    await shop.captured()
    (intent,) = shop.stripe.intents.values()
    odd: dict[str, Any] = {
        "description": "Grüße 🎁 \\ud83d </script>",
        "big": 12345678901234567890,
        "small": 1.10,
        "": None,
    }

    answer = await shop.send(*webhook(intent | odd))

    assert (answer.status, answer.json) == (200, {})


@pytest.mark.parametrize("wrong", ["secret", "age", "body", "missing", "in the body"])
async def test_a_forged_webhook_is_refused_and_does_nothing(shop: Shop, wrong: str) -> None:
    order_id = await shop.captured()
    (intent,) = shop.stripe.intents.values()
    asked = len(shop.stripe.requests)
    body, signature = webhook(
        intent, secret="whsec_other" if wrong == "secret" else WEBHOOK_SECRET, age_s=3600 if wrong == "age" else 0
    )
    # What gRPC callers would send as the whole message is nothing but the body here.
    wrapped = json.dumps({"event": {"contentType": "application/json", "data": ""}}).encode()
    forged: dict[str, tuple[bytes, str | None]] = {
        "body": (body + b" ", signature),
        "missing": (body, None),
        "in the body": (wrapped, signature),
    }

    answer = await shop.send(*forged.get(wrong, (body, signature)))

    assert (answer.status, answer.json["details"][0]["reason"]) == (401, "SIGNATURE_INVALID")
    assert await shop.nobody_was_asked()
    assert len(shop.stripe.requests) == asked
    assert await shop.state(order_id) == "STATE_CAPTURED"


async def test_a_webhook_without_a_body_is_refused(shop: Shop) -> None:
    answer = await shop.send(b"", webhook({})[1])

    assert (answer.status, answer.json["details"][0]["reason"]) == (401, "SIGNATURE_INVALID")
