"""Field rules compiled into closures: all of a request's violations, found in one pass."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from weft.contract import FieldRules, Format
from weft.contract.model import NO_RULES
from weft.errors import InvalidArgument, Violation

__all__ = ["compile_validator"]

Check = Callable[[Any, str, list[Violation]], None]
"""Adds the violations of one value at a path."""
Rules = Mapping[str, Mapping[str, FieldRules]]
Describe = Callable[[Any], "str | None"]
"""Returns what a single value should be, or None when it is right."""

_MONEY: Final = "google.type.Money"
_FORMATS: Final[Mapping[Format, tuple[str, str]]] = {
    Format.UUID: (r"[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}", "must be a UUID"),
    Format.EMAIL: (r"(?=.{3,254}\Z)[^@\s]+@[^@\s.]+(?:\.[^@\s.]+)+", "must be an e-mail address"),
    Format.URI: (r"https?://[^\s/?#]+[^\s]*", "must be an absolute http or https URI"),
    Format.CURRENCY: (r"[A-Z]{3}", "must be an ISO 4217 code"),
    Format.LANGUAGE: (r"[A-Za-z]{2,3}(?:-[A-Za-z0-9]{2,8})*", "must be a BCP 47 language tag"),
}
_NANOS: Final = 1_000_000_000
_MAX_VIOLATIONS: Final = 100  # an answer stays small whatever is sent


class InvalidFields(InvalidArgument):
    """The request breaks field rules; `violations` names each."""


def compile_validator(descriptor: Descriptor, rules: Rules) -> Callable[[Message], None] | None:
    """Return a function that raises `InvalidFields` for a request that breaks *rules*.

    Returns None when nothing of such a request can be broken.
    """
    check = _Compiler(rules).message(descriptor)
    if check is None:
        return None

    def validate(request: Message) -> None:
        violations: list[Violation] = []
        check(request, "", violations)
        if violations:
            names = ", ".join(dict.fromkeys(violation.field for violation in violations[:5]))
            raise InvalidFields(f"invalid: {names}", violations=violations[:_MAX_VIOLATIONS])

    return validate


class _Compiler:
    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._messages: dict[str, Check | None] = {}

    def message(self, descriptor: Descriptor) -> Check | None:
        """Return the check of a message type, or None when none of its fields has one.

        Recursive types check themselves.
        """
        name = descriptor.full_name
        if name not in self._messages:
            # While a type is being compiled, a field of that same type calls whatever it becomes.
            self._messages[name] = lambda value, path, violations: self._call(name, value, path, violations)
            of_type = self._rules.get(name, {})
            found = (self._field(field, of_type.get(field.name, NO_RULES)) for field in descriptor.fields)
            checks = tuple(check for check in found if check)
            self._messages[name] = _all(checks) if checks else None
        return self._messages[name]

    def _call(self, name: str, value: Any, path: str, violations: list[Violation]) -> None:
        check = self._messages[name]
        if check:
            check(value, path, violations)

    def _field(self, field: FieldDescriptor, rules: FieldRules) -> Check | None:
        if rules.output_only:
            return None  # ignored on the way in, https://google.aip.dev/203
        nested = self.message(field.message_type) if field.message_type and not _is_map(field) else None
        if field.message_type and field.message_type.full_name == _MONEY:
            nested = _value_check(_money(rules))
        elif not field.message_type:
            describes = tuple(_scalar(field, rules))
            nested = _value_check(_first(describes)) if describes else None
        if _is_map(field) or field.is_repeated:
            return _repeated(field, rules, nested)
        return _singular(field, rules, nested)


def _all(checks: tuple[Check, ...]) -> Check:
    if len(checks) == 1:
        return checks[0]

    def check(message: Any, path: str, violations: list[Violation]) -> None:
        for each in checks:
            each(message, path, violations)

    return check


def _singular(field: FieldDescriptor, rules: FieldRules, value_check: Check | None) -> Check | None:
    if not rules.required and value_check is None:
        return None
    name, json_name, required = field.name, field.json_name, rules.required
    # A number that isn't required is checked also at 0; a string that is empty counts as not given.
    tracked = field.has_presence
    numeric = not tracked and field.cpp_type not in (FieldDescriptor.CPPTYPE_STRING, FieldDescriptor.CPPTYPE_BOOL)

    def check(message: Any, path: str, violations: list[Violation]) -> None:
        if tracked:
            given = message.HasField(name)
            value = getattr(message, name) if given else None
        else:
            value = getattr(message, name)
            given = bool(value)
        if given or (numeric and not required):
            if value_check:
                value_check(value, f"{path}{json_name}", violations)
        elif required:
            violations.append(Violation(f"{path}{json_name}", "is required"))

    if field.message_type is None or value_check is None or field.message_type.full_name == _MONEY:
        return check

    def check_message(message: Any, path: str, violations: list[Violation]) -> None:
        if message.HasField(name):
            value_check(getattr(message, name), f"{path}{json_name}.", violations)
        elif required:
            violations.append(Violation(f"{path}{json_name}", "is required"))

    return check_message


def _repeated(field: FieldDescriptor, rules: FieldRules, item_check: Check | None) -> Check | None:
    name, json_name = field.name, field.json_name
    low, high, unique = max(rules.min_items, int(rules.required)), rules.max_items, rules.unique
    if not low and high is None and not unique and item_check is None:
        return None
    inside = "." if field.message_type and field.message_type.full_name != _MONEY else ""

    def check(message: Any, path: str, violations: list[Violation]) -> None:
        items = getattr(message, name)
        if len(items) < low:
            violations.append(Violation(f"{path}{json_name}", f"must have at least {low} item{'s' * (low > 1)}"))
        if high is not None and len(items) > high:
            violations.append(Violation(f"{path}{json_name}", f"must have at most {high} items"))
            return  # what is too much is not looked through
        if unique and len(set(items)) < len(items):
            violations.append(Violation(f"{path}{json_name}", "must not repeat an item"))
        if item_check:
            for index, item in enumerate(items):
                item_check(item, f"{path}{json_name}[{index}]{inside}", violations)

    return check


def _value_check(describe: Describe) -> Check:
    def check(value: Any, path: str, violations: list[Violation]) -> None:
        wrong = describe(value)
        if wrong:
            violations.append(Violation(path, wrong))

    return check


def _first(describes: tuple[Describe, ...]) -> Describe:
    if len(describes) == 1:
        return describes[0]
    return lambda value: next((wrong for describe in describes if (wrong := describe(value))), None)


def _scalar(field: FieldDescriptor, rules: FieldRules) -> Any:
    """Yield the checks of one string, bytes, number or enum."""
    if field.type == FieldDescriptor.TYPE_STRING and not rules.format:
        # No text has one, PostgreSQL can't keep it, and C code behind us would end there.
        yield lambda value: "must not contain a NUL character" if "\0" in value else None
    if rules.min_length:
        low = rules.min_length
        yield lambda value: None if len(value) >= low else f"must have at least {low} characters"
    if rules.max_length is not None:
        high = rules.max_length
        yield lambda value: None if len(value) <= high else f"must have at most {high} characters"
    if rules.format:
        yield _matches(*_FORMATS[rules.format])
    if rules.pattern:
        yield _matches(rules.pattern, f"must match {rules.pattern}")
    if rules.minimum is not None:
        least = rules.minimum
        yield lambda value: None if value >= least else f"must be at least {least:g}"  # NaN fails too
    if rules.maximum is not None:
        most = rules.maximum
        yield lambda value: None if value <= most else f"must be at most {most:g}"
    if field.enum_type is not None:
        known = frozenset(field.enum_type.values_by_number)
        yield lambda value: None if value in known else "must be one of the values of the contract"


def _matches(pattern: str, description: str) -> Describe:
    match = re.compile(pattern).fullmatch
    return lambda value: None if match(value) else description


def _money(rules: FieldRules) -> Describe:
    """Return the check of a `google.type.Money`: well formed, and its amount within the rules."""
    currency = re.compile(_FORMATS[Format.CURRENCY][0]).fullmatch

    def describe(money: Any) -> str | None:
        if not currency(money.currency_code):
            return "must have an ISO 4217 currencyCode"
        if not -_NANOS < money.nanos < _NANOS or money.units * money.nanos < 0:
            return "must have nanos within one unit and of the same sign"
        amount = money.units + money.nanos / _NANOS
        if rules.minimum is not None and amount < rules.minimum:
            return f"must be at least {rules.minimum:g}"
        if rules.maximum is not None and amount > rules.maximum:
            return f"must be at most {rules.maximum:g}"
        return None

    return describe


def _is_map(field: FieldDescriptor) -> bool:
    return field.message_type is not None and field.message_type.GetOptions().map_entry
