"""Invoices as PDF, A4. Takes some 40 MB to load: see `printing`.

Made by fpdf2, which shapes and orders the text of every script itself; reportlab is quicker and needs less memory, but
can't write Arabic, Hebrew or Hindi with what there is in wheels. Nothing is random, and all times are those of the
invoice: with the same libraries the bytes are the same.
"""

from __future__ import annotations

from contextlib import closing
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from fpdf import FPDF
from fpdf.enums import MethodReturnValue
from fpdf.fonts import TTFFont

from services.currencies import digits_of
from services.payments.invoices import Invoice, Kind, Line
from services.payments.money import NANOS
from services.payments.typeface import FAMILY, add_to, shown

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["paginated", "render"]

# Millimetres, unless they are sizes of letters, which are points.
_LEFT: Final = 20.0
_RIGHT: Final = 190.0
_TOP: Final = 20.0
_BOTTOM: Final = 272.0
_WIDTH: Final = _RIGHT - _LEFT
_NAME_WIDTH: Final = 92.0
_QUANTITY_RIGHT: Final = 132.0
_PRICE_RIGHT: Final = 161.0
_TOTALS_LEFT: Final = 116.0
_META_LEFT: Final = 116.0
_META_VALUE_LEFT: Final = 140.0
_NAME_HEIGHT: Final = 4.6
_SKU_HEIGHT: Final = 4.0
_ROW_PADDING: Final = 4.2
_HEADING_HEIGHT: Final = 8.0
_NARROWEST: Final = 0.2
"""Of a line that is measured: millimetres that a letter takes on average, for each point of its size."""
_INK: Final = (30, 34, 42)
_GREY: Final = (112, 118, 128)
_ACCENT: Final = (28, 84, 122)
_RULE: Final = (218, 222, 228)
_MONTHS: Final = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
    "December",
)  # fmt: skip
_TITLES: Final = {Kind.INVOICE: "Invoice", Kind.CREDIT_NOTE: "Credit note"}


def render(invoice: Invoice) -> bytes:
    """Return *invoice* as a PDF."""
    with closing(_Sheet(invoice)) as sheet:
        return sheet.draw()


def paginated(heights: Sequence[float], *, first: float, other: float, last: float) -> list[range]:
    """Return which rows stand on which page.

    Args:
        heights: Of the rows.
        first: Room for rows on the first page.
        other: The same on the pages after it.
        last: Of it, what must be left below the last row. Where it isn't, a page without rows follows.
    """
    pages, begin, left = [], 0, first
    for index, height in enumerate(heights):
        if height > left and index > begin:
            pages.append(range(begin, index))
            begin, left = index, other
        left -= height
    pages.append(range(begin, len(heights)))
    if left < last:
        pages.append(range(len(heights), len(heights)))
    return pages


