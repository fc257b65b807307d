"""Weft: a service mesh for Python teams who write gRPC services."""
