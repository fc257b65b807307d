from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.mesh.services.inventory.parts import Inventory, replica

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from weft.data import Database


@pytest.fixture(name="inventory")
async def _inventory(empty_database: Callable[[str], Awaitable[Database]]) -> AsyncIterator[Inventory]:
    async with replica(await empty_database("inventory")) as inventory:
        yield inventory
