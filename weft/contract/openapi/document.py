"""Paths and operations of the REST API."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any, Final

from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto

from weft.contract.model import Access, Contract, HttpRule, Method, Service
from weft.contract.openapi.descriptors import Descriptors, prose
from weft.contract.openapi.schemas import WELL_KNOWN, Schema, Schemas
from weft.contract.read import REQUEST_ID

__all__ = ["build_openapi", "render_openapi"]

Object = dict[str, Any]

_VARIABLE: Final = re.compile(r"\{([^}=]+)(?:=([^}]*))?\}")
_SENTENCE_END: Final = re.compile(r"\.(\s|$)")
_JSON: Final = "application/json"
_ERROR: Final = "Error"
_BEARER: Final = "bearer"
_RETRY_AFTER: Final[Object] = {"description": "Seconds after which to come back.", "schema": {"type": "integer"}}
_ERROR_SCHEMA: Final[Schema] = {
    "type": "object",
    "description": "Why a call failed, as `google.rpc.Status`; https://google.aip.dev/193.",
    "properties": {
        "code": {"type": "integer", "format": "int32", "description": "Of `google.rpc.Code`, not of HTTP."},
        "message": {"type": "string", "description": "For developers. May change; don't rely on it."},
        "details": {
            "type": "array",
            "description": "At most one of each type. `google.rpc.ErrorInfo` has a `reason` to rely on, "
            "`google.rpc.BadRequest` every field that is wrong, `google.rpc.RetryInfo` when to come back.",
            "items": {"type": "object", "properties": {"@type": {"type": "string"}}, "required": ["@type"]},
        },
    },
    "required": ["code", "message", "details"],
}
_RESPONSES: Final = {
    "Unauthenticated": ("There is no valid token.", {}),
    "Forbidden": ("The token is not for this, or the caller's roles are not enough.", {}),
    "NotFound": ("There is no such thing, or none the caller may know of.", {}),
    "TooManyRequests": ("Too much of a limit was used up.", {"Retry-After": _RETRY_AFTER}),
    "Failed": ("The call failed.", {}),
}


def render_openapi(contract: Contract, files: Iterable[FileDescriptorProto], *, title: str, version: str) -> str:
    """Return the document as JSON, the same text for equal contracts."""
    document = build_openapi(contract, files, title=title, version=version)
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def build_openapi(contract: Contract, files: Iterable[FileDescriptorProto], *, title: str, version: str) -> Object:
    """Return the OpenAPI 3.1 document of the methods that have a REST binding.

    Args:
        contract: the methods and their policies.
        files: the descriptors that *contract* was read from, imports included, with comments where there should be any.
        title: of the API.
        version: of the API.
    """
    return _Document(contract, Descriptors(files)).build(title, version)


class _Document:
    def __init__(self, contract: Contract, descriptors: Descriptors) -> None:
        self._contract, self._descriptors = contract, descriptors
        self._schemas = Schemas(contract, descriptors)

    def build(self, title: str, version: str) -> Object:
        services = [service for service in self._contract.services if any(method.http for method in service.methods)]
        paths: dict[str, Object] = {}
        for service in services:
            for method in service.methods:
                for index, rule in enumerate(method.http):
                    path = _VARIABLE.sub(lambda found: f"{{{_json_path(found[1])}}}", rule.template)
                    paths.setdefault(path, {})[rule.verb.lower()] = self._operation(service, method, rule, index)
        return {
            "openapi": "3.1.0",
            "info": {"title": title, "version": version},
            "servers": [{"url": "/"}],
            "tags": [{"name": service.name, "description": prose(service.comment)} for service in services],
            "paths": paths,
            "components": {
                "schemas": self._schemas.components() | {_ERROR: _ERROR_SCHEMA},
                "responses": {name: _error(text, headers) for name, (text, headers) in _RESPONSES.items()},
                "securitySchemes": {_BEARER: {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}},
            },
        }

    def _operation(self, service: Service, method: Method, rule: HttpRule, index: int) -> Object:
        comment, number = prose(method.comment), f"_{index + 1}" if index else ""
        operation: Object = {
            "operationId": f"{method.service_full_name.rpartition('.')[2]}_{method.name}{number}",
            "tags": [service.name],
            "summary": _SENTENCE_END.split(comment)[0],
            "description": comment,
            "parameters": list(self._parameters(method, rule)),
            "responses": {"200": self._answer(method, rule), **_failures(method, rule)},
            "security": [{_BEARER: []}] if method.access is Access.AUTHENTICATED else [],
            "x-grpc-method": method.path,
            "x-idempotent": method.idempotent,
        }
        if rule.body:
            operation["requestBody"] = {"required": True, "content": {_JSON: {"schema": self._body(method, rule)}}}
        if method.roles:
            operation["x-roles"] = sorted(method.roles)
        if method.timeout_s:
            operation["x-timeout"] = f"{method.timeout_s:g}s"
        if method.rate_limit:
            operation["x-rate-limit"] = {"requests": method.rate_limit.requests, "per": f"{method.rate_limit.per_s:g}s"}
        return operation

    def _parameters(self, method: Method, rule: HttpRule) -> Iterator[Object]:
        in_path = [(found[1], found[2]) for found in _VARIABLE.finditer(rule.template)]
        for variable, pattern in in_path:
            message, field = self._find(method.request, variable)
            schema = self._schemas.field(message, field)
            note = f" Matches `{pattern}`." if pattern else ""
            description = schema.pop("description", "") + note
            yield _parameter("path", _json_path(variable), description.strip(), schema, required=True)
        if method.replayable:
            schema = self._schemas.field(method.request, self._descriptors.field(method.request, REQUEST_ID))
            schema.pop("description", "")
            text = "Makes a repeat safe: the same key gets the first answer. Stands for the field `requestId`."
            yield _parameter("header", "Idempotency-Key", text, schema, required=False)
        if rule.body != "*":
            bound = {variable for variable, _ in in_path} | {rule.body}
            yield from self._query(method.request, "", "", bound, (method.request,))

    def _query(
        self, message: str, path: str, json_path: str, bound: set[str], inside: tuple[str, ...]
    ) -> Iterator[Object]:
        """Yield a parameter for each field of *message* that isn't *bound*, and for those of the messages in it."""
        for field in self._descriptors.messages[message].field:
            name, rules = path + field.name, self._schemas.rules(message, field.name)
            kind = field.type_name.lstrip(".") if field.type == FieldDescriptorProto.TYPE_MESSAGE else ""
            repeated = field.label == FieldDescriptorProto.LABEL_REPEATED
            if name in bound or rules.output_only or (kind and repeated) or kind in inside:
                continue
            if kind and kind not in WELL_KNOWN:
                yield from self._query(kind, f"{name}.", f"{json_path}{field.json_name}.", bound, (*inside, kind))
                continue
            schema = self._schemas.field(message, field)
            description = schema.pop("description", "")
            required = rules.required and not path
            yield _parameter("query", json_path + field.json_name, description, schema, required=required)

    def _body(self, method: Method, rule: HttpRule) -> Schema:
        if rule.body != "*":
            schema = self._schemas.field(method.request, self._descriptors.field(method.request, rule.body))
        elif in_path := frozenset(found[1] for found in _VARIABLE.finditer(rule.template)):
            schema = self._schemas.object(method.request, without=in_path)
        else:
            schema = self._schemas.message(method.request)
        return {"type": "array", "items": schema} if method.client_streaming else schema

    def _answer(self, method: Method, rule: HttpRule) -> Object:
        if rule.response_body:
            field = self._descriptors.field(method.response, rule.response_body)
            schema = self._schemas.field(method.response, field)
        else:
            schema = self._schemas.message(method.response)
        text = "One JSON object a line." if method.server_streaming else "Done."
        return {"description": text, "content": {_JSON: {"schema": schema}}}

    def _find(self, message: str, path: str) -> tuple[str, FieldDescriptorProto]:
        """Return the field that a dotted path leads to, and the message it is of."""
        *outer, last = path.split(".")
        for name in outer:
            message = self._descriptors.field(message, name).type_name.lstrip(".")
        return message, self._descriptors.field(message, last)


def _failures(method: Method, rule: HttpRule) -> Object:
    names = {
        "401": "Unauthenticated" if method.access is Access.AUTHENTICATED else "",
        "403": "Forbidden" if method.access is Access.AUTHENTICATED else "",
        "404": "NotFound" if _VARIABLE.search(rule.template) else "",
        "429": "TooManyRequests",
        "default": "Failed",
    }
    return {status: {"$ref": f"#/components/responses/{name}"} for status, name in names.items() if name}


def _error(text: str, headers: Object) -> Object:
    response: Object = {"description": text, "headers": headers} if headers else {"description": text}
    return response | {"content": {_JSON: {"schema": {"$ref": f"#/components/schemas/{_ERROR}"}}}}


def _parameter(place: str, name: str, description: str, schema: Schema, *, required: bool) -> Object:
    parameter: Object = {"name": name, "in": place}
    if required:
        parameter["required"] = True
    if description:
        parameter["description"] = description
    return parameter | {"schema": schema}


def _json_path(path: str) -> str:
    """Return `shelf_id` as `shelfId`, `book.shelf_id` as `book.shelfId`."""
    return re.sub(r"_([a-z0-9])", lambda found: found[1].upper(), path)
