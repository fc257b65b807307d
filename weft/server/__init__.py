"""gRPC servers built from contracts."""

from weft.server.build import BuiltServer, build_server, validator_of
from weft.server.pipeline import Context
from weft.server.process import run, run_all
from weft.server.service import Parts, Runtime, Service

__all__ = ["BuiltServer", "Context", "Parts", "Runtime", "Service", "build_server", "run", "run_all", "validator_of"]
