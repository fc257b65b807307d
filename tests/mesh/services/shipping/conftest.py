from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.mesh.services.shipping.parts import Shipping, TestCarrier, replica

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from weft.data import Database


@pytest.fixture(name="shipping")
async def _shipping(empty_database: Callable[[str], Awaitable[Database]]) -> AsyncIterator[Shipping]:
    async with replica(await empty_database("shipping"), TestCarrier()) as shipping:
        yield shipping
