"""What an operator may set, in the environment or on the command line."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from weft.config import load
from weft.gateway import GatewayConfig

__all__ = ["Settings", "read_settings"]

MAX_PORT: Final = 65535
_EDGE: Final = GatewayConfig()


def _help(text: str) -> dict[str, str]:
    return {"help": text}


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Of one control plane: `WEFT_<FIELD>` in its environment, or `--<field>`, which wins.

    The gateway's are here because its listener is built here; see `GatewayConfig` for what they mean.
    """

    listen: str = field(default="127.0.0.1:18000", metadata=_help("host:port for ADS, health and reflection"))
    metrics_port: int = field(default=0, metadata=_help("port of /metrics on the same address; 0 takes a free one"))
    registry_url: str = field(default="http://127.0.0.1:8500", metadata=_help("a Consul agent"))
    registry_token: str | None = field(default=None, repr=False)  # not an argument: others can read those
    image: Path = field(
        default=Path("gen/image.binpb"), metadata=_help("descriptors of all services; read again when the file changes")
    )
    api_title: str = field(default="REST API", metadata=_help("title of the REST API's description"))
    api_version: str = field(default="1", metadata=_help("version of the REST API's description"))
    jwks_file: Path | None = field(
        default=None, metadata=_help("keys that tokens are signed with; read again when the file changes")
    )
    token_issuer: str = field(default="weft", metadata=_help("who signs tokens"))
    token_audience: str = field(default="weft", metadata=_help("whom tokens are for"))
    hold_s: float = field(
        default=30.0,
        metadata=_help("how long a service keeps its last instances when the registry names none; 0 believes it"),
    )
    otlp_endpoint: str | None = field(default=None, metadata=_help("where the gateway's spans go, http://host:4317"))
    trace_ratio: float = field(
        default=0.1, metadata=_help("share of requests traced where the caller has not decided, 0 to 1")
    )
    log_level: str = field(default="INFO", metadata=_help("least level that is logged"))
    log_format: str = field(default="json", metadata=_help("json or pretty"))
    gateway_address: str = field(default=_EDGE.address, metadata=_help("IP address the gateway listens on"))
    gateway_port: int = field(default=_EDGE.port, metadata=_help("port the gateway listens on"))
    gateway_allowed_origins: str = field(
        default="", metadata=_help("origins whose pages may call, separated by commas; * for all")
    )
    gateway_trusted_hops: int = field(
        default=_EDGE.trusted_hops, metadata=_help("proxies in front whose x-forwarded-for is believed")
    )
    gateway_requests_per_s: int = field(
        default=_EDGE.requests_per_s, metadata=_help("requests per second of one client address")
    )
    gateway_burst: int = field(default=_EDGE.burst, metadata=_help("requests one client address may make at once"))
    gateway_access_log: bool = field(default=_EDGE.access_log, metadata=_help("whether the gateway logs each request"))
    gateway_hsts_max_age_s: int = field(
        default=_EDGE.hsts_max_age_s, metadata=_help("strict-transport-security, 0 for none")
    )
    gateway_max_connections: int = field(
        default=_EDGE.max_connections, metadata=_help("connections of callers at a time")
    )

    def __post_init__(self) -> None:
        problems = []
        host, _, port = self.listen.rpartition(":")
        if not host or not port.isdigit() or int(port) > MAX_PORT:
            problems.append("WEFT_LISTEN is not host:port")
        if self.hold_s < 0:
            problems.append("WEFT_HOLD_S is negative")
        if self.log_format not in ("json", "pretty"):
            problems.append("WEFT_LOG_FORMAT is neither json nor pretty")
        try:
            self.gateway()
        except ValueError as error:
            problems.extend(f"WEFT_GATEWAY_*: {line}" for line in str(error).splitlines())
        if problems:
            raise ValueError("\n".join(problems))

    @property
    def host(self) -> str:
        return self.listen.rpartition(":")[0].strip("[]")

    def gateway(self) -> GatewayConfig:
        """Return the gateway's part, without keys. Raises ValueError."""
        origins = (origin.strip() for origin in self.gateway_allowed_origins.split(","))
        return GatewayConfig(
            address=self.gateway_address,
            port=self.gateway_port,
            allowed_origins=tuple(origin for origin in origins if origin),
            trusted_hops=self.gateway_trusted_hops,
            requests_per_s=self.gateway_requests_per_s,
            burst=self.gateway_burst,
            issuer=self.token_issuer,
            audience=self.token_audience,
            access_log=self.gateway_access_log,
            hsts_max_age_s=self.gateway_hsts_max_age_s,
            max_connections=self.gateway_max_connections,
            otlp=_host_and_port(self.otlp_endpoint) if self.otlp_endpoint else "",
            trace_ratio=self.trace_ratio,
        )


def read_settings(arguments: Sequence[str], env: Mapping[str, str]) -> Settings:
    """Read the command line, then the environment for what it leaves out.

    Raises:
        ConfigError: something is missing or malformed; all problems at once.
        SystemExit: the command line is wrong, or asks for help.
    """
    parser = argparse.ArgumentParser(
        prog="python -m weft.control",
        description="Tells Envoy and gRPC clients who serves what. Every argument is also a variable WEFT_<NAME>.",
    )
    for each in dataclasses.fields(Settings):
        if text := each.metadata.get("help"):
            name = "--" + each.name.replace("_", "-")
            names = ["--registry", name] if each.name == "registry_url" else [name]
            default = "" if each.default in (None, "") else f" (default {each.default})"
            parser.add_argument(*names, dest=each.name, metavar="VALUE", help=f"{text}{default}".replace("%", "%%"))
    given = {name: value for name, value in vars(parser.parse_args(arguments)).items() if value is not None}
    return load(Settings, {**env, **{f"WEFT_{name.upper()}": value for name, value in given.items()}}, "WEFT")


def _host_and_port(url: str) -> str:
    parts = urlsplit(url if "//" in url else f"//{url}")
    return f"{parts.hostname}:{parts.port or 4317}"
