"""The other side of `orders`: a shop of Express services, with RabbitMQ for their events."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from scripts.lib.bench.node import node
from scripts.lib.bench.processes import provider

__all__ = ["SERVICES", "NodeShop", "node_shop"]

SERVICES: Final = ("users", "catalog", "inventory", "payments", "shipping", "orders")
"""Those that an order takes, on both sides; orders, which asks the others, is last."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeShop:
    """A shop that runs.

    Attributes:
        url: of its gateway.
        pids: gateway and services, by name.
    """

    url: str
    pids: Mapping[str, int]


@contextmanager
def node_shop(files: Path, *, database_urls: Mapping[str, str], broker_url: str, jwks_file: Path) -> Iterator[NodeShop]:
    """Run the payment provider, the services, which make their tables, and the gateway.

    Args:
        files: folder for logs and the provider's books.
        database_urls: service -> URL of its database.
        broker_url: of RabbitMQ.
        jwks_file: the keys of those who issue tokens.
    """
    with ExitStack() as stack:
        paying = stack.enter_context(provider(files / "node-provider.db", log=files / "node-provider.log"))
        env = {"PROVIDER_URL": paying.url, "BROKER_URL": broker_url, "JWKS_FILE": str(jwks_file)}
        pids = {}
        for name in SERVICES:
            own = {"DATABASE_URL": database_urls[name]}
            served = stack.enter_context(node(f"orders/{name}.js", log=files / f"node-{name}.log", env=env | own))
            env[f"{name.upper()}_URL"] = served.url
            pids[name] = served.pid
        target = {"TARGET": env["ORDERS_URL"]}
        front = stack.enter_context(node("gateway.js", log=files / "node-gateway.log", env=target))
        yield NodeShop(url=front.url, pids={"proxy": front.pid, **pids})
