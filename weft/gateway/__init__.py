"""Envoy as the front door: listener, routes, filters and clusters built from a contract."""

from weft.gateway.bootstrap import bootstrap
from weft.gateway.clusters import build_clusters, build_endpoints
from weft.gateway.config import GatewayConfig
from weft.gateway.listener import build_listeners
from weft.gateway.routes import build_routes
from weft.gateway.static import static

__all__ = [
    "GatewayConfig",
    "bootstrap",
    "build_clusters",
    "build_endpoints",
    "build_listeners",
    "build_routes",
    "static",
]
