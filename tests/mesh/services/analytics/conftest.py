from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from services.analytics.download import Downloads
from services.analytics.intake import Intake
from services.analytics.servicer import AnalyticsServicer
from tests.mesh.services.analytics.parts import NAME, Analytics
from tests.mesh.services.calls import KEY
from weft.testing import serving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from weft.data import Database


@pytest.fixture(name="analytics")
async def _analytics(empty_database: Callable[[str], Awaitable[Database]]) -> AsyncIterator[Analytics]:
    database = await empty_database("analytics")
    intake = Intake(database, most_waiting=150)
    servicer = AnalyticsServicer(database, intake, Downloads(database, "EUR"), currency="EUR")
    async with serving({NAME: servicer}, database=database, key=KEY) as server:
        yield Analytics(server=server, database=database, intake=intake)
