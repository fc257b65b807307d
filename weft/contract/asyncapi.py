"""The events of a contract as AsyncAPI 3: who publishes what, and who hears of it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any, Final

from google.protobuf.descriptor_pb2 import FileDescriptorProto

from weft.contract.model import Contract, Event, Subscription
from weft.contract.openapi.descriptors import Descriptors, prose
from weft.contract.openapi.schemas import Schemas
from weft.contract.read import ContractError

__all__ = ["build_asyncapi", "render_asyncapi"]

Object = dict[str, Any]

_SENTENCE_END: Final = re.compile(r"\.(\s|$)")
_ENVELOPE: Final = "mesh.events.v1.Event"
_PAYLOAD: Final = "data"
"""Field of the envelope that holds the event's own message."""
_ADDRESS: Final = "weft.events."


def render_asyncapi(contract: Contract, files: Iterable[FileDescriptorProto], *, title: str, version: str) -> str:
    """Return the document as JSON, the same text for equal contracts. Raises ContractError as `build_asyncapi` does."""
    document = build_asyncapi(contract, files, title=title, version=version)
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def build_asyncapi(contract: Contract, files: Iterable[FileDescriptorProto], *, title: str, version: str) -> Object:
    """Return the AsyncAPI 3.0 document of a whole mesh: a channel for each event, operations for those who use it.

    Args:
        contract: of all services, for whoever hears of an event is not in its publisher's file.
        files: the descriptors that *contract* was read from, imports included, with comments where there should be any.
        title: of the document.
        version: of the document.

    Raises:
        ContractError: a subscription names an event that nobody publishes.

    Source: https://www.asyncapi.com/docs/reference/specification/v3.0.0
    """
    _refuse_unknown_events(contract)
    descriptors = Descriptors(files)
    schemas = Schemas(contract, descriptors)
    events = [contract.events[name] for name in sorted(contract.events)]
    subscriptions = sorted(
        (subscription for service in contract.services for subscription in service.subscriptions),
        key=lambda subscription: subscription.name,
    )
    messages = {event.type: _message(event, schemas, descriptors) for event in events}
    is_known = _ENVELOPE in descriptors.messages
    headers = schemas.object(_ENVELOPE, without=frozenset({_PAYLOAD})) if is_known else {"type": "object"}
    publishing = {f"{event.source}.publish.{_name(event.type)}": _publishing(event) for event in events}
    hearing = {
        f"{subscription.name}.{_name(event)}": _hearing(subscription, contract.events[event])
        for subscription in subscriptions
        for event in subscription.events
    }
    return {
        "asyncapi": "3.0.0",
        "info": {"title": title, "version": version},
        "defaultContentType": "application/json",
        "channels": {event.type: _channel(event) for event in events},
        "operations": dict(sorted((publishing | hearing).items())),
        "components": {
            "messages": messages,
            "messageTraits": {"Envelope": {"headers": headers}},
            "schemas": schemas.components(),
        },
    }


def _channel(event: Event) -> Object:
    return {
        "address": f"{_ADDRESS}{event.type}",
        "title": _name(event.type),
        "description": prose(event.comment),
        "messages": {_name(event.type): {"$ref": f"#/components/messages/{event.type}"}},
    }


def _message(event: Event, schemas: Schemas, descriptors: Descriptors) -> Object:
    comment = prose(event.comment)
    subject = descriptors.field(event.type, event.subject).json_name
    return {
        "name": event.type,
        "title": _name(event.type),
        "summary": _SENTENCE_END.split(comment)[0],
        "description": (
            f"{comment} On the wire this is the field `{_PAYLOAD}` of a `{_ENVELOPE}`, whose other fields are shown as "
            f"headers; both are protobuf, shown here as proto3 JSON writes them. Events of one `{subject}` come in the "
            "order in which they happened."
        ).strip(),
        "contentType": "application/protobuf",
        "payload": schemas.message(event.type),
        "correlationId": {"location": "$message.header#/id", "description": "The same in every copy of an event."},
        "traits": [{"$ref": "#/components/messageTraits/Envelope"}],
        "x-subject": subject,
    }


def _publishing(event: Event) -> Object:
    return _operation(event, "send", event.source, f"{event.source} publishes {_name(event.type)}.")


def _hearing(subscription: Subscription, event: Event) -> Object:
    text = (
        f"{subscription.service} applies {_name(event.type)} once. After {subscription.max_attempts} attempts of at "
        f"most {subscription.timeout_s:g} s it becomes a dead letter of `{subscription.name}`."
    )
    return _operation(event, "receive", subscription.service, text) | {"x-subscription": subscription.name}


def _operation(event: Event, action: str, service: str, summary: str) -> Object:
    channel = f"#/channels/{event.type}"
    return {
        "action": action,
        "channel": {"$ref": channel},
        "summary": summary,
        "messages": [{"$ref": f"{channel}/messages/{_name(event.type)}"}],
        "tags": [{"name": service}],
    }


def _name(event_type: str) -> str:
    return event_type.rpartition(".")[2]


def _refuse_unknown_events(contract: Contract) -> None:
    problems = [
        f"{service.file}: {service.full_name}: subscription {subscription.name} names {event}, which is no event"
        for service in contract.services
        for subscription in service.subscriptions
        for event in subscription.events
        if event not in contract.events
    ]
    if problems:
        raise ContractError(problems)
