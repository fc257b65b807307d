"""The same gateway without a control plane: every service at a fixed name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

from xds_api.envoy.config.core.v3.base_pb2 import DataSource

from weft.contract import Contract
from weft.gateway import docs
from weft.gateway.bootstrap import ADMIN_PORT, skeleton, to_yaml
from weft.gateway.clusters import COLLECTOR, build_clusters, named_hosts
from weft.gateway.config import GatewayConfig
from weft.gateway.listener import listener
from weft.gateway.routes import JWKS_PATH, OPENAPI_PATH, route_configuration

__all__ = ["DOCS_FILE", "IMAGE_FILE", "JWKS_FILE", "OPENAPI_FILE", "static"]

IMAGE_FILE: Final = "image.binpb"
JWKS_FILE: Final = "jwks.json"
OPENAPI_FILE: Final = "openapi.json"
DOCS_FILE: Final = "docs.html"
DEFAULT_PORT: Final = 50051
MAX_FILE_BYTES: Final = 4 * 1024 * 1024


def static(
    contract: Contract,
    config: GatewayConfig,
    *,
    hosts: Mapping[str, Sequence[tuple[str, int]]] | None = None,
    folder: str = "/etc/envoy",
    admin_port: int = ADMIN_PORT,
) -> str:
    """Return the whole configuration as YAML.

    Args:
        contract: what is served.
        config: the edge. There is no reflection, which the control plane answers; `jwks` is a file here.
        hosts: mesh name -> (host name or address, port) of each instance; by default the service's name, port 50051.
        folder: where Envoy finds the descriptors, key set, OpenAPI document and page, under the names of this module.
        admin_port: on loopback.
    """
    files = {
        docs.PATH: DataSource(filename=f"{folder}/{DOCS_FILE}"),
        OPENAPI_PATH: DataSource(filename=f"{folder}/{OPENAPI_FILE}"),
        JWKS_PATH: DataSource(filename=f"{folder}/{JWKS_FILE}"),
    }
    config = replace(config, reflection_cluster="")
    routes = route_configuration(contract, config, files, MAX_FILE_BYTES)
    result = skeleton(config, admin_port=admin_port, node_id="gateway")
    image = DataSource(filename=f"{folder}/{IMAGE_FILE}")
    result.static_resources.listeners.append(listener(contract, config, routes, image, files[JWKS_PATH]))
    for cluster in build_clusters(contract, config):
        of_cluster = (hosts or {}).get(cluster.name, [(cluster.name, DEFAULT_PORT)])
        fixed = cluster if cluster.name == COLLECTOR else named_hosts(cluster, of_cluster)
        result.static_resources.clusters.append(fixed)
    return to_yaml(result)
