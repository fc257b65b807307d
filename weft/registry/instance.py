"""Instances, and the checks the registry runs on them, as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Final, TypeAlias

MAX_PORT: Final = 65535
MAX_WEIGHT: Final = 65535


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """One registered process of a service.

    Raises:
        ValueError: the address is not an IP address, or port or weight is out of range.
    """

    id: str
    service: str
    address: str  # an IP address: whoever balances load does not resolve names
    port: int  # [1, 65535]
    metadata: Mapping[str, str] = field(default_factory=dict, hash=False)
    weight: int = 1  # [1, 65535], share of the load relative to the other instances

    def __post_init__(self) -> None:
        if not self.id or not self.service:
            raise ValueError("an instance needs an id and the name of its service")
        ip_address(self.address)
        if not 1 <= self.port <= MAX_PORT:
            raise ValueError(f"{self.id}: port {self.port} is not within [1, {MAX_PORT}]")
        if not 1 <= self.weight <= MAX_WEIGHT:
            raise ValueError(f"{self.id}: weight {self.weight} is not within [1, {MAX_WEIGHT}]")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Check:
    deregister_critical_after_s: float | None = 60.0
    """Forget the instance when it has been critical for so long; Consul raises anything below 60. None is never."""

    initially_passing: bool = False
    """Count as healthy until the first probe: for an instance that has just proved its health itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Probe(_Check):
    interval_s: float = 1.0  # Consul raises anything below 1
    timeout_s: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class GrpcCheck(_Probe):
    """Passing while `grpc.health.v1.Health/Check` answers SERVING."""

    target: str  # `host:port` or `host:port/service`


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpCheck(_Probe):
    """Passing on 2xx, warning on 429, critical otherwise."""

    url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TcpCheck(_Probe):
    """Passing while a connection can be opened; says nothing about readiness."""

    target: str  # `host:port`


@dataclass(frozen=True, slots=True, kw_only=True)
class TtlCheck(_Check):
    """Passing while somebody says so at least every *ttl_s* seconds (`Consul.report`)."""

    ttl_s: float


Check: TypeAlias = GrpcCheck | HttpCheck | TcpCheck | TtlCheck
