"""Invoices as PDF, read back as a reader's program reads them."""

from __future__ import annotations

import logging
import subprocess
import sys
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pypdf import PdfReader

from services.payments import pdf
from services.payments.invoices import Tax
from services.payments.typeface import shown
from tests.unit.payments.invoice_samples import bought, credit_note, invoice

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT = Path(__file__).resolve().parents[3]


def pages(data: bytes) -> list[str]:
    return [page.extract_text() for page in PdfReader(BytesIO(data)).pages]


def test_it_says_all_that_an_invoice_says() -> None:
    document = invoice(
        bought("MUG-BLUE", "Stoneware mug, blue", 2, "14.50"),
        bought("NOTE-A5", "Тетрадь", 1, "990"),
        shipping="5.90",
        taxes=[Tax(rate_percent="19", gross_minor=102_490, tax_minor=16_364)],
    )

    [text] = pages(pdf.render(document))

    for words in (
        ("Weft Shop Ltd", "1 Loom Street", "VAT GB 1"),
        ("Invoice", "2026-000042", "21 November 2026", str(document.order_id)),
        ("Ada Lovelace", "12 St James's Square", "SW1Y 4JH London", "GB"),
        ("Stoneware mug, blue", "MUG-BLUE", "14.50", "29.00", "Тетрадь", "990.00"),
        ("Subtotal", "1,019.00", "Shipping", "5.90", "EUR 1,024.90", "19 %", "861.26", "163.64", "Page 1 of 1"),
    ):
        assert [word for word in words if word not in text] == []


def test_a_credit_note_says_what_it_corrects() -> None:
    [text] = pages(pdf.render(credit_note("4.50")))

    assert "Credit note" in text
    assert "Invoice 2026-000042" in text
    assert "Total credited" in text
    assert "EUR 4.50" in text


@pytest.mark.parametrize(
    ("currency", "price", "amount"),
    [("EUR", "0.005", "0.005"), ("JPY", "500", "500"), ("KWD", "1.5", "1.500"), ("EUR", "1234567", "1,234,567.00")],
)
def test_a_price_has_the_decimal_places_of_its_currency_or_more(currency: str, price: str, amount: str) -> None:
    [text] = pages(pdf.render(invoice(bought("X", "Thing", 200, price), currency=currency)))

    assert f" {amount} " in text


def test_a_hundred_lines_stand_on_pages_with_a_number_each_and_a_heading() -> None:
    document = invoice(*(bought(f"SKU-{number:03d}", f"Thing {number:03d}", 1, "1") for number in range(100)))

    texts = pages(pdf.render(document))

    assert len(texts) > 3
    for number, text in enumerate(texts, start=1):
        assert f"Page {number} of {len(texts)}" in text
        assert "2026-000042" in text
        assert "QUANTITY" in text
    whole = "".join(texts)
    assert [number for number in range(100) if whole.count(f"SKU-{number:03d}") != 1] == []
    assert whole.count("EUR 100.00") == 1


