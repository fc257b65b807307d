"""What orders asks of other services, and what their refusals mean here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from uuid import UUID

from shop.catalog.v1 import catalog_pb2, catalog_pb2_grpc
from shop.users.v1 import users_pb2, users_pb2_grpc

from services.orders.domain import Money, Offer, PeerUnavailable, UserDeactivated, UserNotFound
from weft.client import PeerError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from weft.client import Peers

__all__ = ["Buyers", "Offers"]

RETRY_AFTER_S: Final = 1.0
_TROUBLE: Final = {"UNAVAILABLE", "RESOURCE_EXHAUSTED"}
"""Codes of a peer that did nothing; DEADLINE_EXCEEDED is not among them: then it's our caller's time that is up."""


class Buyers:
    """Users, as orders knows them."""

    def __init__(self, peers: Peers) -> None:
        self._users: users_pb2_grpc.UsersServiceAsyncStub = peers.stub(users_pb2_grpc.UsersServiceStub, "users")  # type: ignore[assignment]  # a stub made of an asynchronous channel

    async def require_active(self, user_id: str) -> None:
        """Return if the caller, whose id is *user_id*, may buy.

        Raises:
            UserDeactivated, UserNotFound: the account can't.
            PeerUnavailable: it can't be known at the moment.
        """
        try:
            await self._users.GetMe(users_pb2.GetMeRequest())
        except PeerError as error:
            if error.reason == "USER_DEACTIVATED":
                raise UserDeactivated(user_id) from error
            if error.reason == "USER_NOT_FOUND":
                raise UserNotFound(user_id) from error
            raise _understood(error) from error


class Offers:
    """The catalog, as orders knows it."""

    def __init__(self, peers: Peers) -> None:
        self._catalog: catalog_pb2_grpc.CatalogServiceAsyncStub = peers.stub(  # type: ignore[assignment]  # see Buyers
            catalog_pb2_grpc.CatalogServiceStub, "catalog"
        )

    async def find(self, product_ids: Sequence[UUID]) -> dict[UUID, Offer]:
        """Return what is on sale of *product_ids*, at its price of this moment. Raises PeerUnavailable."""
        try:
            response = await self._catalog.BatchGetProducts(
                catalog_pb2.BatchGetProductsRequest(product_ids=map(str, product_ids))
            )
        except PeerError as error:
            raise _understood(error) from error
        return {UUID(product.product_id): _offer(product) for product in response.products}


def _offer(product: catalog_pb2.Product) -> Offer:
    price = Money(product.price.currency_code, product.price.units, product.price.nanos)
    return Offer(sku=product.sku, name=product.name, unit_price=price)


def _understood(error: PeerError) -> PeerError | PeerUnavailable:
    """Return what to raise for *error*: itself, where it means nothing to our callers."""
    if error.code in _TROUBLE:
        return PeerUnavailable(error.peer, retry_after_s=error.retry_after_s or RETRY_AFTER_S)
    return error
