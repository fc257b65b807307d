"""What belongs to the edge and not to a method."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Final

__all__ = ["GatewayConfig"]

MAX_PORT: Final = 65535
MAX_HOPS: Final = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayConfig:
    """Settings of the gateway; what a method needs is in the contract.

    Raises:
        ValueError: a value is out of its range; all problems at once, one a line.
    """

    address: str = "127.0.0.1"
    """IP address to listen on."""
    port: int = 8080
    """Where REST, gRPC-Web and gRPC callers connect, [0, 65535]; 0 takes a free port."""
    allowed_origins: tuple[str, ...] = ()
    """Origins whose pages may call, `https://app.example`; `*` stands for all."""
    trusted_hops: int = 0
    """Proxies in front whose `x-forwarded-for` is believed, [0, 10]."""
    requests_per_s: int = 200
    """Of one client address, all methods together, at least 1."""
    burst: int = 400
    """Requests a client address may make at once after a pause, at least `requests_per_s`."""
    jwks: str = '{"keys": []}'
    """JSON Web Key Set of who signs tokens, as text; without a key no token is valid. Nothing secret."""
    issuer: str = "weft"
    """Who signs tokens; empty accepts any issuer."""
    audience: str = "weft"
    """Whom tokens are for; empty accepts any audience."""
    access_log: bool = True
    """Whether one JSON object a request goes to stdout."""
    hsts_max_age_s: int = 0
    """Sent as `strict-transport-security` when positive: only where callers reach the gateway over TLS."""
    otlp: str = ""
    """`host:port` of an OpenTelemetry collector that speaks gRPC; empty for no spans of the gateway's own."""
    trace_ratio: float = 0.1
    """Share of requests that are traced where the caller has not decided, [0, 1]."""
    reflection_cluster: str = "xds"
    """Cluster that answers gRPC reflection, by default the control plane the bootstrap names; empty for none."""
    max_connections: int = 10_000
    """Connections of callers at a time, at least 1; more are refused."""

    def __post_init__(self) -> None:
        wrong = [
            text
            for text, right in (
                ("jwks must be a JSON Web Key Set", _is_key_set(self.jwks)),
                (f"port must be from 0 to {MAX_PORT}", 0 <= self.port <= MAX_PORT),
                (f"trusted_hops must be from 0 to {MAX_HOPS}", 0 <= self.trusted_hops <= MAX_HOPS),
                ("requests_per_s must be at least 1", self.requests_per_s >= 1),
                ("burst must be at least requests_per_s", self.burst >= self.requests_per_s),
                ("trace_ratio must be from 0 to 1", 0 <= self.trace_ratio <= 1),
                ("otlp must be host:port", not self.otlp or self.otlp.rpartition(":")[2].isdigit()),
                ("max_connections must be at least 1", self.max_connections >= 1),
            )
            if not right
        ]
        if wrong:
            raise ValueError("\n".join(wrong))


def _is_key_set(text: str) -> bool:
    try:
        return isinstance(json.loads(text)["keys"], list)
    except (ValueError, TypeError, KeyError):
        return False
