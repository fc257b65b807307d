"""JSON Schema of protobuf messages, as proto3 JSON writes them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from google.protobuf.descriptor_pb2 import FieldDescriptorProto

from weft.contract.model import NO_RULES, Contract, FieldRules, Format
from weft.contract.openapi.descriptors import Descriptors

__all__ = ["Schemas"]

Schema = dict[str, Any]

_INTEGER: Final[Schema] = {"type": "integer", "format": "int32"}
_UNSIGNED: Final[Schema] = {"type": "integer", "format": "int64", "minimum": 0, "maximum": 2**32 - 1}
_LONG: Final[Schema] = {"type": "string", "format": "int64", "pattern": "^-?[0-9]+$"}
_UNSIGNED_LONG: Final[Schema] = {"type": "string", "format": "uint64", "pattern": "^[0-9]+$"}
_BYTES: Final[Schema] = {"type": "string", "contentEncoding": "base64"}

F = FieldDescriptorProto
SCALARS: Final[dict[int, Schema]] = {
    F.TYPE_DOUBLE: {"type": "number", "format": "double"},
    F.TYPE_FLOAT: {"type": "number", "format": "float"},
    F.TYPE_INT32: _INTEGER,
    F.TYPE_SINT32: _INTEGER,
    F.TYPE_SFIXED32: _INTEGER,
    F.TYPE_UINT32: _UNSIGNED,
    F.TYPE_FIXED32: _UNSIGNED,
    F.TYPE_INT64: _LONG,
    F.TYPE_SINT64: _LONG,
    F.TYPE_SFIXED64: _LONG,
    F.TYPE_UINT64: _UNSIGNED_LONG,
    F.TYPE_FIXED64: _UNSIGNED_LONG,
    F.TYPE_BOOL: {"type": "boolean"},
    F.TYPE_STRING: {"type": "string"},
    F.TYPE_BYTES: _BYTES,
}
_WRAPPERS: Final = {
    "Double": F.TYPE_DOUBLE,
    "Float": F.TYPE_FLOAT,
    "Int32": F.TYPE_INT32,
    "UInt32": F.TYPE_UINT32,
    "Int64": F.TYPE_INT64,
    "UInt64": F.TYPE_UINT64,
    "Bool": F.TYPE_BOOL,
    "String": F.TYPE_STRING,
    "Bytes": F.TYPE_BYTES,
}
_OWN_JSON: Final[dict[str, Schema]] = {
    "google.protobuf.Timestamp": {"type": "string", "format": "date-time"},
    "google.protobuf.Duration": {"type": "string", "pattern": "^-?[0-9]+(\\.[0-9]{1,9})?s$", "examples": ["1.5s"]},
    "google.protobuf.FieldMask": {"type": "string", "description": "Names of fields, separated by commas."},
    "google.protobuf.Empty": {"type": "object", "maxProperties": 0},
    "google.protobuf.Struct": {"type": "object"},
    "google.protobuf.Value": {},
    "google.protobuf.ListValue": {"type": "array", "items": {}},
    "google.protobuf.Any": {"type": "object", "properties": {"@type": {"type": "string"}}, "required": ["@type"]},
}
WELL_KNOWN: Final = _OWN_JSON | {f"google.protobuf.{name}Value": SCALARS[kind] for name, kind in _WRAPPERS.items()}
"""Types that proto3 JSON writes in a way of their own. Source: https://protobuf.dev/programming-guides/json"""
_FORMATS: Final[Mapping[Format, Schema]] = {
    Format.UUID: {"format": "uuid"},
    Format.EMAIL: {"format": "email", "maxLength": 254},
    Format.URI: {"format": "uri"},
    Format.CURRENCY: {"pattern": "^[A-Z]{3}$"},
    Format.LANGUAGE: {"pattern": "^[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8})*$"},
}


