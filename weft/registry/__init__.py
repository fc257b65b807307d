"""Consul's HTTP API as the mesh uses it: keep an instance registered, follow who is healthy."""

from weft.registry.blocking import Pace
from weft.registry.catalog import Catalog, CatalogWatch, watch_catalog
from weft.registry.client import Answer, Consul, KeyValue
from weft.registry.errors import RegistryError, RegistryRefused, RegistryUnavailable
from weft.registry.instance import Check, GrpcCheck, HttpCheck, Instance, TcpCheck, TtlCheck
from weft.registry.registration import Registration, registered

__all__ = [
    "Answer",
    "Catalog",
    "CatalogWatch",
    "Check",
    "Consul",
    "GrpcCheck",
    "HttpCheck",
    "Instance",
    "KeyValue",
    "Pace",
    "Registration",
    "RegistryError",
    "RegistryRefused",
    "RegistryUnavailable",
    "TcpCheck",
    "TtlCheck",
    "registered",
    "watch_catalog",
]
