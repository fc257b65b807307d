"""Descriptors in, a checked `Contract` out."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from google.api import annotations_pb2, field_behavior_pb2
from google.api.http_pb2 import HttpRule as HttpRuleProto
from google.protobuf import descriptor_pb2
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
    MethodDescriptorProto,
    MethodOptions,
    ServiceDescriptorProto,
)
from google.protobuf.duration_pb2 import Duration
from mesh.v1 import options_pb2

from weft.contract.model import (
    NO_RULES,
    Access,
    Contract,
    Event,
    FieldRules,
    Format,
    HttpRule,
    Method,
    Outlier,
    RateLimit,
    Retry,
    Service,
    ServicePolicy,
    Subscription,
)

__all__ = ["ContractError", "load_image", "read_contract"]

REQUEST_ID: Final = "request_id"
"""Field name that makes a write replayable, https://google.aip.dev/155."""
_SERVICE_NAME: Final = re.compile(r"[a-z][a-z0-9-]{0,62}")
_VARIABLE: Final = re.compile(r"\{([^}=]+)(=[^}]*)?\}")
_MIN_RATE_PERIOD_S: Final = 0.05  # Envoy's shortest token bucket interval
_ACCESS: Final[Mapping[int, Access]] = {
    options_pb2.ACCESS_PUBLIC: Access.PUBLIC,
    options_pb2.ACCESS_AUTHENTICATED: Access.AUTHENTICATED,
    options_pb2.ACCESS_SERVICE: Access.SERVICE,
}
_ATTEMPTS: Final = range(2, 6)  # gRPC repeats at most four times


