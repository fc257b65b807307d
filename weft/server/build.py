"""A `grpc.aio` server made from servicers and the contract their stubs were generated from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import grpc
from google.protobuf.descriptor import Descriptor, ServiceDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.descriptor_pool import Default
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from grpc import aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from weft.contract import Contract, Service, read_contract
from weft.data import Database
from weft.security import ServiceVerifier, TokenVerifier
from weft.server.access import compile_access
from weft.server.health import Health
from weft.server.pipeline import Pipeline
from weft.server.shedding import Gate
from weft.server.streams import EndlessStreams
from weft.server.validation import compile_validator
from weft.telemetry import Tracing

__all__ = ["BuiltServer", "build_server", "publishes_events", "validator_of"]

_KEEPALIVE: Final = (
    ("grpc.keepalive_permit_without_calls", 1),
    (
        "grpc.http2.min_ping_interval_without_data_ms",
        5_000,
    ),  # Envoy and gRPC clients probe idle connections; don't call it abuse
    ("grpc.so_reuseport", 0),  # a second process on this port is a mistake, not a replica
)


@dataclass(frozen=True, slots=True, kw_only=True)
class BuiltServer:
    """A server that isn't started yet, and its health."""

    server: aio.Server
    health: Health
    contract: Contract
    streams: EndlessStreams
    """To be ended when the server drains."""


def build_server(
    servicers: Mapping[str, object],
    *,
    database: Database | None = None,
    verifier: TokenVerifier | None = None,
    services: ServiceVerifier | None = None,
    tracing: Tracing,
    log: Callable[[str], object] | None = None,
) -> BuiltServer:
    """Compile one pipeline per method, and add health and reflection.

    Args:
        servicers: Full service name -> servicer; their stubs must have been imported.
        database: Drives health and keeps the answers of replayable methods.
        verifier: Verifies users' tokens; may be None when no method needs one.
        services: Verifies services' tokens; may be None when no method is for services.
        tracing: Of the process.
        log: Takes the JSON line of each call; None leaves it to `logging`.

    Raises:
        ContractError: the contract breaks a rule of the mesh.
        ValueError: a service isn't in the stubs or not of the mesh, or tokens can't be verified.
        TypeError: a servicer lacks a method.
    """
    descriptors = [_descriptor(name) for name in servicers]
    contract = read_contract(_files(descriptors))
    options = [
        ("grpc.max_receive_message_length", max(contract.service(name).policy.max_request_bytes for name in servicers)),
        *_KEEPALIVE,
    ]
    server = aio.server(options=options)
    streams = EndlessStreams()
    for descriptor in descriptors:
        try:
            service = contract.service(descriptor.full_name)
        except KeyError:
            raise ValueError(f"{descriptor.full_name} has no mesh.v1 options in {descriptor.file.name}") from None
        servicer = servicers[descriptor.full_name]
        handlers = _handlers(
            service, descriptor, servicer, contract, database, verifier, services, tracing, streams, log
        )
        # Both, as generated code does: a registered method is found without a look-up by name.
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(descriptor.full_name, handlers),))
        register: Any = server  # newer than its types
        register.add_registered_method_handlers(descriptor.full_name, handlers)
    health = Health(servicers, database.ping if database else None)
    health_pb2_grpc.add_HealthServicer_to_server(health, server)
    names = (*servicers, health_pb2.DESCRIPTOR.services_by_name["Health"].full_name, reflection.SERVICE_NAME)
    reflection.enable_server_reflection(names, server)
    return BuiltServer(server=server, health=health, contract=contract, streams=streams)


def _handlers(
    service: Service,
    descriptor: ServiceDescriptor,
    servicer: object,
    contract: Contract,
    database: Database | None,
    verifier: TokenVerifier | None,
    services: ServiceVerifier | None,
    tracing: Tracing,
    streams: EndlessStreams,
    log: Callable[[str], object] | None,
) -> dict[str, grpc.RpcMethodHandler[Any, Any]]:
    gate = Gate(service.name, service.policy.max_in_flight)
    handlers = {}
    for method in service.methods:
        types = descriptor.methods_by_name[method.name]
        pipeline = Pipeline(
            method,
            gate=gate,
            admit=compile_access(method, verifier, services),
            validate=compile_validator(types.input_type, contract.rules),
            database=database,
            tracing=tracing,
            streams=streams,
            log=log,
        )
        serve = getattr(servicer, method.name, None)
        handlers[method.name] = pipeline.handler(
            serve, GetMessageClass(types.input_type), GetMessageClass(types.output_type)
        )
    return handlers


def publishes_events(servicers: Iterable[str]) -> bool:
    """Tell whether services have events of their own: in `events.proto` beside their contract, as is the custom."""
    for name in servicers:
        folder = _descriptor(name).file.name.rpartition("/")[0]
        try:
            Default().FindFileByName(f"{folder}/events.proto")
        except KeyError:
            continue
        return True
    return False


def validator_of(kind: type[Message]) -> Callable[[Message], None]:
    """Return what checks a message that comes by another way than as a request, by the rules of its contract.

    It raises an InvalidArgument whose `violations` name every field that breaks one.

    Raises:
        ContractError: the contract breaks a rule of the mesh.
    """
    descriptor: Any = kind.DESCRIPTOR
    return compile_validator(descriptor, read_contract(_files([descriptor])).rules) or (lambda _: None)


def _descriptor(full_name: str) -> ServiceDescriptor:
    try:
        return Default().FindServiceByName(full_name)
    except KeyError:
        raise ValueError(f"no service {full_name}: import its stubs, or mend the name") from None


def _files(descriptors: Iterable[ServiceDescriptor | Descriptor]) -> list[FileDescriptorProto]:
    """Return the files of *descriptors* and everything they import, since rules of shared messages count too."""
    found: dict[str, FileDescriptorProto] = {}

    def add(file: Any) -> None:
        if file.name not in found:
            found[file.name] = FileDescriptorProto()
            file.CopyToProto(found[file.name])
            for dependency in file.dependencies:
                add(dependency)

    for descriptor in descriptors:
        add(descriptor.file)
    return list(found.values())
