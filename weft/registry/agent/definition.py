"""Reading a service registration as Consul reads it, down to the words it refuses one with."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from weft.registry.duration import parse_duration
from weft.registry.instance import MAX_WEIGHT

CheckKind = Literal["grpc", "http", "tcp", "ttl"]
Status = Literal["passing", "warning", "critical"]

DEFAULT_TIMEOUT_S: Final = 10.0

_SERVICE_FIELDS: Final = {"ID", "Name", "Tags", "Address", "Meta", "Port", "Weights", "Check", "Checks", "Token"}
_SERVICE_FIELDS_NOT_HERE: Final = {"Connect", "EnableTagOverride", "Kind", "Namespace", "Proxy", "TaggedAddresses"}
_CHECK_FIELDS: Final = {
    "CheckID",
    "ID",
    "Name",
    "Notes",
    "Status",
    "Interval",
    "Timeout",
    "TTL",
    "GRPC",
    "HTTP",
    "TCP",
} | {
    "Method",
    "Header",
    "DeregisterCriticalServiceAfter",
    "OutputMaxSize",
}
_CHECK_FIELDS_NOT_HERE: Final = {"AliasNode", "AliasService", "Args", "ScriptArgs", "Shell", "DockerContainerID"} | {
    "Body",
    "FailuresBeforeCritical",
    "GRPCUseTLS",
    "Namespace",
    "ServiceID",
    "SuccessBeforePassing",
    "TLSSkipVerify",
}
_META_KEY: Final = re.compile(r"[a-zA-Z0-9_-]{1,128}")
_MAX_META_VALUE_CHARS: Final = 512
_MAX_META_PAIRS: Final = 64


class RefusedError(Exception):
    """The request is the caller's fault; *status* and the message are the answer."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceDefinition:
    """What a registration says about an instance."""

    id: str
    name: str
    tags: tuple[str, ...] = ()
    address: str = ""  # empty stands for the node's
    port: int = 0
    meta: Mapping[str, str] = field(default_factory=dict)
    weight_passing: int = 1
    weight_warning: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckDefinition:
    """What a registration says about one check: how to probe, and what failing leads to."""

    check_id: str
    name: str
    kind: CheckKind
    target: str = ""  # grpc: host:port[/service], tcp: host:port, http: address of the resource
    notes: str = ""
    status: Status = "critical"  # until the first probe
    interval_s: float = 0.0
    timeout_s: float = DEFAULT_TIMEOUT_S
    ttl_s: float = 0.0
    deregister_critical_after_s: float = 0.0  # 0 is never
    method: str = "GET"
    headers: tuple[tuple[str, str], ...] = ()


def read_registration(body: bytes) -> tuple[ServiceDefinition, tuple[CheckDefinition, ...]]:
    """Return what *body*, that of `PUT /v1/agent/service/register`, asks for.

    Raises:
        RefusedError: with status 400 and, where Consul 1.8 refuses too, Consul's words.
    """
    try:
        fields = _fields(json.loads(body), _SERVICE_FIELDS, _SERVICE_FIELDS_NOT_HERE)
        service = _service(fields)
        checks = [_fields(check, _CHECK_FIELDS, _CHECK_FIELDS_NOT_HERE) for check in _listed(fields)]
        return service, tuple(_check(check, service, number, len(checks)) for number, check in enumerate(checks, 1))
    except (TypeError, ValueError, AttributeError) as error:
        raise RefusedError(400, f"Request decode failed: {error}") from error


def _service(fields: Mapping[str, Any]) -> ServiceDefinition:
    name = _text(fields, "Name")
    if not name:
        raise RefusedError(400, "Missing service name")
    address = _text(fields, "Address")
    if address in {"0.0.0.0", "::", "[::]"}:  # noqa: S104 refused here
        raise RefusedError(400, "Invalid service address")
    weights = {key.lower(): value for key, value in _mapping(fields, "Weights").items()}
    passing, warning = _integer(weights, "passing", 1), _integer(weights, "warning", 1)
    if passing < 1:
        raise RefusedError(400, "Invalid Weights: Passing must be greater than 0")
    if not (passing <= MAX_WEIGHT and 0 <= warning <= MAX_WEIGHT):
        raise RefusedError(400, f"Invalid Weights: DNS Weight must be between 0 and {MAX_WEIGHT}")
    return ServiceDefinition(
        id=_text(fields, "ID") or name,
        name=name,
        tags=tuple(_strings(fields.get("Tags") or [])),
        address=address,
        port=_integer(fields, "Port", 0),
        meta=_meta(_mapping(fields, "Meta")),
        weight_passing=passing,
        weight_warning=warning,
    )