class ContractError(Exception):
    """The contract breaks a rule of the mesh; its author must change it. Lists every problem, one a line."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))


@dataclass(frozen=True, slots=True)
class _Place:
    """Where something is declared: for the reader of a problem, and to find its comment."""

    file: FileDescriptorProto
    path: tuple[int, ...]
    symbol: str

    def __str__(self) -> str:
        location = self._location()
        return (
            f"{self.file.name}:{location.span[0] + 1}: {self.symbol}"
            if location
            else f"{self.file.name}: {self.symbol}"
        )

    def comment(self) -> str:
        """Return what is said of it for readers; a line for buf's linter isn't."""
        location = self._location()
        lines = location.leading_comments.splitlines() if location else []
        return "\n".join(line for line in lines if not line.strip().startswith("buf:lint:")).strip()

    def _location(self) -> descriptor_pb2.SourceCodeInfo.Location | None:
        return next((at for at in self.file.source_code_info.location if tuple(at.path) == self.path), None)


def load_image(path: Path) -> FileDescriptorSet:
    """Read a descriptor image as `scripts/gen` writes it, or as `protoc --descriptor_set_out` and `buf build` do."""
    return FileDescriptorSet.FromString(path.read_bytes())


def read_contract(files: Iterable[FileDescriptorProto]) -> Contract:
    """Read every service of *files* that the mesh serves, and the field rules of all messages.

    A gRPC service without a `google.api.http` rule or `mesh.v1` option that comes with a library (health, reflection)
    is not ours to
    judge: only files that import `mesh/v1/options.proto` are read.

    Raises:
        ContractError: with every problem found, each naming file and line (or symbol, where the image has no
            positions).
    """
    ours = [file for file in files if "mesh/v1/options.proto" in file.dependency]
    fields = {name: message for file in ours for name, message in _messages(f".{file.package}", file.message_type)}
    problems: list[str] = []
    services = [
        service
        for file in ours
        for index, proto in enumerate(file.service)
        if (service := _read_service(file, index, proto, fields, problems))
    ]
    _check_rest_paths(services, problems)
    rules = _read_rules(ours, problems)
    events = _read_events(ours, services, problems)
    if problems:
        raise ContractError(problems)
    return Contract(
        services=tuple(sorted(services, key=lambda service: (service.name, service.full_name))),
        rules=rules,
        events=events,
    )


def _read_service(
    file: FileDescriptorProto,
    index: int,
    proto: ServiceDescriptorProto,
    messages: dict[str, DescriptorProto],
    problems: list[str],
) -> Service | None:
    full_name = f"{file.package}.{proto.name}"
    place = _Place(file, (6, index), full_name)
    policy = proto.options.Extensions[options_pb2.service]
    if not _SERVICE_NAME.fullmatch(policy.name):
        said = f"the name {policy.name!r} is not" if policy.name else "has no (mesh.v1.service).name:"
        problems.append(f"{place}: {said} a lower case word of letters, digits and dashes")
    methods = [
        _read_method(
            _Place(file, (6, index, 2, at), f"{full_name}.{method.name}"),
            policy.name,
            full_name,
            method,
            messages,
            problems,
        )
        for at, method in enumerate(proto.method)
    ]
    outlier, policy_out = policy.outlier, ServicePolicy()
    default = policy_out.outlier
    return Service(
        name=policy.name,
        full_name=full_name,
        file=file.name,
        methods=tuple(method for method in methods if method),
        policy=ServicePolicy(
            max_in_flight=policy.max_in_flight or policy_out.max_in_flight,
            max_requests=policy.max_requests or policy_out.max_requests,
            retry_budget_percent=policy.retry_budget_percent or policy_out.retry_budget_percent,
            min_retries=policy.min_retries or policy_out.min_retries,
            max_request_bytes=policy.max_request_bytes or policy_out.max_request_bytes,
            outlier=Outlier(
                interval_s=_seconds(outlier.interval) or default.interval_s,
                base_ejection_s=_seconds(outlier.base_ejection) or default.base_ejection_s,
                max_ejection_percent=outlier.max_ejection_percent or default.max_ejection_percent,
                consecutive_failures=outlier.consecutive_failures or default.consecutive_failures,
                failure_percent=outlier.failure_percent or default.failure_percent,
            ),
        ),
        subscriptions=tuple(_read_subscriptions(place, policy, problems)),
        comment=place.comment(),
    )


def _read_subscriptions(
    place: _Place, policy: options_pb2.ServicePolicy, problems: list[str]
) -> Iterator[Subscription]:
    seen: set[str] = set()
    for proto in policy.subscriptions:
        found: list[str] = []
        if not _SERVICE_NAME.fullmatch(proto.name):
            found.append(f"a subscription's name {proto.name!r} is not a lower case word of letters, digits and dashes")
        if proto.name in seen:
            found.append(f"has two subscriptions called {proto.name}")
        if not proto.events:
            found.append(f"subscription {proto.name} names no events")
        if len({event.rpartition(".")[0] for event in proto.events}) > 1:
            found.append(f"subscription {proto.name} mixes events of several packages, which have no order")
        seen.add(proto.name)
        problems.extend(f"{place}: {problem}" for problem in found)
        default = Subscription(name="", service="", events=())
        yield Subscription(
            name=f"{policy.name}.{proto.name}",
            service=policy.name,
            events=tuple(proto.events),
            timeout_s=_seconds(proto.timeout) or default.timeout_s,
            max_attempts=proto.max_attempts or default.max_attempts,
            initial_backoff_s=_seconds(proto.initial_backoff) or default.initial_backoff_s,
            max_backoff_s=_seconds(proto.max_backoff) or default.max_backoff_s,
            max_in_flight=proto.max_in_flight or default.max_in_flight,
        )


def _read_events(
    files: Iterable[FileDescriptorProto], services: Iterable[Service], problems: list[str]
) -> dict[str, Event]:
    publishers = {service.full_name.rpartition(".")[0]: service.name for service in services}
    events: dict[str, Event] = {}
    for file in files:
        for index, message in enumerate(file.message_type):
            if not message.options.HasExtension(options_pb2.event):
                continue
            place = _Place(file, (4, index), f"{file.package}.{message.name}")
            subject = message.options.Extensions[options_pb2.event].subject
            of_strings = {field.name for field in message.field if field.type == FieldDescriptorProto.TYPE_STRING}
            if subject not in of_strings:
                problems.append(f"{place}: the event's subject {subject!r} is not one of its string fields")
            # A process that only hears of another's events need not know its methods.
            source = publishers.get(file.package, "")
            events[place.symbol] = Event(type=place.symbol, source=source, subject=subject, comment=place.comment())
    return events


def _read_method(
    place: _Place,
    service_name: str,
    service_full_name: str,
    proto: MethodDescriptorProto,
    messages: dict[str, DescriptorProto],
    problems: list[str],
) -> Method | None:
    policy = proto.options.Extensions[options_pb2.method]
    level = proto.options.idempotency_level
    idempotent = level != MethodOptions.IDEMPOTENCY_UNKNOWN
    streams = proto.client_streaming or proto.server_streaming
    timeout_s = _seconds(policy.timeout)
    found: list[str] = []
    if policy.access == options_pb2.ACCESS_UNSPECIFIED:
        found.append("does not say who may call it: set (mesh.v1.method).access")
    if policy.roles and policy.access != options_pb2.ACCESS_AUTHENTICATED:
        found.append("names roles without ACCESS_AUTHENTICATED")
    if bool(policy.callers) != (policy.access == options_pb2.ACCESS_SERVICE):
        found.append("must name callers with ACCESS_SERVICE, and only there")
    if policy.access == options_pb2.ACCESS_SERVICE and proto.options.HasExtension(annotations_pb2.http):
        found.append("has a REST path that nobody could call: ACCESS_SERVICE is not for the gateway")
    if not timeout_s and not streams:
        found.append("has no timeout: set (mesh.v1.method).timeout")
    if policy.HasField("retry"):
        if not idempotent:
            found.append("is retried but not declared idempotent: set idempotency_level, or remove the retry")
        if streams:
            found.append("is a stream and so can't be retried")
        if policy.retry.max_attempts not in _ATTEMPTS:
            found.append("retry.max_attempts must be from 2 to 5")
    if policy.HasField("rate_limit") and (
        policy.rate_limit.requests < 1 or _seconds(policy.rate_limit.per) < _MIN_RATE_PERIOD_S
    ):
        found.append("rate_limit needs at least 1 request and a period of at least 50 ms")
    http = tuple(_read_http(proto.options))
    request = messages.get(proto.input_type)
    found.extend(_http_problems(http, request))
    problems.extend(f"{place}: {problem}" for problem in found)
    if found:
        return None
    replayable = request is not None and level != MethodOptions.NO_SIDE_EFFECTS and not streams
    return Method(
        name=proto.name,
        service_name=service_name,
        service_full_name=service_full_name,
        request=proto.input_type.lstrip("."),
        response=proto.output_type.lstrip("."),
        client_streaming=proto.client_streaming,
        server_streaming=proto.server_streaming,
        idempotent=idempotent,
        side_effects=level != MethodOptions.NO_SIDE_EFFECTS,
        http=http,
        access=_ACCESS[policy.access],
        roles=frozenset(policy.roles),
        callers=frozenset(policy.callers),
        timeout_s=timeout_s or None,
        retry=_read_retry(policy.retry) if policy.HasField("retry") else None,
        rate_limit=(
            RateLimit(requests=policy.rate_limit.requests, per_s=_seconds(policy.rate_limit.per))
            if policy.HasField("rate_limit")
            else None
        ),
        replayable=replayable and any(field.name == REQUEST_ID for field in request.field) if request else False,
        comment=place.comment(),
    )


def _read_retry(proto: options_pb2.RetryPolicy) -> Retry:
    default = Retry(max_attempts=proto.max_attempts)
    return Retry(
        max_attempts=proto.max_attempts,
        initial_backoff_s=_seconds(proto.initial_backoff) or default.initial_backoff_s,
        max_backoff_s=_seconds(proto.max_backoff) or default.max_backoff_s,
    )


def _read_http(options: MethodOptions) -> Iterator[HttpRule]:
    if not options.HasExtension(annotations_pb2.http):
        return
    first = options.Extensions[annotations_pb2.http]
    for rule in (first, *first.additional_bindings):
        yield HttpRule(verb=_verb(rule), template=_template(rule), body=rule.body, response_body=rule.response_body)


def _verb(rule: HttpRuleProto) -> str:
    return rule.custom.kind if rule.HasField("custom") else (rule.WhichOneof("pattern") or "").upper()


def _template(rule: HttpRuleProto) -> str:
    return rule.custom.path if rule.HasField("custom") else str(getattr(rule, rule.WhichOneof("pattern") or "get"))


def _http_problems(rules: Iterable[HttpRule], request: DescriptorProto | None) -> Iterator[str]:
    names = {field.name for field in request.field} if request else set()
    for rule in rules:
        if not rule.template.startswith("/"):
            yield f"the REST path {rule.template!r} does not start with a slash"
        for variable in _VARIABLE.findall(rule.template):
            if request and variable[0].partition(".")[0] not in names:
                yield f"the REST path names {variable[0]!r}, which the request does not have"
        if request and rule.body not in ("", "*") and rule.body not in names:
            yield f"the REST body is {rule.body!r}, which the request does not have"


def _check_rest_paths(services: Iterable[Service], problems: list[str]) -> None:
    taken: dict[tuple[str, str], Method] = {}
    for service in services:
        for method in service.methods:
            for rule in method.http:
                key = (rule.verb, _VARIABLE.sub(lambda found: f"{{{found[2] or ''}}}", rule.template))
                other = taken.setdefault(key, method)
                if other is not method:
                    problems.append(
                        f"{service.file}: {method.service_full_name}.{method.name}: {rule.verb} {rule.template} "
                        f"is already {other.service_full_name}.{other.name}"
                    )


def _messages(scope: str, messages: Iterable[DescriptorProto]) -> Iterator[tuple[str, DescriptorProto]]:
    """Yield (`.package.Message`, message), nested ones too."""
    for message in messages:
        name = f"{scope}.{message.name}"
        yield name, message
        yield from _messages(name, message.nested_type)


def _read_rules(files: Iterable[FileDescriptorProto], problems: list[str]) -> dict[str, dict[str, FieldRules]]:
    rules: dict[str, dict[str, FieldRules]] = {}
    for file in files:
        for name, message in _messages(f".{file.package}", file.message_type):
            of_message = {}
            for field in message.field:
                symbol = f"{name.lstrip('.')}.{field.name}"
                try:
                    found = _field_rules(field)
                    re.compile(found.pattern)
                except (ValueError, re.error) as error:
                    problems.append(f"{file.name}: {symbol}: {error}")
                else:
                    if found != NO_RULES:
                        of_message[field.name] = found
            if of_message:
                rules[name.lstrip(".")] = of_message
    return rules


_STRINGS: Final = (FieldDescriptorProto.TYPE_STRING,)
_SIZED: Final = (*_STRINGS, FieldDescriptorProto.TYPE_BYTES)
_NOT_NUMBERS: Final = (
    *_SIZED,
    FieldDescriptorProto.TYPE_BOOL,
    FieldDescriptorProto.TYPE_ENUM,
    FieldDescriptorProto.TYPE_GROUP,
    FieldDescriptorProto.TYPE_MESSAGE,
)


def _field_rules(field: FieldDescriptorProto) -> FieldRules:
    """Return the rules of one field. Raises ValueError where a rule does not fit the field's type."""
    policy = field.options.Extensions[options_pb2.field]
    behavior = field.options.Extensions[field_behavior_pb2.field_behavior]
    repeated = field.label == FieldDescriptorProto.LABEL_REPEATED
    if (policy.format or policy.pattern) and field.type not in _STRINGS:
        raise ValueError("format and pattern are for strings")
    if (policy.min_length or policy.max_length) and field.type not in _SIZED:
        raise ValueError("min_length and max_length are for strings and bytes")
    bounded = policy.HasField("minimum") or policy.HasField("maximum")
    if bounded and field.type in _NOT_NUMBERS and field.type_name != ".google.type.Money":
        raise ValueError("minimum and maximum are for numbers and google.type.Money")
    if (policy.min_items or policy.max_items or policy.unique) and not repeated:
        raise ValueError("min_items, max_items and unique are for repeated fields")
    return FieldRules(
        required=field_behavior_pb2.REQUIRED in behavior,
        output_only=field_behavior_pb2.OUTPUT_ONLY in behavior,
        format=Format[options_pb2.Format.Name(policy.format).removeprefix("FORMAT_")] if policy.format else None,
        min_length=policy.min_length,
        max_length=policy.max_length or None,
        pattern=policy.pattern,
        minimum=policy.minimum if policy.HasField("minimum") else None,
        maximum=policy.maximum if policy.HasField("maximum") else None,
        min_items=policy.min_items,
        max_items=policy.max_items or None,
        unique=policy.unique,
        sensitive=policy.sensitive,
    )


def _seconds(duration: Duration) -> float:
    return duration.seconds + duration.nanos / 1e9
