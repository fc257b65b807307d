"""Descriptors by name, with their comments."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
)

__all__ = ["Descriptors", "prose"]

_MESSAGE, _ENUM = 4, 5  # fields of FileDescriptorProto; positions in a file are paths of such numbers
_FIELD, _NESTED, _NESTED_ENUM, _VALUE = 2, 3, 4, 2
_WRAPPED: Final = re.compile(r"(?<!\n)\n(?!\n|\s*[-*] )[ ]*")


class Descriptors:
    """Every message and enum of some files. Names are without the leading dot."""

    def __init__(self, files: Iterable[FileDescriptorProto]) -> None:
        self.messages: dict[str, DescriptorProto] = {}
        self.enums: dict[str, EnumDescriptorProto] = {}
        self._comments: dict[str, str] = {}
        for file in files:
            comments = {tuple(at.path): prose(at.leading_comments) for at in file.source_code_info.location}
            for index, message in enumerate(file.message_type):
                self._add_message(file.package, message, (_MESSAGE, index), comments)
            for index, enum in enumerate(file.enum_type):
                self._add_enum(file.package, enum, (_ENUM, index), comments)

    def comment(self, name: str) -> str:
        """Return what is written above a message, a field, an enum or one of its values; empty if nothing is."""
        return self._comments.get(name, "")

    def field(self, message: str, name: str) -> FieldDescriptorProto:
        """Return one field. Raises KeyError."""
        for field in self.messages[message].field:
            if field.name == name:
                return field
        raise KeyError(f"{message}.{name}")

    def is_map(self, field: FieldDescriptorProto) -> bool:
        entry = self.messages.get(field.type_name.lstrip("."))
        return entry is not None and entry.options.map_entry

    def _add_message(
        self, scope: str, message: DescriptorProto, path: tuple[int, ...], comments: dict[tuple[int, ...], str]
    ) -> None:
        name = f"{scope}.{message.name}"
        self.messages[name] = message
        self._comments[name] = comments.get(path, "")
        for index, field in enumerate(message.field):
            self._comments[f"{name}.{field.name}"] = comments.get((*path, _FIELD, index), "")
        for index, nested in enumerate(message.nested_type):
            self._add_message(name, nested, (*path, _NESTED, index), comments)
        for index, enum in enumerate(message.enum_type):
            self._add_enum(name, enum, (*path, _NESTED_ENUM, index), comments)

    def _add_enum(
        self, scope: str, enum: EnumDescriptorProto, path: tuple[int, ...], comments: dict[tuple[int, ...], str]
    ) -> None:
        name = f"{scope}.{enum.name}"
        self.enums[name] = enum
        self._comments[name] = comments.get(path, "")
        for index, value in enumerate(enum.value):
            self._comments[f"{name}.{value.name}"] = comments.get((*path, _VALUE, index), "")


def prose(comment: str) -> str:
    """Return a comment without the line breaks that only wrap it: those of paragraphs and lists stay."""
    return _WRAPPED.sub(" ", comment.strip())
