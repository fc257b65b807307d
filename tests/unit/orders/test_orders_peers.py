from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest
from google.type.money_pb2 import Money as MoneyMessage
from shop.catalog.v1 import catalog_pb2
from shop.users.v1 import users_pb2

from services.orders.domain import Money, Offer, PeerUnavailable, UserDeactivated, UserNotFound
from services.orders.peers import Buyers, Offers
from weft.client import PeerError

MUG = UUID(int=7)


class Peer:
    """Stands for all peers: answers every call with *answer*, or raises it."""

    def __init__(self, answer: object) -> None:
        self.answer = answer
        self.requests: list[object] = []

    def stub(self, _stub_class: object, _peer: str) -> Any:
        return self

    async def GetMe(self, request: object) -> object:
        return self._answered(request)

    async def BatchGetProducts(self, request: object) -> object:
        return self._answered(request)

    def _answered(self, request: object) -> object:
        self.requests.append(request)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def peers(answer: object) -> Any:
    return Peer(answer)


@pytest.mark.parametrize(
    ("code", "reason", "meaning"),
    [
        ("FAILED_PRECONDITION", "USER_DEACTIVATED", UserDeactivated),
        ("NOT_FOUND", "USER_NOT_FOUND", UserNotFound),
        ("UNAVAILABLE", "UNAVAILABLE", PeerUnavailable),
        ("RESOURCE_EXHAUSTED", "OVERLOADED", PeerUnavailable),
        ("DEADLINE_EXCEEDED", "DEADLINE_EXCEEDED", PeerError),
        ("UNAUTHENTICATED", "TOKEN_EXPIRED", PeerError),
        ("INTERNAL", "INTERNAL", PeerError),
    ],
)
async def test_a_refusal_of_users_means_something_here_or_stays_what_it_is(
    code: str, reason: str, meaning: type[Exception]
) -> None:
    with pytest.raises(meaning) as raised:
        await Buyers(peers(PeerError("users", code, "no", reason=reason))).require_active("ada")

    assert type(raised.value) is meaning


async def test_the_wait_that_a_peer_asks_for_is_passed_on() -> None:
    with pytest.raises(PeerUnavailable) as raised:
        await Offers(peers(PeerError("catalog", "RESOURCE_EXHAUSTED", "no", retry_after_s=7.5))).find([MUG])

    assert raised.value.retry_after_s == 7.5
    assert raised.value.metadata == {"peer": "catalog"}


async def test_a_user_who_may_buy_is_nothing_to_speak_of() -> None:
    peer = peers(users_pb2.GetMeResponse())

    await Buyers(peer).require_active("ada")

    assert peer.requests == [users_pb2.GetMeRequest()]


async def test_offers_are_the_catalogs_products_by_id() -> None:
    price = MoneyMessage(currency_code="EUR", units=14, nanos=500_000_000)
    product = catalog_pb2.Product(product_id=str(MUG), sku="MUG", name="Mug", price=price)
    peer = peers(catalog_pb2.BatchGetProductsResponse(products=[product]))

    offers = await Offers(peer).find([MUG])

    assert offers == {MUG: Offer(sku="MUG", name="Mug", unit_price=Money("EUR", 14, 500_000_000))}
    assert peer.requests == [catalog_pb2.BatchGetProductsRequest(product_ids=[str(MUG)])]
