from __future__ import annotations

from html.parser import HTMLParser
from typing import Any

import pytest

from services.notifications.domain import Template
from services.notifications.rendering import TEMPLATES, Rendered, Renderer, format_money, one_line, spoken_name
from tests.unit.notifications.samples import FACTS, ORDER, euros

LANGUAGES = sorted(path.name for path in TEMPLATES.iterdir() if path.is_dir())
EVIL = 'x</bdi><script>a("1")</script>\r\nBcc: everybody@example.com\n\n\u202egnp.exe\x00\x1b[31m {{ 7 * 7 }} {% raw %}'
EVIL_NAME = "<b onclick=x>Ada\r\nBcc: everybody\u202e {{ 7 * 7 }}"


class Reader(HTMLParser):
    """What a reader of HTML finds."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.shown = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.shown += data


def rendered(template: Template = Template.ORDER_CONFIRMED, language: str = "en", **changes: Any) -> Rendered:
    values: dict[str, Any] = {"subject": ORDER, "facts": FACTS, "first_name": "Ada"}
    return Renderer("Weft Shop").render(template, language=language, **(values | changes))


def test_there_are_templates_in_english_and_german() -> None:
    assert LANGUAGES == ["de", "en"]


@pytest.mark.parametrize("template", list(Template))
@pytest.mark.parametrize("language", LANGUAGES)
def test_every_language_has_every_template_in_all_its_forms(language: str, template: Template) -> None:
    told = rendered(template, language)

    assert told.language == language
    assert all(len(line) > 10 for line in (told.subject, told.short))
    assert len(told.short) <= 160, "fits into one SMS, in letters that SMS know"
    assert "Ada" in told.text
    assert told.text.endswith("Weft Shop\n")
    assert "{" not in told.text + told.subject + told.short
    html = Reader(told.html)
    assert f'<html lang="{language}">' in told.html
    assert told.subject in html.shown
    assert "Ada" in html.shown
    wrong = [line for line in told.text.splitlines() if line and line not in " ".join(html.shown.split())]
    assert [line for line in wrong if " x " not in line and ": " not in line] == []


def test_an_order_is_told_with_its_lines_what_they_cost_and_what_sending_costs() -> None:
    told = rendered()

    assert told.subject == "Your order 3f2a9c1e is confirmed"
    assert told.short == "Your order 3f2a9c1e for 1,248.40 EUR is confirmed."
    lines = told.text.splitlines()
    assert "3 x Stoneware mug, blue (MUG-BLUE): 1,243.50 EUR" in lines
    assert "Shipping: 4.90 EUR" in lines
    assert "Total: 1,248.40 EUR" in lines
    assert f"Order number: {ORDER}" in lines
    for shown in ("Stoneware mug, blue", "MUG-BLUE", "1,243.50 EUR", "4.90 EUR", "1,248.40 EUR", ORDER):
        assert shown in Reader(told.html).shown


def test_the_same_in_german() -> None:
    told = rendered(language="de-AT")

    assert told.language == "de"
    assert told.subject == "Ihre Bestellung 3f2a9c1e ist bestätigt"
    assert "Summe: 1.248,40 EUR" in told.text.splitlines()


def test_a_language_that_is_not_spoken_here_is_answered_in_english() -> None:
    assert rendered(language="tlh").language == "en"


@pytest.mark.parametrize("language", ["../en", "..", "/etc", "EN", "en/../de"])
def test_a_language_is_no_way_to_another_folder(language: str) -> None:
    assert rendered(language=language).language == "en"


def test_an_order_without_a_price_for_sending_says_nothing_of_it() -> None:
    assert "Shipping" not in rendered(facts=FACTS | {"shipping": None}).text


@pytest.mark.parametrize("template", list(Template))
def test_hostile_names_of_people_and_things_stay_what_they_are_names(template: Template) -> None:
    line = {"sku": EVIL, "name": EVIL, "quantity": 1, "unit_price": euros(1)}
    facts = FACTS | {"lines": [line], "tracking_number": EVIL}

    hostile = rendered(template, first_name=EVIL_NAME, facts=facts, subject=EVIL)
    harmless = rendered(template, facts=FACTS, subject="x")

    for one in (hostile.subject, hostile.short):
        assert one == " ".join(one.split())
    for form in (hostile.subject, hostile.short, hostile.text, hostile.html):
        assert [sign for sign in "\r\x00\x1b\u202e" if sign in form] == []
        assert "49" not in form, "no template is made of what others wrote"
    assert not any(row.startswith("Bcc:") for row in hostile.text.splitlines())
    assert Reader(hostile.html).tags == Reader(harmless.html).tags, "no tag was added"
    assert "Ada Bcc: everybody {{ 7 * 7 }}" in Reader(hostile.html).shown


def test_an_order_of_very_many_lines_is_told_whole() -> None:
    line = {"sku": "MUG", "name": "ä" * 200, "quantity": 10**6, "unit_price": euros(10**9)}

    told = rendered(facts=FACTS | {"lines": [line] * 500})

    assert told.text.count("MUG") == 500


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("a\r\nb", "a b"),
        ("a\u2028b\u2029c\x85d", "a b c d"),
        ("\u202eevil\u2066\u200f", "evil"),
        ("tab\tand\x00nul\x07bell", "tab and nul bell"),
        ("  Ada  ", "Ada"),
        ("می‌خواهم 👩‍💻", "می‌خواهم 👩‍💻"),  # joiners belong to words, and to pictures
        ("", ""),
    ],
)
def test_text_of_others_is_made_one_line(given: str, shown: str) -> None:
    assert one_line(given) == shown


@pytest.mark.parametrize("name", ["Ada", "Dr. Ada", "J.R.", "Jean-Luc", "O'Neill", "李", "Anna Lena"])
def test_people_are_greeted_by_their_names(name: str) -> None:
    assert spoken_name(name) == name


@pytest.mark.parametrize(
    "name", ["visit evil.com", "http://evil", "evil.example/win", "a@b", "tel:123", "WWW.EVIL.COM", "evil\\x"]
)
def test_nobody_is_greeted_by_what_a_mail_reader_would_make_a_link_of(name: str) -> None:
    assert spoken_name(name) == ""
    assert rendered(first_name=name).text.startswith("Hello,\n")


@pytest.mark.parametrize(
    ("money", "times", "english", "german"),
    [
        (euros(14, 500_000_000), 1, "14.50 EUR", "14,50 EUR"),
        (euros(14, 500_000_000), 3, "43.50 EUR", "43,50 EUR"),
        (euros(0, 5_000_000), 1, "0.005 EUR", "0,005 EUR"),
        ({"currency": "JPY", "units": 1_234_567, "nanos": 0}, 1, "1,234,567 JPY", "1.234.567 JPY"),
        ({"currency": "KWD", "units": 1, "nanos": 0}, 1, "1.000 KWD", "1,000 KWD"),
    ],
)
def test_sums_are_written_exactly_and_as_readers_expect_them(
    money: dict[str, Any], times: int, english: str, german: str
) -> None:
    assert format_money(money, "en", times=times) == english
    assert format_money(money, "de", times=times) == german


def test_no_repr_tells_what_somebody_is_told() -> None:
    assert repr(rendered()) == "Rendered(language='en')"
