"""The letters of invoices, and what becomes of those that there are not."""

from __future__ import annotations

import logging
import unicodedata
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Final

import pymupdf_fonts  # type: ignore[import-untyped]
from fontTools.ttLib import TTFont  # type: ignore[import-untyped]

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fpdf import FPDF

__all__ = ["FAMILY", "add_to", "shown"]

FAMILY: Final = "FiraGO"
"""Latin (Vietnamese and the like too), Greek, Cyrillic, Georgian, Hebrew, Arabic, Devanagari and Thai. Not Han, Kana
and Hangul: a font that has them is 16 MB."""
_CODES: Final = {"": "figo", "B": "figbo"}
_UNKNOWN: Final = "?"
_JOINERS: Final = "\u200c\u200d"
"""Invisible, and without them some words of Persian and Hindi are other words."""
_MAX_MARKS: Final = 4
"""On one letter: Vietnamese has two, Hebrew with points and accents three."""

# They tell at length what they leave out of a font, and which of a buyer's letters it lacks.
logging.getLogger("fontTools").setLevel(logging.ERROR)
logging.getLogger("fpdf").setLevel(logging.ERROR)


def add_to(pdf: FPDF) -> None:
    """Make *pdf* know the family, regular and bold."""
    for style, code in _CODES.items():
        pdf.add_font(FAMILY, style, Path(_folder().name) / f"{code}.ttf")


def shown(text: str) -> str:
    """Return *text* as it can be printed: on one line, and with a question mark for each letter that there is not.

    Nothing is left that could reverse what stands around it, or pile marks over other lines.
    """
    return " ".join("".join(_printable(text)).split())


def _printable(text: str) -> Iterator[str]:
    marks = 0
    for letter in unicodedata.normalize("NFC", text):
        category = unicodedata.category(letter)
        marks = marks + 1 if category in ("Mn", "Me") else 0
        if category in ("Cc", "Zs", "Zl", "Zp"):
            yield " "
        elif marks > _MAX_MARKS or (category == "Cf" and letter not in _JOINERS):
            continue
        elif ord(letter) in _letters():
            yield letter
        else:
            plain = unicodedata.normalize("NFKC", letter)
            yield plain if all(ord(each) in _letters() for each in plain) else _UNKNOWN


@cache
def _letters() -> frozenset[int]:
    """Return the letters that both styles have."""
    found = []
    for code in _CODES.values():
        with TTFont(Path(_folder().name) / f"{code}.ttf", lazy=True) as font:
            found.append(frozenset(font.getBestCmap()))
    return frozenset.intersection(*found)


@cache
def _folder() -> TemporaryDirectory[str]:
    """Return a folder with the fonts as files, as fpdf2 wants them; it goes when the process does."""
    folder = TemporaryDirectory(prefix="weft-fonts-")
    for code in _CODES.values():
        (Path(folder.name) / f"{code}.ttf").write_bytes(pymupdf_fonts.myfont(code))
    return folder
