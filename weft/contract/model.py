"""What a contract says, as plain values: everything else in Weft reads these and never a descriptor's options."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property
from typing import Final

__all__ = [
    "Access",
    "Contract",
    "Event",
    "FieldRules",
    "Format",
    "HttpRule",
    "Method",
    "Outlier",
    "RateLimit",
    "Retry",
    "Service",
    "ServicePolicy",
    "Subscription",
]


class Access(Enum):
    """Who may call a method."""

    PUBLIC = "public"
    AUTHENTICATED = "authenticated"
    SERVICE = "service"
    """Other services of the mesh, on their own behalf; never through the gateway."""


class Format(Enum):
    """Shape of a string; see `mesh.v1.Format`."""

    UUID = "uuid"
    EMAIL = "email"
    URI = "uri"
    CURRENCY = "currency"
    LANGUAGE = "language"


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpRule:
    """One REST binding of a method, as `google.api.http` writes it."""

    verb: str
    """`GET`, `POST`, `PUT`, `PATCH` or `DELETE`."""
    template: str
    """Path with variables, `/v1/shelves/{shelf_id}:open`."""
    body: str
    """Field of the request that the body is; `*` for all fields not in the path; empty for none."""
    response_body: str
    """Field of the response that the body is; empty for all of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """Repeats by the mesh, on UNAVAILABLE only and inside the method's timeout."""

    max_attempts: int
    """The first included, [2, 5]."""
    initial_backoff_s: float = 0.025
    max_backoff_s: float = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class RateLimit:
    """At most `requests` calls of one client address in `per_s` seconds, at the gateway."""

    requests: int
    per_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """One RPC and its policy."""

    name: str
    service_name: str
    """The mesh name of its service, `library`."""
    service_full_name: str
    """`example.library.v1.LibraryService`."""
    request: str
    """Full name of the request message."""
    response: str
    """Full name of the response message."""
    client_streaming: bool = False
    server_streaming: bool = False
    idempotent: bool = False
    """May be repeated: `idempotency_level` is NO_SIDE_EFFECTS or IDEMPOTENT."""
    side_effects: bool = True
    """False where `idempotency_level` is NO_SIDE_EFFECTS."""
    http: tuple[HttpRule, ...] = ()
    access: Access
    roles: frozenset[str] = frozenset()
    """The caller needs one of these; none means any authenticated caller."""
    callers: frozenset[str] = frozenset()
    """Mesh names of the services that may call; some with `Access.SERVICE`, none otherwise."""
    timeout_s: float | None = None
    """Longest time of a call, retries included; None only on streams."""
    retry: Retry | None = None
    rate_limit: RateLimit | None = None
    replayable: bool = False
    """Has side effects and a `request_id`: the answer is stored and replayed for a repeat (AIP-155)."""
    comment: str = ""

    @property
    def path(self) -> str:
        """The gRPC path, `/example.library.v1.LibraryService/GetBook`."""
        return f"/{self.service_full_name}/{self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlier:
    """When an instance is left out for failing; see `mesh.v1.OutlierPolicy`."""

    interval_s: float = 1.0
    base_ejection_s: float = 5.0
    max_ejection_percent: int = 50
    consecutive_failures: int = 5
    failure_percent: int = 85


@dataclass(frozen=True, slots=True, kw_only=True)
class ServicePolicy:
    """How a service is protected as a whole; see `mesh.v1.ServicePolicy`."""

    max_in_flight: int = 200
    max_requests: int = 1000
    retry_budget_percent: int = 20
    min_retries: int = 100
    max_request_bytes: int = 1024 * 1024
    outlier: Outlier = Outlier()


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """A message that is published; see `mesh.v1.EventPolicy`."""

    type: str
    """Full name of the message, `example.library.v1.BookLent`."""
    source: str
    """Mesh name of the service that publishes it: the one in its package."""
    subject: str
    """Name of the string field that says what it is about."""
    comment: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscription:
    """What a service hears of another; see `mesh.v1.SubscriptionPolicy`."""

    name: str
    """`<service>.<name>`, unique in the mesh; its queue is called so."""
    service: str
    """Mesh name of the service that hears."""
    events: tuple[str, ...]
    """Full names of event messages of one publisher, at least one."""
    timeout_s: float = 10.0
    """Of one attempt."""
    max_attempts: int = 8
    """Before an event becomes a dead letter."""
    initial_backoff_s: float = 0.2
    max_backoff_s: float = 10.0
    max_in_flight: int = 16
    """Subjects whose events one instance applies at the same time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """One service of the mesh."""

    name: str
    """In the registry, of its cluster, and in `xds:///<name>`."""
    full_name: str
    file: str
    methods: tuple[Method, ...]
    policy: ServicePolicy = ServicePolicy()
    subscriptions: tuple[Subscription, ...] = ()
    comment: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldRules:
    """What one field of a request must be; see `mesh.v1.FieldPolicy`."""

    required: bool = False
    output_only: bool = False
    format: Format | None = None
    min_length: int = 0
    max_length: int | None = None
    pattern: str = ""
    minimum: float | None = None
    maximum: float | None = None
    min_items: int = 0
    max_items: int | None = None
    unique: bool = False
    sensitive: bool = False


NO_RULES: Final = FieldRules()


@dataclass(frozen=True, kw_only=True)
class Contract:
    """All services of a mesh, or of one process."""

    services: tuple[Service, ...]
    """Sorted by name. Several gRPC services may share one mesh name: they are served by the same instances."""
    rules: Mapping[str, Mapping[str, FieldRules]] = field(default_factory=dict)
    """Message full name -> field name -> rules, where a field has any."""
    events: Mapping[str, Event] = field(default_factory=dict)
    """Message full name -> event."""

    @cached_property
    def methods(self) -> Mapping[str, Method]:
        """GRPC path -> method."""
        return {method.path: method for service in self.services for method in service.methods}

    def service(self, name: str) -> Service:
        """Return the service with this mesh name or full name. Raises KeyError."""
        for service in self.services:
            if name in (service.name, service.full_name):
                return service
        raise KeyError(name)
