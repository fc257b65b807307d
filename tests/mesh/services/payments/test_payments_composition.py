"""Payments as its `__main__` puts it together, its settings, and its schema."""

from __future__ import annotations

from contextlib import asynccontextmanager, closing
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import psycopg2
import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from shop.payments.v1 import payments_pb2 as pb
from shop.payments.v1 import payments_pb2_grpc

import services.payments.__main__ as main
from services.payments import store
from services.payments.stripe import StripeProvider
from services.payments.tables import metadata
from tests.mesh.services.calls import KEY, Calls, euros, refusal
from tests.mesh.services.payments.requests import capture
from tests.mesh.services.payments.stripe_stand_in import API_KEY, WEBHOOK_SECRET, StripeStandIn
from tests.mesh.services.test_statements import filled, plan
from weft.client import Peers
from weft.config import ConfigError
from weft.data import Database
from weft.events import Outbox
from weft.server import Parts, Runtime
from weft.telemetry import Tracing
from weft.testing import serving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

    from tests.mesh.services.payments.parts import Simulator

URL = {"PAYMENTS_PROVIDER_URL": "http://127.0.0.1:1"}
STRIPE = {"PAYMENTS_STRIPE_KEY_FILE": "key", "PAYMENTS_STRIPE_WEBHOOK_SECRET_FILE": "secret"}


@asynccontextmanager
async def built(url: str, env: Mapping[str, str]) -> AsyncIterator[Parts]:
    async with Peers(Tracing("test")) as peers:
        runtime = Runtime(
            tracing=Tracing("test"),
            name=main.service.name,
            env=env,
            database_url=url,
            peers=peers,
            outbox=Outbox(main.service.name),
        )
        async with main.service.build(runtime) as parts:
            yield parts


@pytest.fixture(name="empty_url")
async def _empty_url(empty_database: Callable[[str], Awaitable[Database]], database_url: Callable[[str], str]) -> str:
    """Return the URL of the database, emptied."""
    await empty_database("payments")
    return database_url("payments")


async def authorize(parts: Parts, payment_method: str, *, and_capture: bool = False) -> None:
    async with serving(parts.servicers, database=parts.database, key=KEY) as server:
        orders = Calls(payments_pb2_grpc.PaymentsServiceStub(server.channel), server.service_token("orders"))
        order_id = str(uuid4())
        await orders.AuthorizePayment(
            pb.AuthorizePaymentRequest(
                order_id=order_id, user_id="ada", amount=euros("14.50"), payment_method=payment_method
            )
        )
        if and_capture:
            await orders.CapturePayment(capture(order_id))


async def test_money_moves_through_the_simulated_provider(empty_url: str, simulator: Simulator) -> None:
    async with built(empty_url, {"PAYMENTS_PROVIDER_URL": simulator.url}) as parts:
        await authorize(parts, "pm_test_accepted")

        assert len(parts.background) == 1


async def test_invoices_are_issued_in_the_name_that_is_set(empty_url: str, simulator: Simulator) -> None:
    env = {"PAYMENTS_PROVIDER_URL": simulator.url, "PAYMENTS_SELLER": "Weft Shop Ltd; 1 Loom Street ;VAT GB 1"}
    async with built(empty_url, env) as parts:
        await authorize(parts, "pm_test_accepted", and_capture=True)

    async with Database.open(empty_url) as database, database.transaction() as tx:
        seller = await tx.scalar(sa.text("select seller from invoices"))
    assert seller == ["Weft Shop Ltd", "1 Loom Street", "VAT GB 1"]


async def test_money_moves_through_stripe_with_secrets_from_files(empty_url: str, tmp_path: Path) -> None:
    (tmp_path / "key").write_text(f"{API_KEY}\n")
    (tmp_path / "secret").write_text(f"{WEBHOOK_SECRET}\n")
    async with StripeStandIn.running() as stripe:
        env = {name: str(tmp_path / file) for name, file in STRIPE.items()} | {"PAYMENTS_STRIPE_URL": stripe.url}
        async with built(empty_url, env) as parts:
            await authorize(parts, "pm_card_visa")

            async with serving(parts.servicers, database=parts.database, key=KEY) as server:
                stub = Calls(payments_pb2_grpc.PaymentsServiceStub(server.channel))
                error = await refusal(stub.HandleStripeWebhook(pb.HandleStripeWebhookRequest()))

        assert stripe.done == {"confirm": 1}
        assert error.reason == "SIGNATURE_INVALID"


