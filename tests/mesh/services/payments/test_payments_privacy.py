"""Where somebody lives is on their invoice and nowhere else: a purchase by a name like no other, then the search."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from prometheus_client import generate_latest
from shop.payments.v1 import payments_pb2 as pb
from shop.shipping.v1 import shipping_pb2
from sqlalchemy import text

from services.payments.simulated import SimulatedProvider
from tests.mesh.services.calls import refusal
from tests.mesh.services.payments.parts import Simulator, replica
from tests.mesh.services.payments.requests import capture, refund
from weft.telemetry import RecentSpans, Tracing
from weft.telemetry.log import _Json, _Pretty

if TYPE_CHECKING:
    import pytest

    from weft.data import Database

WORDS = ["Xanthippe", "Quetzalcoatlgasse", "Zz1 9Qx", "Llanfairpwll"]
SOMEBODY = shipping_pb2.Address(
    recipient=WORDS[0], street_lines=[WORDS[1]], postal_code=WORDS[2], city=WORDS[3], country_code="GB"
)


async def test_who_bought_is_found_on_the_invoice_and_nowhere_else(
    payments_database: Database,
    simulator: Simulator,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level(logging.DEBUG)
    spans = RecentSpans()
    tracing = Tracing("test", ratio=1, exporters=[spans])
    errors: list[Any] = []

    async with (
        SimulatedProvider.open(simulator.url) as provider,
        replica(payments_database, provider, tracing=tracing) as payments,
    ):
        order_id = await payments.authorized()
        wanted = capture(order_id, buyer=SOMEBODY, request_id="r")
        errors.append(await refusal(payments.orders.CapturePayment(capture(order_id, "1", buyer=SOMEBODY))))
        long = shipping_pb2.Address(recipient=WORDS[0] * 20, street_lines=[WORDS[1]] * 4, city=WORDS[3] * 9)
        errors.append(await refusal(payments.orders.CapturePayment(capture(order_id, buyer=long))))
        await simulator.faults(lose_ratio=1)
        errors.append(await refusal(payments.orders.CapturePayment(wanted)))
        await simulator.faults()
        await broken(payments_database, "add constraint broken check (false)")
        await payments.settle()
        await broken(payments_database, "drop constraint broken")
        await payments.orders.CapturePayment(wanted)
        await payments.orders.RefundPayment(refund(order_id))
        invoices = (await payments.owner.ListInvoices(pb.ListInvoicesRequest())).invoices
        for invoice in invoices:
            await payments.owner.DownloadInvoice(pb.DownloadInvoiceRequest(invoice_number=invoice.invoice_number))

    assert [invoice.buyer for invoice in invoices] == [SOMEBODY, SOMEBODY]
    assert [error.reason for error in errors] == ["INVOICE_DIFFERS", "INVALID_FIELDS", "PAYMENT_UNCERTAIN"]
    places = {
        "logs": "\n".join(form.format(record) for record in caplog.records for form in (_Json(), _Pretty())),
        "standard output": "".join(capfd.readouterr()),
        "spans": spans.to_json(),
        "metrics": generate_latest().decode(),
        "errors": "\n".join(f"{error!r} {vars(error)}" for error in errors),
        **await other_tables(payments_database),
    }
    assert {place: [word for word in WORDS if word in content] for place, content in places.items()} == {
        place: [] for place in places
    }
    assert "cannot settle a payment" in places["logs"]
    assert "DownloadInvoice" in places["spans"]
    assert await rows_of(payments_database, "bills") == ""


async def broken(database: Database, change: str) -> None:
    async with database.transaction() as tx:
        await tx.execute(text(f"alter table invoices {change}"))


async def other_tables(database: Database) -> dict[str, str]:
    """Return the content of all tables but that of invoices."""
    async with database.transaction() as tx:
        names = await tx.all(
            text("select tablename from pg_tables where schemaname = 'public' and tablename <> 'invoices'")
        )
    return {f"table {name}": await rows_of(database, name) for (name,) in names}


async def rows_of(database: Database, table: str) -> str:
    async with database.transaction() as tx:
        return "\n".join(str(row) for row in await tx.all(text(f'select t::text, * from "{table}" t')))