def test_the_bytes_are_the_same_each_time_in_every_process() -> None:
    program = (
        "import sys; from hashlib import sha256; from services.payments import pdf;"
        "from tests.unit.payments.invoice_samples import longest;"
        "print(sha256(pdf.render(longest())).hexdigest())"
    )

    digests = {
        subprocess.run(
            [sys.executable, "-c", program],
            cwd=ROOT,
            env={"PYTHONPATH": f"{ROOT}:{ROOT}/gen", "PYTHONHASHSEED": seed, "TZ": zone},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for seed, zone in (("1", "UTC"), ("2", "Asia/Tokyo"))
    }
    assert len(digests) == 1
    assert digests != {sha256(b"").hexdigest()}


@pytest.mark.parametrize(
    ("text", "printed"),
    [
        ("Füller «Жук» Ωμέγα Nguyễn", "Füller «Жук» Ωμέγα Nguyễn"),
        ("ქართული ไทย हिन्दी", "ქართული ไทย हिन्दी"),
        ("a\u0301", "á"),
        ("中文 mug", "?? mug"),
        ("Ａ①", "A1"),
        ("tea \N{HOT BEVERAGE}\N{SLICE OF PIZZA}", "tea ??"),
        ("  a\tb\r\n c\0d\u2028 ", "a b c d"),
        ("\u202egnp.exe\u202c", "gnp.exe"),
        ("Z" + "\u0300" * 60, "Z" + "\u0300" * 4),
        ("\ud800", "?"),
        ("", ""),
    ],
)
def test_every_text_has_something_that_can_be_printed(text: str, printed: str) -> None:
    assert shown(text) == printed


@pytest.mark.parametrize("name", ["قهوة عربية 12 مم", "שלום עולם", "हिन्दी कॉफी", "กาแฟไทย", "ქართული"])
def test_a_name_in_another_script_is_drawn_with_its_own_letters(name: str) -> None:
    document = pdf.render(invoice(bought("X", name, 1, "1")))

    [page] = PdfReader(BytesIO(document)).pages
    assert "?" not in page.extract_text()


@pytest.mark.parametrize(
    "name",
    [
        "{nb} pages",
        "**bold** __x__ [a](http://x)",
        "<b>x</b> &amp;",
        "(\\) Tj ET endstream",
        "%PDF-1.7 /JS (x)",
        "$&`;",
    ],
)
def test_a_name_is_only_text_whatever_it_looks_like(name: str) -> None:
    data = pdf.render(invoice(bought("X", name, 1, "1")))

    [text] = pages(data)
    assert name in text
    assert b"/URI" not in data
    assert b"/JavaScript" not in data


@settings(max_examples=15, deadline=None)
@given(st.lists(st.text(max_size=200), min_size=1, max_size=3), st.text(max_size=120))
def test_no_text_at_all_keeps_an_invoice_from_being_made(names: Sequence[str], recipient: str) -> None:
    document = invoice(*(bought(name[:64], name, 1, "1") for name in names), recipient=recipient)

    assert pages(pdf.render(document))


def test_the_longest_of_everything_fits_and_nothing_of_it_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    document = invoice(
        *(bought("S" * 64, "W" * 200, 999, "9999999999999.99") for _ in range(100)),
        recipient="中" * 120,
        street_lines=("W" * 120,) * 3,
        postal_code="W" * 16,
        city="Ж" * 80,
        taxes=[Tax(rate_percent=f"{rate}.25", gross_minor=10**15, tax_minor=10**14) for rate in range(10)],
    )

    texts = pages(pdf.render(document))

    assert f"Page {len(texts)} of {len(texts)}" in texts[-1]
    assert "9.25 %" in texts[-1]
    assert [record.message for record in caplog.records if record.name.startswith(("fpdf", "services"))] == []


@given(
    st.lists(st.floats(4, 40), max_size=60),
    st.floats(60, 200),
    st.floats(150, 250),
    st.floats(10, 60),
)
def test_rows_stand_in_order_on_pages_they_fit_on(
    heights: list[float], first: float, other: float, last: float
) -> None:
    found = pdf.paginated(heights, first=first, other=other, last=last)

    assert [row for rows in found for row in rows] == list(range(len(heights)))
    for number, rows in enumerate(found):
        taken = sum(heights[row] for row in rows) + (last if number == len(found) - 1 else 0)
        assert taken <= (other if number else first) + 1e-6
    assert all(found[:-1])


def test_what_draws_is_loaded_with_the_first_pdf_and_not_before() -> None:
    program = "import services.payments.__main__, sys; sys.exit(bool({'fpdf', 'PIL', 'fontTools'} & set(sys.modules)))"
    env = {"PYTHONPATH": f"{ROOT}:{ROOT}/gen"}

    assert subprocess.run([sys.executable, "-c", program], check=False, cwd=ROOT, env=env).returncode == 0