class Schemas:
    """Turns messages into schemas and remembers which are referred to."""

    def __init__(self, contract: Contract, descriptors: Descriptors) -> None:
        self._contract, self._descriptors = contract, descriptors
        self._used: dict[str, Schema] = {}

    def components(self) -> dict[str, Schema]:
        """Return name -> schema of every message and enum that a schema refers to."""
        return dict(sorted(self._used.items()))

    def message(self, name: str) -> Schema:
        """Return a schema for a field or body of this message type."""
        if name in WELL_KNOWN:
            return dict(WELL_KNOWN[name])
        if name not in self._used:
            self._used[name] = {}  # a message may contain itself
            self._used[name] = self.object(name)
        return {"$ref": f"#/components/schemas/{name}"}

    def object(self, name: str, *, without: frozenset[str] = frozenset()) -> Schema:
        """Return the schema of a message itself, *without* some of its fields."""
        fields = [field for field in self._descriptors.messages[name].field if field.name not in without]
        required = [field.json_name for field in fields if self.rules(name, field.name).required]
        return _without_empty(
            {
                "type": "object",
                "description": self._descriptors.comment(name),
                "properties": {field.json_name: self.field(name, field) for field in fields},
                "required": required,
            }
        )

    def field(self, message: str, field: FieldDescriptorProto) -> Schema:
        """Return the schema of one field, rules and comment included."""
        rules = self.rules(message, field.name)
        if self._descriptors.is_map(field):
            value = self._descriptors.field(field.type_name.lstrip("."), "value")
            of_all: Schema = {"type": "object", "additionalProperties": self._item(value, NO_RULES)}
            schema = of_all | _sizes(rules, "minProperties", "maxProperties")
        elif field.label == F.LABEL_REPEATED:
            items: Schema = {"type": "array", "items": self._item(field, rules)}
            schema = items | _sizes(rules, "minItems", "maxItems")
            if rules.unique:
                schema["uniqueItems"] = True
        else:
            schema = self._item(field, rules)
        if rules.output_only:
            schema["readOnly"] = True
        if rules.sensitive:
            schema["x-sensitive"] = True
        return schema | _without_empty({"description": self._description(message, field)})

    def rules(self, message: str, field: str) -> FieldRules:
        return self._contract.rules.get(message, {}).get(field, NO_RULES)

    def _description(self, message: str, field: FieldDescriptorProto) -> str:
        comment = self._descriptors.comment(f"{message}.{field.name}")
        if not field.HasField("oneof_index") or field.proto3_optional:
            return comment
        siblings = [
            f"`{other.json_name}`"
            for other in self._descriptors.messages[message].field
            if other.HasField("oneof_index") and other.oneof_index == field.oneof_index
        ]
        return f"{comment} At most one of {', '.join(siblings)}.".strip()

    def _item(self, field: FieldDescriptorProto, rules: FieldRules) -> Schema:
        name = field.type_name.lstrip(".")
        if field.type == F.TYPE_MESSAGE:
            return self.message(name) | _bounds(rules, "x-minimum", "x-maximum")
        if field.type == F.TYPE_ENUM:
            return self._enum(name)
        schema = SCALARS[field.type]
        if field.type in (F.TYPE_STRING, F.TYPE_BYTES):
            return schema | _text(rules)
        if schema["type"] == "string":  # a long integer, of which JSON Schema can't say how large it may be
            return schema | _bounds(rules, "x-minimum", "x-maximum")
        return schema | _bounds(rules, "minimum", "maximum")

    def _enum(self, name: str) -> Schema:
        if name not in self._used:
            values = [value.name for value in self._descriptors.enums[name].value]
            meanings = [(value, self._descriptors.comment(f"{name}.{value}")) for value in values]
            text = [
                self._descriptors.comment(name),
                *(f"- `{value}`: {meaning}" for value, meaning in meanings if meaning),
            ]
            described = {"description": "\n".join(text).strip()}
            self._used[name] = {"type": "string", "enum": values} | _without_empty(described)
        return {"$ref": f"#/components/schemas/{name}"}


def _text(rules: FieldRules) -> Schema:
    shape = dict(_FORMATS[rules.format]) if rules.format else {}
    if rules.pattern:
        shape["pattern"] = f"^(?:{rules.pattern})$" if "|" in rules.pattern else f"^{rules.pattern}$"
    if least := max(rules.min_length, int(rules.required and not rules.format)):
        shape["minLength"] = least
    if rules.max_length is not None:
        shape["maxLength"] = rules.max_length
    return shape


def _bounds(rules: FieldRules, least: str, most: str) -> Schema:
    bounds = {least: rules.minimum, most: rules.maximum}
    return {name: int(value) if value.is_integer() else value for name, value in bounds.items() if value is not None}


def _sizes(rules: FieldRules, least: str, most: str) -> Schema:
    return _without_empty({least: rules.min_items or int(rules.required), most: rules.max_items})


def _without_empty(schema: Schema) -> Schema:
    return {name: value for name, value in schema.items() if value}
