"""Writes what somebody is told in their language: files of `templates/<language>/`.

`<template>.txt` has the subject, a short form for SMS and push, and the text of a mail; `<template>.html` has the same
mail for readers of HTML. Whatever is put in was written by others, so it is made one harmless line before, and escaped
in HTML.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from services.currencies import digits_of
from services.notifications.domain import languages

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jinja2 import Template as JinjaTemplate

    from services.notifications.domain import Template

__all__ = ["TEMPLATES", "Rendered", "Renderer", "format_money", "one_line", "spoken_name"]

TEMPLATES: Final = Path(__file__).with_name("templates")
NANOS: Final = 1_000_000_000
SHORT_ID: Final = 8
_SIGNS: Final = {"de": (",", ".")}
"""Language -> decimal sign and the sign between thousands, where they are not those of English."""
_BREAKS: Final = frozenset({"Cc", "Zl", "Zp", "Cs"})
_DIRECTIONS: Final = dict.fromkeys(map(ord, "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"))
"""Characters that turn the direction of what follows. Source: Unicode Standard Annex 9, section 2"""
_LINK: Final = re.compile(r"[/@\\]|:\S|\w\.\w{2,}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendered:
    """What somebody is told, in one language. Personal, so no `repr` tells it."""

    language: str
    subject: str = field(repr=False)
    """One line."""
    short: str = field(repr=False)
    """One line, for SMS and push."""
    text: str = field(repr=False)
    html: str = field(repr=False)


class Renderer:
    """Renders the templates of *folder* for the shop called *shop*."""

    def __init__(self, shop: str, folder: Path = TEMPLATES) -> None:
        import jinja2  # noqa: PLC0415  # only this service pays for it, also where several share a process

        self._shop = one_line(shop)
        self._languages = frozenset(path.name for path in folder.iterdir() if path.is_dir())
        self._templates = jinja2.Environment(
            loader=jinja2.FileSystemLoader(folder),
            autoescape=jinja2.select_autoescape(["html"], default=True, disabled_extensions=["txt"]),
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )

    def render(
        self, template: Template, *, subject: str, facts: Mapping[str, Any], first_name: str, language: str
    ) -> Rendered:
        """Return *template* in the first of `languages` that there are templates of.

        Args:
            template: Which.
            subject: What it is about: an order, a SKU, or empty.
            facts: What there is to say, as the event had it.
            first_name: Of whom it is for.
            language: BCP 47 tag of what they prefer.
        """
        chosen = next(each for each in languages(language) if each in self._languages)
        words = {
            **_harmless(facts),
            "shop": self._shop,
            "name": spoken_name(first_name),
            "about": one_line(subject),
            "short_id": one_line(subject)[:SHORT_ID],
            "language": chosen,
            "money": lambda amount, times=1: format_money(amount, chosen, times=times),
        }
        text = self._templates.get_template(f"{chosen}/{template}.txt")
        title = one_line(_block(text, "subject", words))
        return Rendered(
            language=chosen,
            subject=title,
            short=one_line(_block(text, "short", words)),
            text=_block(text, "body", words).strip() + "\n",
            html=self._templates.get_template(f"{chosen}/{template}.html").render({**words, "title": title}),
        )


def one_line(text: str) -> str:
    """Return *text* without what ends a line, ends a header, turns the direction of writing or can't be shown."""
    plain = text.translate(_DIRECTIONS)
    shown = "".join(" " if unicodedata.category(char) in _BREAKS else char for char in plain)
    return " ".join(shown.split())


def spoken_name(name: str) -> str:
    """Return the name to greet somebody by; empty for one that a mail reader would make a link of.

    Anybody may register anybody's address: a greeting must not carry a stranger's advertisement.
    """
    plain = one_line(name)
    return "" if _LINK.search(plain) else plain


def format_money(money: Mapping[str, Any], language: str, *, times: int = 1) -> str:
    """Return *times* a sum as a reader of *language* expects it, exactly: `1,234.50 EUR`, `1.234,50 EUR`."""
    point, comma = _SIGNS.get(language.partition("-")[0], (".", ","))
    units, nanos = divmod((int(money["units"]) * NANOS + int(money["nanos"])) * times, NANOS)
    digits = digits_of(money["currency"])
    places = f"{nanos:09d}"
    fraction = places[:digits] + places[digits:].rstrip("0")
    whole = f"{units:,}".replace(",", comma)
    return f"{whole}{fraction and point + fraction} {one_line(money['currency'])}"


def _harmless(value: Any) -> Any:
    if isinstance(value, str):
        return one_line(value)
    if isinstance(value, dict):
        return {key: _harmless(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_harmless(each) for each in value]
    return value


def _block(template: JinjaTemplate, name: str, words: Mapping[str, Any]) -> str:
    return "".join(template.blocks[name](template.new_context(dict(words))))
