"""Invoices as a browser gets them: through Envoy, which knows them from the contract only."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from io import BytesIO
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest
from pypdf import PdfReader
from shop.payments.v1 import payments_pb2 as pb

from services.payments import printing
from tests.mesh.gateway.edge import OPENAPI, Gateway, Library, running_gateway
from tests.mesh.services.payments.parts import ROOT, Payments
from tests.mesh.services.payments.requests import capture, line, part
from weft.gateway import GatewayConfig, docs, static
from weft.security import write_jwks

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from services.payments.invoices import Invoice


@asynccontextmanager
async def gateway_to(payments: Payments, folder: Path) -> AsyncIterator[Gateway]:
    """Run Envoy with the shop's own contract before *payments*; all other services are away."""
    shop = Library(ROOT / "gen" / "image.binpb")
    port = int(payments.server.target.rpartition(":")[2])
    hosts = {
        service.name: [("127.0.0.1", port if service.name == "payments" else 1)] for service in shop.contract.services
    }
    (folder / "image.binpb").symlink_to(shop.image)
    (folder / "openapi.json").write_text(OPENAPI)
    (folder / "docs.html").write_text(docs.page())
    write_jwks([payments.server.key], folder / "jwks.json")
    config = static(shop.contract, GatewayConfig(port=0), hosts=hosts, folder=str(folder), admin_port=0)
    (folder / "envoy.yaml").write_text(config)
    async with running_gateway(shop, folder) as gateway:
        yield gateway


def bearer(payments: Payments, subject: str) -> dict[str, str]:
    [(name, value)] = payments.server.token(subject)
    return {name: value}


@pytest.fixture(name="folder")
def _folder(tmp_path: Path) -> Path:
    folder = tmp_path / "gateway"
    folder.mkdir()
    return folder


async def test_an_invoice_is_downloaded_by_rest_the_same_bytes_each_time(payments: Payments, folder: Path) -> None:
    order_id = await payments.authorized("1450")
    await payments.orders.CapturePayment(
        capture(order_id, lines=[line("14.50", name=f"Füller «Жук» {n}") for n in range(100)])
    )
    async with gateway_to(payments, folder) as gateway:
        mine = bearer(payments, payments.user_id)
        listed = await gateway.rest("GET", f"/v1/invoices?orderId={order_id}", headers=mine)
        number = listed.json["invoices"][0]["invoiceNumber"]

        first = await gateway.rest("GET", f"/v1/invoices/{number}:download", headers=mine)
        again = await gateway.rest("GET", f"/v1/invoices/{number}:download", headers=mine)
        stranger = await gateway.rest("GET", f"/v1/invoices/{number}:download", headers=bearer(payments, str(uuid4())))
        nobody = await gateway.rest("GET", f"/v1/invoices/{number}:download")
        wrong = await gateway.rest("GET", "/v1/invoices/last:download", headers=mine)

    headers = {name.lower(): value for name, value in first.headers.items()}
    assert (first.status, headers["content-type"]) == (200, "application/pdf")
    assert headers["content-disposition"] == f'attachment; filename="invoice-{number}.pdf"'
    assert first.body == again.body
    text = "".join(page.extract_text() for page in PdfReader(BytesIO(first.body)).pages)
    assert number in text
    assert "Füller «Жук» 99" in text
    assert "EUR 1,450.00" in text
    assert (stranger.status, stranger.json["details"][0]["reason"]) == (404, "INVOICE_NOT_FOUND")
    assert nobody.status == 401
    assert wrong.status == 400


async def test_invoices_are_read_by_rest(payments: Payments, folder: Path) -> None:
    order_id = await payments.captured()
    await payments.admin.RefundPart(part(order_id, "4.50", "r"))
    async with gateway_to(payments, folder) as gateway:
        mine = bearer(payments, payments.user_id)
        [(name, token)] = payments.server.token("root", ("user", "admin"))

        searched = await gateway.rest("GET", "/v1/invoices:search", headers={name: token})
        number = searched.json["invoices"][0]["invoiceNumber"]
        found = await gateway.rest("GET", f"/v1/invoices/{number}", headers=mine)
        refused = await gateway.rest("GET", "/v1/invoices:search", headers=mine)

    assert [each["kind"] for each in searched.json["invoices"]] == ["KIND_INVOICE", "KIND_CREDIT_NOTE"]
    assert found.json["invoice"] == searched.json["invoices"][0]
    assert found.json["invoice"]["buyer"]["city"] == "London"
    assert refused.status == 403


async def test_what_is_asked_while_an_invoice_is_drawn_is_answered_meanwhile(
    payments: Payments, monkeypatch: pytest.MonkeyPatch
) -> None:
    order_id = await payments.captured()
    [invoice] = (await payments.owner.ListInvoices(pb.ListInvoicesRequest(order_id=order_id))).invoices
    drawn = Event()

    def draw(_: Invoice) -> bytes:
        assert drawn.wait(10)
        return b"%PDF-"

    monkeypatch.setattr(printing, "_print", draw)
    download = payments.owner.DownloadInvoice(pb.DownloadInvoiceRequest(invoice_number=invoice.invoice_number))
    found = await payments.owner.GetInvoice(pb.GetInvoiceRequest(invoice_number=invoice.invoice_number))
    is_drawn = download.done()
    drawn.set()

    assert (found.invoice, is_drawn) == (invoice, False)
    assert (await download).data == b"%PDF-"


async def test_downloads_at_once_all_get_the_same(payments: Payments) -> None:
    order_id = await payments.captured()
    [invoice] = (await payments.owner.ListInvoices(pb.ListInvoicesRequest(order_id=order_id))).invoices
    download = pb.DownloadInvoiceRequest(invoice_number=invoice.invoice_number)

    answers = await asyncio.gather(*(payments.owner.DownloadInvoice(download) for _ in range(3)))

    assert answers[0] == answers[1] == answers[2]
    assert answers[0].data.startswith(b"%PDF-")
