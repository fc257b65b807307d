"""Reads a record of a file as a product, by the rules of the contract that hold for `CreateProduct` too."""

from __future__ import annotations

import csv
import json
import re
from typing import TYPE_CHECKING, Any, Final, Protocol

from google.protobuf.json_format import ParseDict, ParseError
from shop.catalog.v1 import catalog_pb2 as pb

from services.catalog.domain import Amount, Money, require_currency
from services.catalog.lines import Line, Refused
from services.catalog.messages import images_of, money_message, money_of
from services.catalog.records import ImportMalformed
from weft.errors import InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from services.catalog.records import Record

__all__ = ["CsvReader", "JsonReader", "LineReader"]

MALFORMED: Final = "LINE_MALFORMED"
"""Reason of a line that says nothing that could be a product."""
INVALID: Final = "INVALID_FIELDS"
MAX_DESCRIPTION_LENGTH: Final = 500
REQUIRED: Final = ("sku", "name", "category", "price")
OPTIONAL: Final = ("description", "images", "tags")
_AMOUNT: Final = re.compile(r"[0-9]{1,10}(\.[0-9]{1,9})?")
_FIELD_OF_ERROR: Final = re.compile(r"(?:Failed to parse|no field named) \"?(\w+)")

Validate = "Callable[[pb.Product], None]"


class LineReader(Protocol):
    """Reads the records of one file, in their order."""

    def read(self, record: Record) -> Line | Refused | None:
        """Return what a record says, or why it can't; None for a header. Raises ImportMalformed."""


class _Rules:
    """What every line has to meet, however it is written."""

    def __init__(self, currency: str, validate: Callable[[pb.Product], None]) -> None:
        self.currency = currency
        self._validate = validate

    def line(
        self, number: int, message: pb.Product, said: Collection[str], *, says_alt_texts: bool = True
    ) -> Line | Refused:
        """Return the line of a product that says these of the fields in `OPTIONAL`, and all of `REQUIRED`."""
        try:
            self._validate(message)
            price = money_of(message.price)
            require_currency(price, self.currency)
        except InvalidArgument as error:
            fields = [violation.field.removeprefix("product.") for violation in error.violations]
            texts = [violation.description for violation in error.violations]
            description = "; ".join(f"{name} {text}" for name, text in zip(fields, texts, strict=True))
            description = texts[0] if len(texts) == 1 else description
            return Refused(number, fields[0], error.reason, description[:MAX_DESCRIPTION_LENGTH])
        values: dict[str, Any] = {"name": message.name, "category": message.category, "price": price}
        if "description" in said:
            values["description"] = message.description
        if "images" in said:
            values["images"] = images_of(message.images)
        if "tags" in said:
            values["tags"] = tuple(message.tags)
        return Line(number=number, sku=message.sku, values=values, says_alt_texts=says_alt_texts)


class CsvReader:
    """Lines of CSV under a header."""

    def __init__(self, currency: str, validate: Callable[[pb.Product], None]) -> None:
        self._rules = _Rules(currency, validate)
        self._columns: Sequence[str] = ()

    def read(self, record: Record) -> Line | Refused | None:
        if not self._columns:
            self._columns = _header(record)
            return None
        fields = _fields(record)
        if isinstance(fields, Refused):
            return fields
        if len(fields) != len(self._columns):
            description = f"must have {len(self._columns)} columns as the header has, not {len(fields)}"
            return Refused(record.line, "", MALFORMED, description)
        values = dict(zip(self._columns, fields, strict=True))
        message = pb.Product(
            sku=values["sku"],
            name=values["name"],
            category=values["category"],
            description=values.get("description", ""),
            tags=values.get("tags", "").split(),
            images=[pb.Image(uri=uri) for uri in values.get("images", "").split()],
        )
        price = values["price"].strip()
        if price:
            if not _AMOUNT.fullmatch(price):
                return Refused(record.line, "price", INVALID, "must be an amount, 12.50")
            message.price.CopyFrom(money_message(Money(self._rules.currency, Amount.parse(price))))
        return self._rules.line(record.line, message, values.keys(), says_alt_texts=False)


class JsonReader:
    """Lines of JSON, each a `Product`. What only the server may say, such as its id, is passed over."""

    def __init__(self, currency: str, validate: Callable[[pb.Product], None]) -> None:
        self._rules = _Rules(currency, validate)

    def read(self, record: Record) -> Line | Refused | None:
        try:
            fields = json.loads(record.text)
        except (ValueError, RecursionError):
            return Refused(record.line, "", MALFORMED, "must be JSON in UTF-8")
        if not isinstance(fields, dict):
            return Refused(record.line, "", MALFORMED, "must be a JSON object")
        try:
            message = ParseDict(fields, pb.Product())
        except (ParseError, ValueError, TypeError, RecursionError) as error:
            found = _FIELD_OF_ERROR.search(str(error))
            name = found[1] if found else ""
            return Refused(record.line, name, MALFORMED, "must be as a Product is written in JSON")
        said = [name for name, value in fields.items() if value is not None]
        return self._rules.line(record.line, message, said)


def _header(record: Record) -> Sequence[str]:
    """Return the names of the columns. Raises ImportMalformed."""
    fields = _fields(record)
    if isinstance(fields, Refused):
        raise ImportMalformed(f"the header can't be read: {fields.description}", line=record.line)
    columns = [field.strip().lower() for field in fields]
    if missing := [name for name in REQUIRED if name not in columns]:
        raise ImportMalformed(f"the header lacks {', '.join(missing)}", line=record.line, columns=",".join(missing))
    if twice := [name for name in (*REQUIRED, *OPTIONAL) if columns.count(name) > 1]:
        raise ImportMalformed(f"the header has {', '.join(twice)} twice", line=record.line, columns=",".join(twice))
    return columns


def _fields(record: Record) -> list[str] | Refused:
    if record.problem:
        return Refused(record.line, "", MALFORMED, record.problem)
    try:
        (fields,) = csv.reader([record.text.decode()], strict=True)
    except (UnicodeDecodeError, csv.Error, ValueError):
        return Refused(record.line, "", MALFORMED, "must be CSV in UTF-8")
    return fields
