"""Dead letters as a person may see them: the event as JSON, without what is personal or secret."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from google.protobuf import descriptor_pool, json_format, message_factory
from google.protobuf.message import DecodeError
from mesh.events.v1.event_pb2 import Event

if TYPE_CHECKING:
    from collections.abc import Mapping

    from google.protobuf.descriptor import Descriptor, FieldDescriptor
    from google.protobuf.descriptor_pb2 import FileDescriptorSet

    from weft.contract import Contract
    from weft.events.broker import DeadLetter

__all__ = ["LetterReader", "headline"]

REDACTED: Final = "(redacted)"
_ANY: Final = "google.protobuf.Any"


def headline(letter: DeadLetter) -> dict[str, Any]:
    """Return everything of *letter* but the event itself."""
    return {
        "id": letter.id,
        "subscription": letter.subscription,
        "type": letter.type,
        "source": letter.source,
        "subject": letter.subject,
        "time": letter.time.isoformat(),
        "reason": letter.reason,
        "attempts": letter.attempts,
        "buried_time": letter.buried_time.isoformat(),
    }


class LetterReader:
    """Reads events with the contract of the project, of which this process has no stubs.

    Args:
        image: the descriptors *contract* was read from.
        contract: says which fields are sensitive.
    """

    def __init__(self, image: FileDescriptorSet, contract: Contract) -> None:
        self._pool = descriptor_pool.DescriptorPool()
        for file in image.file:
            self._pool.Add(file)
        self._contract = contract

    def describe(self, letter: DeadLetter) -> dict[str, Any]:
        """Return what can be read of *letter*. `event` is None, and `problem` says why, where it can't be."""
        envelope, event, problem = Event(), None, None
        try:
            envelope.ParseFromString(letter.data)
            event = self._read(envelope)
        except DecodeError:
            problem = f"its {len(letter.data)} bytes can't be read"
        except KeyError:
            problem = f"the contract has no {letter.type or 'type for it'}"
        return headline(letter) | {
            "sequence": envelope.sequence,
            "traceparent": envelope.traceparent,
            "event": event,
            "problem": problem,
        }

    def _read(self, envelope: Event) -> dict[str, Any]:
        """Raises KeyError where the type is unknown, and DecodeError."""
        descriptor = self._pool.FindMessageTypeByName(envelope.type)
        message = message_factory.GetMessageClass(descriptor).FromString(envelope.data)
        found = json_format.MessageToDict(message, descriptor_pool=self._pool)
        return self._redact(found, descriptor)

    def _redact(self, found: Mapping[str, Any], descriptor: Descriptor) -> dict[str, Any]:
        rules = self._contract.rules.get(descriptor.full_name, {})
        fields = {field.json_name: field for field in descriptor.fields}
        return {
            name: REDACTED
            if (rule := rules.get(fields[name].name)) is not None and rule.sensitive
            else self._redact_value(value, fields[name])
            for name, value in found.items()
        }

    def _redact_value(self, value: Any, field: FieldDescriptor) -> Any:
        kind = field.message_type
        if kind is None:
            return value
        if kind.GetOptions().map_entry:
            return {key: self._redact_value(each, kind.fields_by_name["value"]) for key, each in value.items()}
        if isinstance(value, list):
            return [self._redact_one(each, kind) for each in value]
        return self._redact_one(value, kind)

    def _redact_one(self, value: Any, kind: Descriptor) -> Any:
        if kind.full_name == _ANY:
            return REDACTED  # whatever it is, no rule speaks of it
        if kind.full_name.startswith("google.protobuf."):
            return value  # has a form of its own in JSON
        return self._redact(value, kind)
