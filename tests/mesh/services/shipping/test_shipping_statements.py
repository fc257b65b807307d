"""The plans PostgreSQL makes of what runs often."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from services.shipping import store
from services.shipping.__main__ import Config
from tests.mesh.services.test_statements import filled, plan
from weft.config import ConfigError, load

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from weft.data import Database

MANY_SHIPMENTS = """
    insert into shipments
    select gen_random_uuid(), gen_random_uuid(), case when n % 100 = 0 then 'created' else 'delivered' end,
           now() - n * interval '1 minute', 'ada', 'SIM' || n, 'EUR', 4, 0, 'Ada', '{Square}', '', 'London', 'GB',
           now() - n * interval '1 minute'
    from generate_series(1, 5000) n
"""


async def test_pages_and_parcels_are_read_from_their_indexes(
    empty_database: Callable[[str], Awaitable[Database]],
) -> None:
    database = await filled(await empty_database("shipping"), MANY_SHIPMENTS)
    now = datetime.now(UTC)

    first = await plan(database, store._FIRST_PAGE, limit=51)
    later = await plan(database, store._NEXT_PAGE, limit=51, create_time=now, shipment_id=uuid4())

    for text in (first, later):
        assert "shipments_by_create_time" in text
        assert "Sort" not in text
    assert "shipments_order_unique" in await plan(database, store._BY_ORDER, order_id=uuid4())
    assert "shipments_tracking_number_unique" in await plan(database, store._PROGRESS, tracking_number="SIM7")
    assert "shipments_under_way" in await plan(database, store._ANY_DUE, before=now)


def test_the_carrier_and_its_pace_are_settings() -> None:
    assert load(Config, {}, "SHIPPING") == Config(carrier="simulated", carrier_step_s=2.0)
    assert load(Config, {"SHIPPING_CARRIER_STEP_S": "0.1"}, "SHIPPING").carrier_step_s == 0.1


@pytest.mark.parametrize(
    "env", [{"SHIPPING_CARRIER": "pigeon"}, {"SHIPPING_CARRIER_STEP_S": "-1"}, {"SHIPPING_CARRIER_STEP_S": "nan"}]
)
def test_a_carrier_that_does_not_exist_is_refused(env: dict[str, str]) -> None:
    with pytest.raises(ConfigError):
        load(Config, env, "SHIPPING")
