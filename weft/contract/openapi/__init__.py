"""The REST API of a contract as OpenAPI 3.1, from the same descriptors the gateway transcodes with."""

from weft.contract.openapi.document import build_openapi, render_openapi

__all__ = ["build_openapi", "render_openapi"]