@pytest.mark.parametrize(
    "env",
    [
        {},
        URL | STRIPE,
        URL | {"PAYMENTS_STRIPE_KEY_FILE": "key"},
        URL | {"PAYMENTS_STRIPE_URL": "http://127.0.0.1:1"},
        {"PAYMENTS_STRIPE_KEY_FILE": "key"},
        {"PAYMENTS_STRIPE_WEBHOOK_SECRET_FILE": "secret"},
        {"PAYMENTS_STRIPE_URL": "http://127.0.0.1:1"},
    ],
    ids=" ".join,
)
async def test_there_is_one_provider(env: Mapping[str, str]) -> None:
    with pytest.raises(ConfigError) as refused:
        async with built("postgresql://", env):
            pass

    assert refused.value.problems == (main.ONE_PROVIDER,)


async def test_secrets_that_are_not_there_are_named_all_at_once(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("\n")
    env = {name: str(tmp_path / file) for name, file in STRIPE.items()} | {"STRIPE_LOG": "debug"}

    with pytest.raises(ConfigError) as refused:
        async with built("postgresql://", env):
            pass

    assert refused.value.problems == (
        "STRIPE_LOG has whole requests written to the log, cards included: unset it",
        "PAYMENTS_STRIPE_KEY_FILE can't be read",
        "PAYMENTS_STRIPE_WEBHOOK_SECRET_FILE is empty",
    )


def test_secrets_show_in_nothing_that_is_printed() -> None:
    assert API_KEY not in repr(main.StripeSecrets(key=API_KEY, webhook_secret=WEBHOOK_SECRET))
    assert WEBHOOK_SECRET not in repr(main.StripeSecrets(key=API_KEY, webhook_secret=WEBHOOK_SECRET))


async def test_stripe_is_where_it_is_unless_a_stand_in_is() -> None:
    async with StripeProvider.open(API_KEY) as provider:
        addresses = provider._client._requestor._options.base_addresses

    assert addresses["api"] == "https://api.stripe.com"


def test_the_service_is_named_as_its_contract_says_and_has_migrations() -> None:
    assert main.service.name == "payments"
    assert main.service.migrations
    assert list((main.service.migrations / "versions").glob("0001_*.py"))


def test_the_tables_are_what_the_migrations_make(database_url: Callable[[str], str]) -> None:
    with closing(psycopg2.connect(database_url("payments"))) as connection:
        engine = sa.create_engine("postgresql+psycopg2://", creator=lambda: connection)
        with engine.connect() as connected:
            ours = set(metadata.tables)
            context = MigrationContext.configure(
                connected,
                opts={"include_name": lambda name, kind, _: kind != "table" or name in ours, "compare_type": True},
            )
            differences = compare_metadata(context, metadata)

    assert differences == []


MANY = """
    insert into payments
        (payment_id, order_id, user_id, currency, amount_minor, refunded_minor, state, decline_code, attempts, due_time,
         is_nudged, create_time, update_time)
    select gen_random_uuid(), gen_random_uuid(), 'ada', 'EUR', 1450, 0, 'captured', '', 0,
           case when n % 100 = 0 then now() + interval '1 hour' end, false, now() - n * interval '1 minute', now()
    from generate_series(1, 5000) n
"""


async def test_pages_and_what_is_due_are_read_from_their_indexes(
    empty_database: Callable[[str], Awaitable[Database]],
) -> None:
    database = await filled(await empty_database("payments"), MANY)

    first = await plan(database, store._FIRST_PAGE, limit=51)
    later = await plan(database, store._NEXT_PAGE, limit=51, create_time=datetime.now(UTC), payment_id=uuid4())
    due = await plan(database, store._ANY_DUE)

    for text in (first, later):
        assert "payments_by_create_time" in text
        assert "Sort" not in text
    assert "payments_by_due_time" in due
