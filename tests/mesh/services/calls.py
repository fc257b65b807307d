"""Calls as tests make them: never for longer than ten seconds, with refusals as values; and what they are made of."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from google.type.money_pb2 import Money
from grpc import aio
from shop.catalog.v1.catalog_pb2 import Product

from weft.client import PeerError
from weft.security import SigningKey

if TYPE_CHECKING:
    from collections.abc import Awaitable

TIMEOUT_S = 10.0

KEY = SigningKey.generate()
"""All servers of a test accept the same tokens."""


class Calls:
    """A stub whose calls all have a timeout, and go out with *metadata*."""

    def __init__(self, stub: object, metadata: tuple[tuple[str, str], ...] = ()) -> None:
        self._stub = stub
        self._metadata = metadata

    def __getattr__(self, method: str) -> Any:
        return partial(getattr(self._stub, method), timeout=TIMEOUT_S, metadata=self._metadata)


async def refusal(call: Awaitable[Any]) -> PeerError:
    """Return how *call* was refused, with its code, reason, violations and metadata."""
    with pytest.raises(aio.AioRpcError) as caught:
        await call
    return PeerError.from_rpc_error("", caught.value)


async def outcome(call: Awaitable[Any]) -> Any:
    """Return the answer of *call*, or the reason of its refusal."""
    try:
        return await call
    except aio.AioRpcError as error:
        return PeerError.from_rpc_error("", error).reason


def product(sku: str, price: str | Money = "14.50", **fields: Any) -> Product:
    amount = euros(price) if isinstance(price, str) else price
    return Product(**({"sku": sku, "name": sku.title(), "category": "kitchen", "price": amount} | fields))


def euros(amount: str) -> Money:
    units, _, fraction = amount.partition(".")
    return Money(currency_code="EUR", units=int(units), nanos=int(fraction.ljust(9, "0")))