def _meta(meta: Mapping[str, Any]) -> dict[str, str]:
    if len(meta) > _MAX_META_PAIRS:
        raise RefusedError(400, f"Invalid Service Meta: Node metadata cannot contain more than {_MAX_META_PAIRS} pairs")
    for (key, value), problem in ((pair, _meta_problem(*pair)) for pair in meta.items()):
        if problem:
            raise RefusedError(
                400, f"Invalid Service Meta: Couldn't load metadata pair ('{key}', '{value}'): {problem}"
            )
    return dict(meta)


def _meta_problem(key: str, value: Any) -> str | None:
    if not isinstance(value, str):
        raise TypeError("json: cannot unmarshal into Go struct field .Meta of type string")
    if not _META_KEY.fullmatch(key):
        return "Key contains invalid characters"
    return "Value is too long (limit: 512 characters)" if len(value) > _MAX_META_VALUE_CHARS else None


def _listed(fields: Mapping[str, Any]) -> list[Any]:
    listed = [fields.get("Check"), *(fields.get("Checks") or [])]
    return [check for check in listed if check]  # an empty check is no check


def _check(fields: Mapping[str, Any], service: ServiceDefinition, number: int, count: int) -> CheckDefinition:
    interval_s, ttl_s = _seconds(fields, "Interval"), _seconds(fields, "TTL")
    targets: list[tuple[CheckKind, str]] = [
        (kind, target) for kind in ("grpc", "http", "tcp") if (target := _text(fields, kind.upper()))
    ]
    if len(targets) > 1:
        raise RefusedError(400, "Invalid check: the embedded agent takes one of GRPC, HTTP and TCP")
    if interval_s > 0 and ttl_s > 0:
        raise RefusedError(400, "Invalid check: Interval and TTL cannot both be specified")
    if targets and interval_s <= 0:
        raise RefusedError(400, "Invalid check: Interval must be > 0 for Script, HTTP, or TCP checks")
    if not targets and ttl_s <= 0:
        raise RefusedError(400, "Invalid check: TTL must be > 0 for TTL checks")
    kind, target = targets[0] if targets else ("ttl", "")
    default_id = f"service:{service.id}" if count == 1 else f"service:{service.id}:{number}"
    return CheckDefinition(
        check_id=_text(fields, "CheckID") or _text(fields, "ID") or default_id,
        name=_text(fields, "Name") or f"Service '{service.name}' check",
        kind=kind,
        target=target,
        notes=_text(fields, "Notes"),
        status=_status(_text(fields, "Status")),
        interval_s=interval_s,
        timeout_s=_seconds(fields, "Timeout") or DEFAULT_TIMEOUT_S,
        ttl_s=ttl_s,
        deregister_critical_after_s=_seconds(fields, "DeregisterCriticalServiceAfter"),
        method=_text(fields, "Method") or "GET",
        headers=tuple(
            (name, value) for name, values in _mapping(fields, "Header").items() for value in _strings(values)
        ),
    )


def _status(text: str) -> Status:
    match text:
        case "passing" | "warning" | "critical":
            return text
        case "":
            return "critical"
    raise RefusedError(400, "Bad check status")


def _fields(value: Any, known: set[str], not_here: set[str]) -> dict[str, Any]:
    """Return the fields of a JSON object under their proper names; Consul ignores case and accepts snake_case."""
    if not isinstance(value, dict):
        raise TypeError(f"json: cannot unmarshal {type(value).__name__} into an object")
    proper = {name.lower(): name for name in known | not_here}
    fields = {}
    for written, content in value.items():
        name = proper.get(written.lower().replace("_", ""))
        if name is None:
            raise ValueError(f'json: unknown field "{written}"')
        if content and name in not_here:
            raise RefusedError(400, f"{name} is not supported by the embedded agent; run a real Consul")
        fields[name] = content
    return fields


def _text(fields: Mapping[str, Any], name: str) -> str:
    value = fields.get(name) or ""
    if not isinstance(value, str):
        raise TypeError(f"json: cannot unmarshal {type(value).__name__} into Go struct field .{name} of type string")
    return value


def _integer(fields: Mapping[str, Any], name: str, default: int) -> int:
    value = fields.get(name, default)
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"json: cannot unmarshal {type(value).__name__} into Go struct field .{name} of type int")
    return value


def _mapping(fields: Mapping[str, Any], name: str) -> dict[str, Any]:
    value = fields.get(name)
    if not isinstance(value, dict | None):
        raise TypeError(f"json: cannot unmarshal {type(value).__name__} into Go struct field .{name} of type map")
    return value or {}


def _seconds(fields: Mapping[str, Any], name: str) -> float:
    value = fields.get(name) or 0
    return parse_duration(value) if isinstance(value, str) else value / 1e9  # a bare number is nanoseconds


def _strings(values: Sequence[Any]) -> list[str]:
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise TypeError("json: cannot unmarshal into Go value of type []string")
    return values
