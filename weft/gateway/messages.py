"""Small pieces that all of Envoy's configuration is made of."""

from __future__ import annotations

from typing import Any, Final

from google.protobuf.any_pb2 import Any as AnyProto
from google.protobuf.json_format import MessageToDict, ParseDict
from google.protobuf.message import Message
from google.protobuf.struct_pb2 import Struct
from xds_api.envoy.config.core.v3.address_pb2 import Address, SocketAddress
from xds_api.envoy.config.core.v3.base_pb2 import HeaderValue, HeaderValueOption
from xds_api.envoy.config.core.v3.config_source_pb2 import AggregatedConfigSource, ApiVersion, ConfigSource
from xds_api.envoy.config.route.v3.route_components_pb2 import HeaderMatcher
from xds_api.envoy.type.matcher.v3.string_pb2 import StringMatcher
from xds_api.xds.type.v3.typed_struct_pb2 import TypedStruct

TYPES: Final = "type.googleapis.com/"
OVERWRITE: Final = HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD
IF_ABSENT: Final = HeaderValueOption.ADD_IF_ABSENT
NOWHERE: Final = "nowhere"
"""A cluster that doesn't exist."""

IS_NOT_GRPC: Final = HeaderMatcher(
    name="content-type",
    string_match=StringMatcher(prefix="application/grpc"),
    invert_match=True,
    treat_missing_header_as_empty=True,
)


def packed(message: Message) -> AnyProto:
    result = AnyProto()
    result.Pack(message, deterministic=True)
    return result


def packed_struct(type_name: str, value: dict[str, Any]) -> AnyProto:
    """Return a message that Envoy converts with its own descriptors, for types and fields newer than `xds_api`."""
    return packed(TypedStruct(type_url=f"{TYPES}{type_name}", value=ParseDict(value, Struct())))


def extended(message: Message, **fields: Any) -> AnyProto:
    """Return *message* with fields that Envoy knows and `xds_api` doesn't."""
    value = MessageToDict(message, preserving_proto_field_name=True)
    return packed_struct(message.DESCRIPTOR.full_name, value | fields)


def header(name: str, value: str, action: HeaderValueOption.HeaderAppendAction = OVERWRITE) -> HeaderValueOption:
    return HeaderValueOption(header=HeaderValue(key=name, value=value), append_action=action)


def socket_address(address: str, port: int) -> Address:
    return Address(socket_address=SocketAddress(address=address, port_value=port))


def over_ads() -> ConfigSource:
    return ConfigSource(ads=AggregatedConfigSource(), resource_api_version=ApiVersion.V3)