class _Sheet:
    """One document being drawn."""

    def __init__(self, invoice: Invoice) -> None:
        self._invoice = invoice
        self._bill = invoice.bill
        self._currency = invoice.bill.currency
        self._seller = [shown(line) for line in invoice.seller] or [""]
        pdf = self._pdf = FPDF(format="A4")
        pdf.set_auto_page_break(auto=False)
        pdf.set_margin(0)
        pdf.c_margin = 0
        pdf.set_creation_date(invoice.issue_time.astimezone(UTC))
        pdf.set_title(f"{self._title} {invoice.number}")
        pdf.set_author(self._seller[0])
        pdf.set_lang("en")
        pdf.alias_nb_pages("")  # or a name could have the number of pages put into it
        add_to(pdf)
        pdf.set_text_shaping(use_shaping_engine=True, features={"tnum": True})  # digits that stand in columns

    @property
    def _title(self) -> str:
        return _TITLES[self._invoice.kind]

    def draw(self) -> bytes:
        self._pdf.add_page()
        top = self._head()
        names = [self._wrapped(line) for line in self._bill.lines]
        heights = [self._row_height(line, name) for line, name in zip(self._bill.lines, names, strict=True)]
        room = _BOTTOM - _HEADING_HEIGHT
        taxes_height = 14 + 5.2 * len(self._bill.taxes) if self._bill.taxes else 0.0
        pages = paginated(heights, first=room - top, other=room - _TOP - 8, last=34 + taxes_height)
        for number, rows in enumerate(pages, start=1):
            if number > 1:
                self._pdf.add_page()
                top = self._running_head()
            y = self._heading(top) if rows else top
            for index in rows:
                self._row(y, self._bill.lines[index], names[index])
                y += heights[index]
            if number == len(pages):
                self._totals(y)
            self._foot(number, len(pages))
        return bytes(self._pdf.output())

    def close(self) -> None:
        """Close the fonts' files, which fpdf2 leaves to the garbage collector."""
        for font in self._pdf.fonts.values():
            if isinstance(font, TTFFont):
                font.close()

    def _head(self) -> float:
        """Draw who sells, who buys, and what this is; return where the rest begins."""
        invoice, buyer = self._invoice, self._bill.buyer
        self._block(_LEFT, _TOP, self._seller[:1], 15, "B", width=95)
        y = self._block(_LEFT, self._pdf.get_y() + 1, self._seller[1:], 8.5, colour=_GREY, width=95)
        self._text(_TOP - 1, self._title, 21, "B", colour=_ACCENT)
        top = max(y + 8, 48.0)
        self._label(_LEFT, top, "Billed to")
        town = " ".join(filter(None, (shown(buyer.postal_code), shown(buyer.city))))
        lines = [buyer.recipient, *buyer.street_lines, town, buyer.country_code]
        end = self._block(_LEFT, top + 5.5, [line for line in map(shown, lines) if line], 10, width=85)
        facts = [
            (f"{self._title} no.", str(invoice.number)),
            ("Date", _date(invoice.issue_time)),
            ("Order", str(invoice.order_id)),
        ]
        if invoice.corrects:
            facts.append(("Corrects", f"Invoice {invoice.corrects}"))
        self._label(_META_LEFT, top, "Details")
        y = top + 5.5
        for name, value in facts:
            self._text(y, name, 8.5, colour=_GREY, left=_META_LEFT)
            self._text(y, value, 8.5, left=_META_VALUE_LEFT, width=_RIGHT - _META_VALUE_LEFT)
            y += 5.2
        return max(end, y) + 9

    def _running_head(self) -> float:
        self._text(_TOP - 6, f"{self._title} {self._invoice.number}", 8.5, "B", colour=_ACCENT)
        self._text(_TOP - 6, self._seller[0], 8.5, colour=_GREY, left=_LEFT, width=100)
        return _TOP + 2

    def _heading(self, y: float) -> float:
        self._label(_LEFT, y, "Item")
        self._label(_QUANTITY_RIGHT, y, "Quantity", to_the_right=True)
        self._label(_PRICE_RIGHT, y, "Unit price", to_the_right=True)
        self._label(_RIGHT, y, f"Amount, {self._currency}", to_the_right=True)
        self._rule(y + 5.6, colour=_INK, width=0.35)
        return y + _HEADING_HEIGHT - 2

    def _wrapped(self, line: Line) -> list[str]:
        """Return the lines that the name of a product takes."""
        name = shown(line.name)
        self._pdf.set_font(FAMILY, "", 9.5)
        if self._pdf.get_string_width(name) <= _NAME_WIDTH:  # wrapping costs ten times as much
            return [name]
        lines = self._pdf.multi_cell(
            _NAME_WIDTH, _NAME_HEIGHT, name, align="L", dry_run=True, output=MethodReturnValue.LINES
        )
        assert isinstance(lines, list)
        return [str(each) for each in lines]

    @staticmethod
    def _row_height(line: Line, name: list[str]) -> float:
        return len(name) * _NAME_HEIGHT + (_SKU_HEIGHT if line.sku else 0) + _ROW_PADDING

    def _row(self, y: float, line: Line, name: list[str]) -> None:
        top = first = y + _ROW_PADDING / 2
        for text in name:
            self._text(top, text, 9.5, left=_LEFT, width=_NAME_WIDTH)
            top += _NAME_HEIGHT
        if line.sku:
            self._text(top, shown(line.sku), 7.5, colour=_GREY, left=_LEFT)
        self._text(first, str(line.quantity), 9.5, right=_QUANTITY_RIGHT, width=16)
        self._text(first, self._amount(line.unit_price_nanos), 9.5, right=_PRICE_RIGHT, width=27)
        self._text(first, self._amount(line.total_nanos), 9.5, width=27)
        self._rule(y + self._row_height(line, name))

    def _totals(self, y: float) -> None:
        y += 3
        if self._bill.shipping_nanos:
            subtotal = sum(line.total_nanos for line in self._bill.lines)
            for name, nanos in (("Subtotal", subtotal), ("Shipping", self._bill.shipping_nanos)):
                self._text(y, name, 9.5, colour=_GREY, left=_TOTALS_LEFT)
                self._text(y, self._amount(nanos), 9.5, width=50)
                y += 5.6
            self._rule(y, left=_TOTALS_LEFT)
            y += 1.5
        is_invoice = self._invoice.kind is Kind.INVOICE
        self._text(y, "Total" if is_invoice else "Total credited", 12, "B", left=_TOTALS_LEFT)
        self._text(y, f"{self._currency} {self._amount(self._invoice.total.in_nanos)}", 12, "B", width=50)
        y += 8
        note = "Paid in full." if is_invoice else "Given back to the means of payment that was charged."
        self._text(y, note, 8.5, colour=_GREY)
        if self._bill.taxes:
            self._taxes(y + 8)

    def _taxes(self, y: float) -> None:
        self._label(_TOTALS_LEFT, y, "Taxes contained")
        self._label(152.0, y, "Net", to_the_right=True)
        self._label(171.0, y, "Tax", to_the_right=True)
        self._label(_RIGHT, y, "Gross", to_the_right=True)
        self._rule(y + 5, left=_TOTALS_LEFT)
        y += 6
        step = self._invoice.total.in_nanos // self._invoice.total.minor
        for tax in self._bill.taxes:
            self._text(y, f"{tax.rate_percent} %", 8.5, left=_TOTALS_LEFT)
            self._text(y, self._amount((tax.gross_minor - tax.tax_minor) * step), 8.5, right=152.0, width=18)
            self._text(y, self._amount(tax.tax_minor * step), 8.5, right=171.0, width=18)
            self._text(y, self._amount(tax.gross_minor * step), 8.5, width=18)
            y += 5.2

    def _foot(self, number: int, count: int) -> None:
        self._rule(_BOTTOM + 6)
        self._text(
            _BOTTOM + 8,
            f"{self._seller[0]} · {self._title} {self._invoice.number}",
            7.5,
            colour=_GREY,
            left=_LEFT,
            width=140,
        )
        self._text(_BOTTOM + 8, f"Page {number} of {count}", 7.5, colour=_GREY)

    def _amount(self, nanos: int) -> str:
        """Return a sum with as many decimal places as its currency has, or more where it is finer."""
        units, rest = divmod(nanos, NANOS)
        fraction = f"{rest:09d}".rstrip("0").ljust(digits_of(self._currency), "0")
        return f"{units:,}.{fraction}" if fraction else f"{units:,}"

    def _block(
        self,
        x: float,
        y: float,
        lines: Sequence[str],
        size: float,
        style: str = "",
        *,
        colour: tuple[int, int, int] = _INK,
        width: float,
    ) -> float:
        """Write *lines* below each other, those too long for *width* on several; return where they end."""
        self._pdf.set_font(FAMILY, style, size)
        self._pdf.set_text_color(*colour)
        self._pdf.set_y(y)
        for line in lines:
            self._pdf.set_x(x)
            self._pdf.multi_cell(width, size * 0.47, line, align="L", new_x="LMARGIN", new_y="NEXT")
        return self._pdf.get_y()

    def _label(self, x: float, y: float, text: str, *, to_the_right: bool = False) -> None:
        if to_the_right:
            self._text(y, text.upper(), 6.8, "B", colour=_GREY, right=x, width=40)
        else:
            self._text(y, text.upper(), 6.8, "B", colour=_GREY, left=x)

    def _text(
        self,
        y: float,
        text: str,
        size: float,
        style: str = "",
        *,
        colour: tuple[int, int, int] = _INK,
        left: float | None = None,
        right: float = _RIGHT,
        width: float = 74.0,
    ) -> None:
        """Write a line that begins at *left* or ends at *right*; *y* is its top. Too wide for *width*, it shrinks."""
        pdf = self._pdf
        pdf.set_font(FAMILY, style, size)
        pdf.set_text_color(*colour)
        if len(text) * size * _NARROWEST > width:  # measuring is half the cost of writing
            pdf.set_font(FAMILY, style, size * min(1.0, width / pdf.get_string_width(text)))
        pdf.set_xy(right - width if left is None else left, y)
        pdf.cell(width, size * 0.47, text, align="R" if left is None else "L")

    def _rule(self, y: float, *, left: float = _LEFT, colour: tuple[int, int, int] = _RULE, width: float = 0.2) -> None:
        self._pdf.set_draw_color(*colour)
        self._pdf.set_line_width(width)
        self._pdf.line(left, y, _RIGHT, y)


def _date(time: datetime) -> str:
    day = time.astimezone(UTC)
    return f"{day.day} {_MONTHS[day.month - 1]} {day.year}"
