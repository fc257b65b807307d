"""Nothing of a card is kept or shown anywhere: a purchase with digits like no others, and then a search for them."""

from __future__ import annotations

import logging
import re
import subprocess
import sys
from random import Random
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from prometheus_client import generate_latest
from shop.payments.v1 import payments_pb2 as pb
from sqlalchemy import text

from services.payments.simulated import SimulatedProvider
from services.payments.stripe import StripeProvider
from tests.mesh.services.calls import refusal
from tests.mesh.services.payments.parts import Payments, Simulator, replica
from tests.mesh.services.payments.requests import capture, refund, void
from tests.mesh.services.payments.stripe_stand_in import API_KEY, StripeStandIn
from weft.telemetry import RecentSpans, Tracing
from weft.telemetry.log import _Json

if TYPE_CHECKING:
    from weft.data import Database


def unique_card(*, valid: bool = True) -> pb.CreatePaymentMethodRequest:
    """Return a card whose number and codes are nobody else's."""
    random = Random(uuid4().int)
    digits = [4, *(random.randrange(10) for _ in range(14))]
    doubled = (digit * 2 if index % 2 == 0 else digit for index, digit in enumerate(reversed(digits)))
    check = -sum(digit // 10 + digit % 10 for digit in doubled) % 10
    number = "".join(map(str, [*digits, check if valid else (check + 1) % 10]))
    return pb.CreatePaymentMethodRequest(card_number=number, expiry_month=7, expiry_year=2087, security_code="9173")


async def everything_stored(database: Database) -> str:
    """Return all rows of all tables."""
    found = []
    async with database.transaction() as tx:
        for (name,) in await tx.all(text("select tablename from pg_tables where schemaname = 'public'")):
            found += [str(row) for row in await tx.all(text(f'select t::text, * from "{name}" t'))]
    return "\n".join(found)


def everything_logged(caplog: pytest.LogCaptureFixture) -> str:
    """Return all log lines, those for debugging too, as the process writes them, and with the texts of exceptions."""
    lines = [_Json().format(record) for record in caplog.records]
    return "\n".join([*lines, caplog.text, *(str(vars(record)) for record in caplog.records)])


@pytest.mark.parametrize("provider_name", ["simulated", "stripe"])
async def test_nothing_of_a_card_is_found_anywhere(
    payments_database: Database,
    simulator: Simulator,
    provider_name: str,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level(logging.DEBUG)
    spans = RecentSpans()
    tracing = Tracing("test", ratio=1, exporters=[spans])
    good, wrong = unique_card(), unique_card(valid=False)
    errors: list[Any] = []

    async def buy(payments: Payments) -> str:
        token = str((await payments.owner.CreatePaymentMethod(good)).payment_method)
        for method in (token, "pm_test_declined", "pm_test_down", "pm_test_answer_lost"):
            order_id = str(uuid4())
            wanted = payments.request(order_id, method)
            wanted.request_id = order_id
            try:
                await payments.orders.AuthorizePayment(wanted)
            except Exception as error:  # noqa: BLE001  # whatever it is, it must say nothing
                errors.append(error)
                await payments.orders.VoidPayment(void(order_id))
            else:
                await payments.orders.CapturePayment(capture(order_id))
                await payments.orders.RefundPayment(refund(order_id))
        errors.append(await refusal(payments.owner.CreatePaymentMethod(wrong)))
        short = pb.CreatePaymentMethodRequest()
        short.CopyFrom(good)
        short.card_number += "0000"
        errors.append(await refusal(payments.owner.CreatePaymentMethod(short)))
        await payments.settle()
        return token

    async with StripeStandIn.running() as stand_in:
        simulated, stripe = SimulatedProvider.open(simulator.url), StripeProvider.open(API_KEY, url=stand_in.url)
        async with (
            simulated if provider_name == "simulated" else stripe as provider,
            replica(payments_database, provider, tracing=tracing) as payments,
        ):
            token = await buy(payments)
            await provider_dies(payments, good, errors, simulator, stand_in)

    places = {
        "logs": everything_logged(caplog),
        "standard output": "".join(capfd.readouterr()),
        "spans": spans.to_json(),
        "metrics": generate_latest().decode(),
        "tables": await everything_stored(payments_database),
        "errors": "\n".join(f"{error!r} {vars(error)}" for error in errors),
        "provider's ledger": "".join(
            file.read_bytes().decode(errors="replace")
            for file in simulator.ledger_file.parent.iterdir()
            if provider_name == "simulated"
        ),
    }
    digits = [good.card_number, wrong.card_number, good.card_number[:12], wrong.card_number[:12], API_KEY]
    words = [rf"(?<![\w.-]){word}(?![\w.-])" for word in ("9173", "2087")]  # as part of a longer one it is chance
    found = {
        place: [secret for secret in (*digits, *words) if re.search(secret, content)]
        for place, content in places.items()
    }
    assert found == {place: [] for place in places}
    assert [place for place in places if token in places[place] and place != "provider's ledger"] == []
    assert all(places[place] for place in ("logs", "spans", "metrics", "tables", "errors"))
    assert "CreatePaymentMethod" in places["spans"]
    assert "CreatePaymentMethod" in places["metrics"]


async def provider_dies(
    payments: Payments,
    card: pb.CreatePaymentMethodRequest,
    errors: list[Any],
    simulator: Simulator,
    stand_in: StripeStandIn,
) -> None:
    """Hand the card over to a provider that fails, loses the answer, and is gone."""
    await simulator.faults(refuse_ratio=1)
    stand_in.fail = {"payment_methods": 500}
    errors.append(await refusal(payments.owner.CreatePaymentMethod(card)))
    await simulator.faults(lose_ratio=1)
    stand_in.fail, stand_in.lose = {}, {"payment_methods"}
    errors.append(await refusal(payments.owner.CreatePaymentMethod(card)))
    simulator.kill()
    errors.append(await refusal(payments.owner.CreatePaymentMethod(card)))
    assert {(error.code, error.reason) for error in errors[-3:]} == {("UNAVAILABLE", "PROVIDER_UNAVAILABLE")}


def test_the_library_of_stripe_is_loaded_only_where_it_is_used() -> None:
    program = "import services.payments.__main__, sys; sys.exit('stripe' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", program], check=False, env={"PYTHONPATH": ".:gen"}).returncode == 0
