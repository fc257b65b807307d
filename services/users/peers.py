"""Who else holds something about users, and how they are asked for it."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Final

from shop.analytics.v1 import analytics_pb2, analytics_pb2_grpc
from shop.notifications.v1 import notifications_pb2, notifications_pb2_grpc
from shop.orders.v1 import orders_pb2, orders_pb2_grpc
from shop.payments.v1 import payments_pb2, payments_pb2_grpc
from shop.shipping.v1 import shipping_pb2, shipping_pb2_grpc

from weft.client import PeerError
from weft.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping

    from google.protobuf.any_pb2 import Any as AnyMessage

    from weft.client import Peers

__all__ = ["HOLDERS", "Holders", "PeerUnavailable"]

HOLDERS: Final[Mapping[str, tuple[Any, Any]]] = {
    "orders": (orders_pb2_grpc.OrdersServiceStub, orders_pb2.ExportUserDataRequest),
    "payments": (payments_pb2_grpc.PaymentsServiceStub, payments_pb2.ExportUserDataRequest),
    "shipping": (shipping_pb2_grpc.ShippingServiceStub, shipping_pb2.ExportUserDataRequest),
    "notifications": (notifications_pb2_grpc.NotificationsServiceStub, notifications_pb2.ExportUserDataRequest),
    "analytics": (analytics_pb2_grpc.AnalyticsServiceStub, analytics_pb2.ExportUserDataRequest),
}
"""Mesh name -> stub and request, in the order in which they are asked. Their `ExportUserData` are alike."""
_AWAY: Final = {"UNAVAILABLE", "RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED"}
_RETRY_AFTER_S: Final = 5.0


class PeerUnavailable(Unavailable):
    """A service can't be asked at the moment."""

    def __init__(self, peer: str) -> None:
        super().__init__(f"{peer} can't be asked; try again", retry_after_s=_RETRY_AFTER_S, peer=peer)


class Holders:
    """Services that hold something about users."""

    def __init__(self, peers: Peers) -> None:
        self._calls = {
            name: (peers.stub(stub, name).ExportUserData, request) for name, (stub, request) in HOLDERS.items()
        }

    async def export(self, user_id: str) -> AsyncGenerator[tuple[str, AnyMessage]]:
        """Yield what each service holds about a user, with the service's name, one after the other.

        Nothing is asked for before it is taken, but for the little that gRPC lets peers send ahead.

        Raises:
            PeerUnavailable: what was yielded is not all.
        """
        for name, (ask, request) in self._calls.items():
            try:
                async with aclosing(ask(request(user_id=user_id))) as responses:
                    async for response in responses:
                        yield name, response.item
            except PeerError as error:
                if error.code in _AWAY:
                    raise PeerUnavailable(name) from error
                raise
