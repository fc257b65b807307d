"""Server reflection for every service of a contract, so that a client at the gateway sees the whole mesh."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Final

import grpc
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_reflection.v1alpha import reflection, reflection_pb2

from weft.contract import Contract

__all__ = ["Reflection"]

NAMES: Final = ("grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection")
"""The two have the same messages under other names, so one servicer answers both."""


class Reflection:
    """Answers from a pool of its own: none of the described services' stubs are imported here."""

    def __init__(self) -> None:
        self._servicer = _servicer([], DescriptorPool())

    def describe(self, contract: Contract, image: FileDescriptorSet) -> None:
        """Describe the services of *contract* from *image*, in which every file comes after those it imports."""
        pool = DescriptorPool()
        for file in image.file:
            pool.Add(file)
        names = [service.full_name for service in contract.services]
        self._servicer = _servicer(names, pool)

    def add_to(self, server: grpc.aio.Server) -> None:
        method = grpc.stream_stream_rpc_method_handler(
            self._answer,
            request_deserializer=reflection_pb2.ServerReflectionRequest.FromString,
            response_serializer=reflection_pb2.ServerReflectionResponse.SerializeToString,
        )
        server.add_generic_rpc_handlers(
            tuple(grpc.method_handlers_generic_handler(name, {"ServerReflectionInfo": method}) for name in NAMES)
        )

    async def _answer(self, requests: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:
        async for answer in self._servicer.ServerReflectionInfo(requests, context):
            yield answer


def _servicer(names: list[str], pool: DescriptorPool) -> Any:
    return reflection.aio.ReflectionServicer(names, pool=pool)  # type: ignore[attr-defined]  # the stubs lack it
